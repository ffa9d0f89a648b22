"""Commands that write, each with a small input: what a test kills, meets twice on one output, or runs on a bad host."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from safetensors.torch import load_file

from jpo_dist.generate.answers import is_answers, read_answers
from jpo_dist.locks import LOCK
from jpo_dist.records.folder import is_set, read_set
from jpo_dist.study.results import read_results
from tests.support.answer_folders import answer, write_answers, write_gold
from tests.support.commands import Files, Warm, numbers
from tests.support.rows import write_rows
from tests.support.tiny import PLAIN

CHECKER = {"kind": "checker", "checker": {"function": "jpo_dist.evaluate.constraints:constraints_held"}}
ALONE = ("cluster.workers=0", "tracking.uri=none")


class Writing(NamedTuple):
    """A command, and what its output says."""

    words: tuple[str, ...]
    output: Path
    state: Callable[[Path], Any]
    """What is there, whole, in a form that can be compared; None: nothing. Raises for what is half there."""
    lock: tuple[str, str] = ("", LOCK)
    """The folder below the output, and the name of its lock."""


def config(folder: Path, values: dict[str, Any]) -> str:
    path = folder / "config.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return str(path)


def of_set(folder: Path) -> Any:
    return read_set(folder).fingerprint if is_set(folder) else None


def build(folder: Path, tiny: Files) -> Writing:
    """Over an old set, of other rows."""
    rows = [{"prompt": f"say {n}", "chosen": f"yes {n}", "rejected": "no"} for n in range(400)]
    source = write_rows(folder / "pairs.jsonl", rows)
    path = config(folder, {"sources": [{"path": source}], "output": str(folder / "out"), "pairs": []})
    return Writing(("data", "build", path), folder / "out", of_set)


def judge(folder: Path, tiny: Files) -> Writing:
    rows = [
        {"instruction_0": f"Say {n}. Do not use any commas.", "response_0": "a, b",
         "instruction_1": f"Say {n}. Do not use any commas.", "response_1": f"a {n}"} for n in range(300)
    ]  # fmt: skip
    values = {"candidates": write_rows(folder / "c.jsonl", rows), "output": str(folder / "out"), **CHECKER}
    return Writing(("judge", config(folder, values), *ALONE), folder / "out", of_set)


def generate(folder: Path, tiny: Files) -> Writing:
    asked = write_rows(folder / "asked.jsonl", [{"instruction": f"say {n}"} for n in range(24)])
    values = {
        "instructions": asked, "output": str(folder / "out"), "model": {"path": tiny.model, "dtype": "float32"},
        "template": PLAIN, "temperatures": [0.0, 1.0], "samples": 2, "max_new_tokens": 12, "tokens_per_batch": 300,
    }  # fmt: skip

    def state(output: Path) -> Any:
        return [one._asdict() for one in read_answers(output)] if is_answers(output) else None

    return Writing(("generate", config(folder, values), *ALONE), folder / "out", state)


def winrate(folder: Path, tiny: Files) -> Writing:
    texts = [f"Say {n}. Do not use any commas." for n in range(40)]
    write_gold(folder / "gold.jsonl", [(text, f"gold, {n}") for n, text in enumerate(texts)])
    ours = write_answers(folder / "ours", [answer(text, f"{n}", n) for n, text in enumerate(texts)])
    values = {"answers": ours, "against": str(folder / "gold.jsonl"), "output": str(folder / "out"), **CHECKER}

    def state(output: Path) -> Any:
        file = output / "winrate.json"
        pages = [(output / name).exists() for name in ("winrate.json", "winrate.md", "winrate.html", "verdicts.jsonl")]
        assert len(set(pages)) == 1, "some of it is there and some is not"
        return json.loads(file.read_text())["all"] if file.exists() else None

    return Writing(("winrate", config(folder, values), *ALONE), folder / "out", state)


def exported(run_dir: Path) -> Any:
    weights = run_dir / "export" / "model.safetensors"
    return sorted((name, float(t.sum())) for name, t in load_file(weights).items()) if weights.exists() else None


def train(folder: Path, tiny: Files) -> Writing:
    words = ("train", tiny.config, f"run.dir={folder / 'out'}", *ALONE)
    return Writing(words, folder / "out", lambda run: exported(run) and [exported(run), numbers(run)])


def sft(folder: Path, tiny: Files) -> Writing:
    rows = [{"instruction": f"say {n}", "response": f"yes {n}"} for n in range(20)]
    values = {
        "model": {"path": tiny.model, "dtype": "float32"}, "optim": {"lr": 1e-3}, "checkpoint": {"every": 1},
        "data": {"train": write_rows(folder / "sft.jsonl", rows), "template": PLAIN}, "sft": {},
        "train": {"items_per_step": 4, "tokens_per_micro_step": 256, "max_steps": 3},
        "run": {"dir": str(folder / "out"), "name": "sft"},
    }  # fmt: skip
    return Writing(("sft", config(folder, values), *ALONE), folder / "out", lambda run: exported(run))


def export(folder: Path, tiny: Files) -> Writing:
    """Over an export of an earlier commit."""
    words = ("export", tiny.config, f"run.dir={folder / 'out'}", *ALONE)
    return Writing(words, folder / "out", exported, ("", ".export.lock"))


def evaluate(folder: Path, tiny: Files) -> Writing:
    def state(run: Path) -> Any:
        file = run / "evaluation.json"
        return json.loads(file.read_text())["comparisons"] if file.exists() else None

    words = ("evaluate", tiny.config, f"run.dir={folder / 'out'}", *ALONE)
    return Writing(words, folder / "out", state, ("", ".evaluation.json.lock"))


def score(folder: Path, tiny: Files) -> Writing:
    def state(output: Path) -> Any:
        if not (output / "report.json").exists():
            return None
        return [pq.read_table(output / f"{name}.parquet").to_pylist() for name in ("items", "margins")]

    data = (f"score.data={tiny.validation}", f"score.output={folder / 'scored'}")
    return Writing(("score", tiny.config, f"run.dir={folder / 'out'}", *data, *ALONE), folder / "scored", state)


def training(tiny: Files, steps: int) -> dict[str, Any]:
    """The settings of `train`, as a stage has them."""
    own = json.loads(Path(tiny.config).read_text())
    del own["run"]
    return {**own, "train": {**own["train"], "max_steps": steps}}


def run(folder: Path, tiny: Files) -> Writing:
    """A set, and a model that is trained on it."""
    rows = [{"prompt": f"say {n}", "chosen": f"yes {n}", "rejected": "no"} for n in range(40)]
    source = write_rows(folder / "pairs.jsonl", rows)
    train = training(tiny, 4)
    train["data"] = {**train["data"], "train": "@build", "validation": tiny.validation}
    stages = [{"build": {"sources": [{"path": source}], "pairs": []}}, {"train": train}]
    shared = {"cluster": {"workers": 0}, "tracking": {"uri": "none"}}

    def state(output: Path) -> Any:
        done = {file.name.partition("-")[0]: Path(json.loads(file.read_text())["made"])
                for file in output.glob("*.done.json")}  # fmt: skip
        of = {name: of_set(made) if name == "build" else exported(made.parent) for name, made in done.items()}
        assert None not in of.values(), f"called done, and not there: {of}"
        return of if len(of) == len(stages) else None

    values = {"stages": stages, "shared": shared, "dir": str(folder / "out")}
    return Writing(("run", config(folder, values)), folder / "out", state)


def study(folder: Path, tiny: Files) -> Writing:
    """Two arms of one training, and what each of the models answers."""
    asked = write_rows(folder / "asked.jsonl", [{"instruction": f"say {n}. Do not use any commas."} for n in range(6)])
    answers = {"instructions": asked, "samples": 2, "temperatures": [1.0], "max_new_tokens": 8, "template": PLAIN,
               "model": {"path": "@policy", "dtype": "float32"}}  # fmt: skip
    values = {
        "question": {"answers": "answers", "checker": CHECKER["checker"]["function"], "compare": [["short", "long"]]},
        "seeds": [1], "at_once": 2, "shared": {"cluster": {"workers": 0}}, "tracking": {"uri": "none"},
        "arms": {"short": [{"train": training(tiny, 2)}], "long": [{"train": training(tiny, 4)}]},
        "measure": [{"name": "answers", "generate": answers}], "dir": str(folder / "out"),
    }  # fmt: skip

    def state(output: Path) -> Any:
        report = output / "report.json"
        if not report.exists():
            return None
        results = [(one.arm, one.sums) for one in read_results(output / "results.json").results]
        return [results, json.loads(report.read_text())["comparisons"]] if results else None  # all cells failed

    return Writing(("study", config(folder, values)), folder / "out", state)


def register(folder: Path, tiny: Files) -> Writing:
    """The first version of a model, of a run whose files MLflow has not."""

    def state(run_dir: Path) -> Any:
        with sqlite3.connect(run_dir.parent / "mlflow.db") as database:
            found = database.execute(
                "select version, alias, (select count(*) from model_version_tags t where t.name = a.name "
                "and t.version = a.version) from registered_model_aliases a"
            ).fetchall()
            versions = database.execute("select count(*) from model_versions").fetchone()[0]
        assert versions <= 1, "registered twice"
        return found or None

    words = ("register", tiny.config, f"run.dir={folder / 'out'}", "cluster.workers=0", "--name", "tiny")
    return Writing(words, folder / "out", state, ("", LOCK))


COMMANDS: dict[str, Callable[[Path, Files], Writing]] = {
    "build": build, "judge": judge, "generate": generate, "winrate": winrate, "train": train, "sft": sft,
    "export": export, "evaluate": evaluate, "score": score, "run": run, "study": study, "register": register,
}  # fmt: skip


def trained(folder: Path, tiny: Files, warm: Warm) -> None:
    """A finished run in `folder`/out: trained once, and copied."""
    once = tiny.folder / "trained"
    if not once.exists():
        making = tiny.folder / "training"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        warm(*train(making, tiny).words).check()
        making.rename(once)
    shutil.copytree(once / "out", folder / "out")


def export_early(made: Writing, tiny: Files, warm: Warm) -> None:
    """Have another export in the run folder: made once, and copied."""
    once, place = tiny.folder / "early", made.output / "export"
    if not once.exists():
        warm(*made.words, "--commit", "4").check()
        shutil.copytree(place, once)
    shutil.rmtree(place)
    shutil.copytree(once, place)


def prepare(name: str, folder: Path, tiny: Files, warm: Warm) -> Writing:
    """The command with what it starts from."""
    folder.mkdir()
    if name in ("export", "evaluate", "score"):
        trained(folder, tiny, warm)
    made = COMMANDS[name](folder, tiny)
    if name == "export":
        export_early(made, tiny, warm)
    if name == "register":
        warm("train", tiny.config, f"run.dir={made.output}", "cluster.workers=0").check()
    if name == "build":
        source = folder / "pairs.jsonl"
        whole = source.read_text()
        source.write_text("".join(whole.splitlines(keepends=True)[:50]))
        warm(*made.words).check()
        source.write_text(whole)
    return made

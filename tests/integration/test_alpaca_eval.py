"""AlpacaEval itself, in an environment of its own made from its lock: it reads what `jpo winrate` writes, and both give
the same figures."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jpo_dist.winrate import alpaca
from launcher.config.kinds import WinRateRunConfig
from launcher.stages.winrate import run
from tests.support.answer_folders import answer, write_answers, write_gold
from tests.support.commands import ROOT
from tests.support.openai_server import by_hash, openai_server
from tests.support.shared import shared

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(1200)]

LOCK = ROOT / "locks" / "alpaca.txt"
PROMPT = """<|im_start|>user
{instruction}

##### ANSWER (a)
{output_1}

##### ANSWER (b)
{output_2}

##### YOUR VERDICT
<|im_end|>"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its `bin`. Skips where no package index answers."""
    folder = tmp_path_factory.mktemp("alpaca") / "env"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = ["install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)]
    done = subprocess.run([folder / "bin" / "pip", *install], capture_output=True, text=True, check=False)
    if "No matching distribution" in done.stderr and "from versions: none" in done.stderr:
        pytest.skip(f"no package index: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "bin"


def test_the_extra_resolves_with_everything_else() -> None:
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--no-config", "--quiet", "--no-header"]
    words = ["-c", "constraints.txt", "--python-version", "3.11", "--extra", "judge", "--extra", "alpaca"]
    done = subprocess.run([*command, *words, "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, check=False)
    if "not found in the package registry" in done.stderr:
        pytest.skip(f"no package index: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    pins = {line.split("==")[0]: line.strip(" \\") for line in LOCK.read_text().splitlines() if "==" in line}
    found = {line.split("==")[0]: line for line in done.stdout.splitlines() if "==" in line}
    assert {name: found[name] for name in pins if name in found} == {name: pins[name] for name in pins if name in found}
    assert found["alpaca-eval"] == "alpaca-eval==0.6.6"


def test_it_reads_our_files_and_gives_the_figures_that_we_report(environment: Path, tmp_path: Path) -> None:
    texts = [(f"Say {n}.", "a" * (1 + n % 9)) for n in range(40)]
    answers = write_answers(tmp_path / "a", [answer(text, said, n) for n, (text, said) in enumerate(texts)])
    gold = write_gold(tmp_path / "gold.jsonl", [(text, "gold!") for text, _ in texts])
    made = tmp_path / "out" / "alpaca"
    settings: dict[str, Any] = {
        "answers": answers, "against": gold, "output": str(tmp_path / "out"), "kind": "checker", "name": "mine",
        "checker": {"function": "jpo_dist.evaluate.constraints:constraints_held"}, "alpaca": {"write": True},
    }  # fmt: skip
    run(WinRateRunConfig.model_validate(settings))
    (tmp_path / "prompt.txt").write_text(PROMPT)
    judge = {
        "prompt_template": str(tmp_path / "prompt.txt"), "fn_completions": "openai_completions", "batch_size": 1,
        "completions_kwargs": {"model_name": "judge", "max_tokens": 9, "temperature": 0},
        "completion_parser_kwargs": {"outputs_to_match": {1: r"\(a\)", 2: r"\(b\)"}},
    }  # fmt: skip
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "configs.yaml").write_text(yaml.safe_dump({"judge": judge}))
    files = ["--model_outputs", made / "model_outputs.json", "--reference_outputs", made / "reference_outputs.json"]
    words = ["--annotators_config", tmp_path / "judge", "--fn_metric", "get_winrate", "--sort_by", "win_rate"]
    apart = ["--precomputed_leaderboard", "None", "--caching_path", "None", "--output_path", made]
    with openai_server(by_hash) as server:
        env = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": server.url, "OPENAI_CLIENT_CONFIG_PATH": "/nowhere",
        }  # fmt: skip
        command = [environment / "alpaca_eval", *files, *words, *apart]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with (made / "leaderboard.csv").open() as file:
        [row] = csv.DictReader(file)
    settings["alpaca"] = {"annotations": str(made / "annotations.json")}
    found = run(WinRateRunConfig.model_validate(settings))["alpaca_eval"]
    assert (row[""], found["judged"], found["annotations"]) == ("mine", 40, 40)
    assert 0 < found["win_rate"] < 100
    for name in ("win_rate", "standard_error"):
        assert found[name] == pytest.approx(float(row[name]), abs=5e-5)


@pytest.mark.parametrize("model", ["alpaca-7b", "claude-2.1"])
def test_its_own_metric_gives_our_figures_of_the_published_verdicts(environment: Path, model: str) -> None:
    verdicts = json.loads(shared(f"alpaca_eval/{model}.json").read_text())["verdicts"]
    code = (
        "import json, sys; from alpaca_eval.metrics import get_winrate; "
        "print(json.dumps(get_winrate([{'preference': one} for one in json.load(sys.stdin)]), default=float))"
    )
    preferences = [one[0] for one in verdicts]
    done = subprocess.run(
        [environment / "python", "-c", code], input=json.dumps(preferences), capture_output=True, text=True, check=True
    )
    theirs, ours = json.loads(done.stdout.splitlines()[-1]), alpaca.summary(preferences)
    for name in ("win_rate", "standard_error"):
        assert ours[name] == pytest.approx(theirs[name], abs=5e-5)

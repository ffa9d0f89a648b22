"""What it costs to verify what is read: seconds spent on digests, and their share of the command that reads.

    python -m tests.benchmarks.verifying                   # a set, answers, a commit
    python -m tests.benchmarks.verifying --only set

Each command is a process of its own, from its first import to its end; seconds are of the CPU, of all threads, so that
other processes on the machine count little. Digests are those of whole files and of lines; those that a command
computes of what it writes count too, so that a share is rather too large.
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
from tests.support.tiny import PLAIN, save_tiny

_TIMED = """
import hashlib, sys, time
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
hashlib.file_digest = timed(hashlib.file_digest)
jpo_dist.digests.digest_of_line = timed(jpo_dist.digests.digest_of_line)
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
ANSWERS, PAIRS, WIDTH = 20_000, 50_000, 512


def jpo(*words: str) -> tuple[float, float]:
    """Seconds of digests and of all, of a command."""
    done = subprocess.run(
        [sys.executable, "-c", _TIMED, *words], env=environment(), capture_output=True, text=True, check=False
    )
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


def of_a_commit(folder: Path) -> dict[str, tuple[float, float]]:
    write_rows(folder / "few.jsonl", "pairs", 200)
    model = save_tiny(folder / "larger", hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=8)
    run = {
        "model": {"path": model, "dtype": "float32"}, "cluster": {"workers": 0}, "tracking": {"uri": None},
        "data": {"train": str(folder / "few.jsonl"), "template": PLAIN, "validation_fraction": 0, "max_length": 2048},
        "train": {"max_steps": 3, "comparisons_per_step": 2}, "run": {"dir": str(folder / "run")},
        "checkpoint": {"every": 2},
    }  # fmt: skip
    file = config(folder / "run.yaml", run)
    jpo("train", file)
    shutil.rmtree(folder / "run" / "checkpoints" / "step-00000003")
    return {
        "go on from a commit of 30 million weights, one step": jpo("train", file),
        "export it": jpo("export", file),
    }


CASES: dict[str, Callable[[Path], dict[str, tuple[float, float]]]] = {
    "set": of_a_set, "answers": of_answers, "commit": of_a_commit,
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

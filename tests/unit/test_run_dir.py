"""The names in a run folder are written once, in run_dir.py, and stay what they are on the disks of people."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from jpo_dist import run_dir

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted({*ROOT.glob("jpo_dist/**/*.py"), *ROOT.glob("launcher/**/*.py")} - {ROOT / "jpo_dist/run_dir.py"})
NAMES = {name: value for name, value in vars(run_dir).items() if name.isupper()}


def written(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of a file or folder of a run that `source` writes out, in a path or as a text of its own.

    Docstrings and sentences may name one. A word without a dot (`export`) counts only where a path is put together: it
    is a command too.
    """
    in_paths: set[ast.expr] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            in_paths |= {node.left, node.right}
        elif isinstance(node, ast.Call) and _name(node.func) in {"Path", "with_name", "at", "joinpath", "glob"}:
            in_paths |= set(node.args)
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            in_paths |= set(node.iter.elts)
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or " " in node.value:
            continue
        parts = {node.value, *node.value.split("/")}
        for value in set(NAMES.values()) - {"ray"}:  # also Ray's program, which lies beside python
            if value in parts and ("." in value or node in in_paths):
                yield node.lineno, value


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_no_name_of_a_run_folder_is_written_anywhere_else() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in SOURCES
        for line, name in written(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'open(folder / "metrics.jsonl")', 'path = f"{folder}/run.json"', 'NAMES = ("plan.json",)',
        'Path(run.dir) / "export"', 'target.with_name("export-merged")', 'for name in ("export", "a"): pass',
        'store.at("attempts", attempt)', 'folder.glob("checkpoints/*")',
    ],
)  # fmt: skip
def test_a_name_that_is_written_is_seen(source: str) -> None:
    assert len(list(written(source))) == 1


@pytest.mark.parametrize(
    "source", ['"""Reads metrics.jsonl of a run."""', 'command("export")', 'raise E("see run.json now")']
)
def test_commands_and_sentences_are_none(source: str) -> None:
    assert list(written(source)) == []


def test_the_names_on_disk_do_not_change() -> None:
    assert NAMES == {
        "CONFIG": "config.yaml", "PLAN": "plan.json", "RUN": "run.json", "METRICS": "metrics.jsonl",
        "OUTBOX": "tracking.jsonl", "ACK": "tracking.ack.json", "NOTICES": "notices.jsonl", "ATTEMPTS": "attempts",
        "CHECKPOINTS": "checkpoints", "EXPORT": "export", "EXPORT_MERGED": "export-merged",
        "EXPORTED": ".exported.json", "EVALUATION": "evaluation.json", "SCORES": "scores", "STOP": "stop",
        "FIGURES": "figures", "RAY": "ray", "RAY_LOG": "ray/cluster.jsonl", "CHATTER": "log",
    }  # fmt: skip

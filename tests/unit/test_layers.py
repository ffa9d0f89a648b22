"""Who may import whom. Read from the source, so that an import inside a function counts too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    path: path.relative_to(ROOT).as_posix()
    for part in ("jpo_dist", "cluster", "launcher")
    for path in (ROOT / part).rglob("*.py")
}
ONLY_IMPORTERS = {
    "ray": {"cluster/connection.py", "cluster/ray_train.py", "cluster/tasks.py"},
    "deepspeed": {"jpo_dist/model/engine.py"},
    "mlflow": {"jpo_dist/tracking/writer.py"},
    "peft": {"jpo_dist/model/load.py"},
    "openai": {"jpo_dist/endpoint/client.py"},
    "faiss": {"jpo_dist/pairing/neighbours.py"},
    "sentence_transformers": {"jpo_dist/pairing/embedding.py"},
}


def imported(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.split(".")[0] for name in plain | from_}


def importers(package: str) -> set[str]:
    return {name for path, name in FILES.items() if package in imported(path)}


def test_the_machines_know_nothing_of_the_method_nor_the_method_of_the_machines() -> None:
    assert {n.split("/")[0] for n in importers("jpo_dist")} == {"jpo_dist", "launcher"}
    assert {n.split("/")[0] for n in importers("cluster")} == {"cluster", "launcher"}
    assert {n.split("/")[0] for n in importers("launcher")} == {"launcher"}


@pytest.mark.parametrize(("package", "only"), ONLY_IMPORTERS.items())
def test_each_heavy_dependency_has_its_importers(package: str, only: set[str]) -> None:
    assert importers(package) == only

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
    "mlflow": {"jpo_dist/tracking/mlflow_server.py"},
    "peft": {"jpo_dist/model/adapter.py"},
    "openai": {"jpo_dist/endpoint/client.py"},
    "tenacity": {"jpo_dist/endpoint/client.py"},
    "datasets": {"jpo_dist/data/locate.py", "launcher/bench/peer.py"},
    "faiss": {"jpo_dist/pairing/neighbours.py"},
    "sentence_transformers": {"jpo_dist/pairing/embedding.py"},
    "matplotlib": {"launcher/show/inspection_page.py", "launcher/show/judge_page.py"},
    "trl": {"launcher/bench/peer.py"},
}


BY_NAME = {"import_module", "run_module", "__import__"}
"""Functions that import what a string names."""


def imported(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports, anywhere in it, also in code that it keeps as text."""
    return imports_of(path.read_text(encoding="utf-8"))


def imports_of(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    called = [node for node in nodes if isinstance(node, ast.Call) and node.args and _name(node.func) in BY_NAME]
    named = {arg.value for arg in (call.args[0] for call in called) if isinstance(arg, ast.Constant)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    inside = (imports_of(text) for text in texts if "\n" in text and "import " in text and _is_code(text))
    return {name.split(".")[0] for name in plain | from_ | named}.union(*inside)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_code(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def importers(package: str) -> set[str]:
    return {name for path, name in FILES.items() if package in imported(path)}


def test_the_machines_know_nothing_of_the_method_nor_the_method_of_the_machines() -> None:
    assert {n.split("/")[0] for n in importers("jpo_dist")} == {"jpo_dist", "launcher"}
    assert {n.split("/")[0] for n in importers("cluster")} == {"cluster", "launcher"}
    assert {n.split("/")[0] for n in importers("launcher")} == {"launcher"}


@pytest.mark.parametrize(("package", "only"), ONLY_IMPORTERS.items())
def test_each_heavy_dependency_has_its_importers(package: str, only: set[str]) -> None:
    assert importers(package) == only

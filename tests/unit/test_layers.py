"""Who may import whom, and how large a file, a function and a folder may grow.

Read from the source, so that an import inside a function counts too.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jpo_dist", "cluster", "launcher")
FILES = {path: path.relative_to(ROOT).as_posix() for part in PACKAGES for path in (ROOT / part).rglob("*.py")}
MOST_MODULES, MOST_LINES, LONGEST_FUNCTION, LONGEST_CORE = 14, 300, 60, 950
ONLY_IMPORTERS = {
    "ray": {"cluster/connection.py", "cluster/ray_train.py", "cluster/tasks.py"},
    "deepspeed": {"jpo_dist/model/engine.py"},
    "mlflow": {f"jpo_dist/tracking/{name}.py" for name in ("chat_model", "mlflow_entries", "mlflow_server")},
    "peft": {"jpo_dist/model/adapter.py"},
    "openai": {"jpo_dist/endpoint/client.py"},
    "tenacity": {"jpo_dist/endpoint/client.py"},
    "datasets": {"jpo_dist/data/locate.py", "launcher/bench/peer.py"},
    "faiss": {"jpo_dist/pairing/neighbours.py"},
    "sentence_transformers": {"jpo_dist/pairing/embedding.py"},
    "matplotlib": {"launcher/show/inspection/page.py", "launcher/show/judge_page.py", "launcher/show/plots.py"},
    "vaderSentiment": {"jpo_dist/evaluate/sentiment.py"},
    "trl": {"launcher/bench/peer.py"},
}


BY_NAME = {"import_module", "run_module", "__import__"}
"""Functions that import what a string names."""


@cache
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
    assert {n.split("/")[0] for n in importers("launcher") - {"jpo_dist/__main__.py"}} == {"launcher"}


@pytest.mark.parametrize(("package", "only"), ONLY_IMPORTERS.items())
def test_each_heavy_dependency_has_its_importers(package: str, only: set[str]) -> None:
    assert importers(package) == only


def contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    """The contracts of pyproject.toml, checked on the packages in `folder`."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for part in PACKAGES:
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.jsonl"))
    return tmp_path


def test_the_rooms_keep_their_contracts() -> None:
    done = contracts(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("jpo_dist/records/comparisons.py", "import jpo_dist.train.loop", "jpo_dist.records is not allowed to import"),
        ("jpo_dist/pairing/pair.py", "from jpo_dist.tracking import writer", "jpo_dist.pairing is not allowed to"),
        ("jpo_dist/files.py", "def late() -> None:\n    import jpo_dist.redact", "jpo_dist.files is not allowed to"),
        ("jpo_dist/misc.py", "", "jpo_dist.misc"),
        ("jpo_dist/lounge/__init__.py", "", "jpo_dist.lounge"),
        ("jpo_dist/records/comparisons.py", "import jpo_dist.records.folder", "depend"),
        ("cluster/errors.py", "import cluster.tasks", "depend"),
    ],
)
def test_an_import_or_a_room_beside_the_contracts_is_refused(copied: Path, file: str, line: str, broken: str) -> None:
    path = copied / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{path.read_text(encoding='utf-8') if path.exists() else ''}\n{line}\n", encoding="utf-8")
    done = contracts(copied)
    assert done.returncode == 1
    assert broken in " ".join(done.stdout.split())


def test_no_folder_is_a_warehouse() -> None:
    modules = Counter(path.parent for path in FILES)
    full = {folder.relative_to(ROOT).as_posix(): n for folder, n in modules.items() if n > MOST_MODULES}
    assert full == {}


def test_a_file_is_read_in_one_sitting() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for path, name in FILES.items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_a_function_fits_one_screen() -> None:
    long = {}
    for path, name in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                if node.end_lineno is not None and node.end_lineno - first + 1 > LONGEST_FUNCTION:
                    long[f"{name}:{node.name}"] = node.end_lineno - first + 1
    assert long == {}


@pytest.mark.parametrize("package", sorted(name for path, name in FILES.items() if path.name == "__init__.py"))
def test_a_package_says_what_it_is_for(package: str) -> None:
    """Its purpose, its stations, what it may import: not in one line."""
    said = ast.get_docstring(ast.parse((ROOT / package).read_text(encoding="utf-8"))) or ""
    assert len(said.splitlines()) > 1, f"{package} says: {said!r}"


def test_the_core_path_reads_in_one_sitting() -> None:
    """From records to the training loop, the files that the README names in reading order."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    core = re.findall(r"\]\((jpo_dist/\w+/\w+\.py)\)", readme)
    assert len(core) == 8
    assert sum(len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in core) < LONGEST_CORE


def private_reaches(source: str) -> list[str]:
    """What a test takes of a module of ours that the module keeps to itself: `_name`, imported or by attribute."""
    nodes = list(ast.walk(ast.parse(source)))
    imports = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module and n.module.split(".")[0] in PACKAGES]
    names = {alias.asname or alias.name for node in imports for alias in node.names}
    taken = [alias.name for node in imports for alias in node.names]
    taken += [
        n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id in names
    ]
    patched = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    taken += [text.rpartition(".")[2] for text in patched if text.startswith(tuple(f"{p}." for p in PACKAGES))]
    return [name for name in taken if name.startswith("_") and not name.startswith("__")]


def test_tests_use_what_modules_offer() -> None:
    assert private_reaches("from jpo_dist.files import _write") == ["_write"]
    assert private_reaches("from jpo_dist import files\nfiles._write('a')") == ["_write"]
    assert private_reaches("patch('jpo_dist.files._write', None)") == ["_write"]
    found = {p.as_posix(): private_reaches(p.read_text(encoding="utf-8")) for p in (ROOT / "tests").rglob("*.py")}
    assert {path: names for path, names in found.items() if names and not path.endswith("test_layers.py")} == {}

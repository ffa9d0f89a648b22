"""docs/environment.md has every variable that the code reads, and none that nobody reads."""

import ast
import re
from pathlib import Path

from cluster.environment import FORWARDED

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jpo_dist", "launcher", "cluster")
BENCH = ROOT / "launcher" / "bench"
NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*|[a-z]+_proxy")
ENVIRONS = {"os.environ", "environ", "driver"}
"""How the code calls what it reads variables of."""
OF_SCRIPTS = re.compile(r"\$\{?(JPO_[A-Z_]+)")
PAGE = ROOT / "docs" / "environment.md"
READ_BY_LIBRARIES = {
    "CUDA_VISIBLE_DEVICES", "HF_TOKEN", "HOSTNAME", "MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_REGISTRY_URI",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "PYTHONPATH", "LC_ALL", "LANG",
    "MPLCONFIGDIR", "TRITON_HOME", "PYTORCH_ALLOC_CONF", "NO_PROXY", "no_proxy",
}  # fmt: skip
"""What is on the page although libraries read it and not this code: people ask for these."""


def strings(node: ast.AST | None, known: dict[str, ast.AST]) -> set[str]:
    """The texts that an expression may be: constants, and names that stand for some."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.Name(id=name) if name in known:
            return strings(known[name], {key: value for key, value in known.items() if key != name})
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return {text for part in parts for text in strings(part, known)}
        case ast.Dict(keys=keys):
            return {text for key in keys for text in strings(key, known)}
        case ast.Starred(value=inner):
            return strings(inner, known)
        case ast.Call(func=ast.Attribute(value=inner, attr="keys" | "items")):
            return strings(inner, known)
    return set()


def bound(tree: ast.AST) -> dict[str, ast.AST]:
    """Names of a module by all that they are bound to: assignments, loops, comprehensions."""
    found: dict[str, ast.Tuple] = {}

    def bind(target: ast.AST, value: ast.AST | None) -> None:
        if isinstance(target, ast.Name) and value is not None:
            found.setdefault(target.id, ast.Tuple(elts=[])).elts.append(value)  # type: ignore[arg-type]
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, of_one in zip(target.elts, value.elts, strict=False):
                bind(one, of_one)

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                bind(target, node.value)
        elif isinstance(node, ast.AnnAssign):
            bind(node.target, node.value)
        elif isinstance(node, ast.For | ast.comprehension):
            bind(node.target.elts[0] if isinstance(node.target, ast.Tuple) else node.target, node.iter)
    return dict(found)


def read_in(source: str, shared: dict[str, ast.AST]) -> set[str]:
    """The variables that a module reads."""
    tree = ast.parse(source)
    known = shared | bound(tree)
    read: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=where, attr="get" | "setdefault" | "pop"), args=[name, *_]):
                pass
            case ast.Subscript(value=where, slice=name):
                pass
            case ast.Compare(left=name, ops=[ast.In() | ast.NotIn()], comparators=[where]):
                pass
            case ast.BinOp(left=ast.Call(func=ast.Attribute(value=where, attr="keys")), right=ast.Set() as name):
                pass
            case ast.BinOp(left=name, right=ast.Call(func=ast.Attribute(value=where, attr="keys"))):
                pass
            case _:
                continue
        if ast.unparse(where) in ENVIRONS:
            read |= strings(name, known)
    return read


def read_by_the_code() -> set[str]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if BENCH not in path.parents]
    shared: dict[str, ast.AST] = {}
    for path in files:  # constants with a name of their own, which other modules import
        shared |= {k: v for k, v in bound(ast.parse(path.read_text(encoding="utf-8"))).items() if k.isupper()}
    return {
        name for path in files for name in read_in(path.read_text(encoding="utf-8"), shared) if NAME.fullmatch(name)
    }


def read_by_scripts() -> set[str]:
    files = [path for path in (ROOT / "cluster").rglob("*") if path.suffix in (".sh", ".sbatch", ".yaml")]
    return {name for path in files for name in OF_SCRIPTS.findall(path.read_text(encoding="utf-8"))}


def on_the_page() -> set[str]:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([A-Za-z_0-9]+)`", row.split("|")[1])}


def test_every_variable_that_is_read_is_on_the_page_and_no_other() -> None:
    read = read_by_the_code() | read_by_scripts() | set(FORWARDED)
    page = on_the_page()
    assert sorted(read - page) == [], "read, and not on the page"
    assert sorted(page - read - READ_BY_LIBRARIES) == [], "on the page, and nobody reads it"


def test_the_page_says_what_workers_get() -> None:
    """A worker on another host has none of the others."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    passed_on = {
        name for row in rows if row.rstrip(" |").endswith("yes") for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert passed_on == set(FORWARDED)


def test_a_variable_that_is_read_in_any_way_is_seen() -> None:
    source = """
A, B = "X_A", "X_B"
for name in ("X_C", *MORE):
    os.environ[name] = os.environ.get(A) or os.environ["X_E"]
found = {n: environ[n] for n in KNOWN if "X_F" not in os.environ} | dict.fromkeys(KNOWN.keys() & os.environ.keys())
"""
    shared = bound(ast.parse('MORE = ["X_D"]\nKNOWN = {"X_G": 1}'))
    assert read_in(source, shared) == {"X_A", "X_C", "X_D", "X_E", "X_F", "X_G"}

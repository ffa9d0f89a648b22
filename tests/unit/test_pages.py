"""What README and docs name is there: files, modules, functions, and the pages that they link to."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from jpo_dist.config.explain import known_keys
from launcher.config.kinds import GenerateRunConfig, JudgeRunConfig, RunConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PATH = re.compile(r"(?<![\w/.-])(?:jpo_dist|launcher|cluster|tests|configs|docs|locks|\.ci)/[\w./*{},-]*[\w*/]")
DOTTED = re.compile(r"(?<![\w/.])(?:jpo_dist|launcher|cluster)(?:\.\w+)+(?::\w+)?")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def settings(*kinds: type[BaseModel]) -> set[str]:
    keys = {key for kind in kinds for key in known_keys(kind)}
    return keys | {key.rpartition(".")[0] for key in keys}


def is_there(dotted: str) -> bool:
    """A module, or something in one."""
    module, _, name = dotted.partition(":")
    parts = [*module.split("."), *([name] if name else [])]
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_paths_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = {path.rstrip(".,") for path in PATH.findall(text)}
    missing = {path for path in named if not any(ROOT.glob(path.rstrip("/")))}
    links = {link for link in LINK.findall(text) if "://" not in link}
    assert missing | {link for link in links if not (page.parent / link).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_dotted_names_are_there(page: Path) -> None:
    keys = settings(RunConfig, JudgeRunConfig, GenerateRunConfig)
    named = set(DOTTED.findall(page.read_text(encoding="utf-8")))
    files = {"cluster.jsonl"}
    assert {
        name for name in named - files - keys if name.rpartition(".")[0] not in keys and not is_there(name)
    } == set()


def test_a_name_that_is_not_there_is_seen() -> None:
    assert is_there("jpo_dist.objective.losses:margins")
    assert is_there("launcher.commands.demo")
    assert not is_there("jpo_dist.judges:constraints_held")
    assert not is_there("jpo_dist.records.folder.read_sets")
    assert PATH.findall("see `jpo_dist/judges.py`, or (tests/unit).") == ["jpo_dist/judges.py", "tests/unit"]


def test_the_table_of_rooms_is_the_contract() -> None:
    """docs/architecture.md has every room, on the line that it has in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = project["tool"]["importlinter"]["contracts"][0]["layers"]
    wanted = {(str(i), room.strip()) for i, line in enumerate(lines, 1) for room in line.split("|")}
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `jpo_dist/(\w+)(?:/|\.py)`", text, re.MULTILINE)
    ground = {(str(len(lines)), room.strip()) for room in lines[-1].split("|")}
    assert set(rows) | ground == wanted
    assert [room for _, room in sorted(ground) if room not in text] == []

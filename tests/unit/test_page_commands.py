"""Every `jpo` command that README and docs show is one: its name, its options and, where a config of ours is named, all
settings that are changed. What they do is run by the tests of the pages that walk through them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from jpo_dist.config.load import load_as
from launcher.cli import app
from launcher.config.detect import kind_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```\w*\n(.*?)^```|^((?:    \S[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
PLACEHOLDER = re.compile(r"^\[.*\]$|…|^\.\.\.$|=\.\.\.$")


def commands(page: Path) -> Iterator[list[str]]:
    """Words of each line of a code block that begins with `jpo`, without comments and placeholders."""
    for fenced, indented in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in (fenced or indented).replace("\\\n", " ").splitlines():
            text = re.sub(r"\[[a-z.]+=\w+ …\]", "", line.strip().removeprefix("$ "))
            if text.startswith("jpo ") and "─>" not in text:  # not a picture
                words = shlex.split(re.split(r"\s{2,}(?=[^#\s-])", text)[0], comments=True)[1:]
                yield [word for word in words if not PLACEHOLDER.search(word)]


SHOWN = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), SHOWN, ids=lambda value: value.name if isinstance(value, Path) else "_".join(value)[:60]
)
def test_a_command_that_is_shown_is_one(page: Path, words: list[str]) -> None:
    group = typer.main.get_command(app)
    context = group.make_context("jpo", list(words))
    while hasattr(group, "resolve_command"):
        name, group, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        assert group is not None, f"{page.name}: no such command"
        context = group.make_context(name, rest, parent=context)
    config = context.params.get("config")
    if config and Path(config).is_file() and Path(config).suffix == ".yaml":
        load_as(kind_of(Path(config)), config, context.params.get("overrides"))


def test_there_are_many() -> None:
    assert len(SHOWN) > 50

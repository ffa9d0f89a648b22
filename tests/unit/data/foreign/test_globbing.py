"""Patterns find what `glob` finds, and each folder once, whatever links there are."""

import glob
from pathlib import Path

import pytest

from jpo_dist.data.foreign.globbing import matches
from jpo_dist.data.foreign.inside import require_inside
from jpo_dist.data.read import read
from tests.support.rows import write_rows

ROWS = [{"prompt": f"say {n}", "chosen": "yes", "rejected": "no"} for n in range(3)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.jsonl", "in/b.jsonl", "in/deep/c.jsonl", ".hidden/d.jsonl", "in/.e.jsonl", "in/[x]/f.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_rows(tmp_path / name, ROWS)
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    ["**", "**/*.jsonl", "*/**", "in/**/*.jsonl", "**/deep/*", "**/**/c.jsonl", "*.jsonl", "i?/*", "**/.e*",
     ".hidden/**", "in/[[]x]/**", "**/[a-c].jsonl"],
)  # fmt: skip
def test_it_finds_what_glob_finds(tree: Path, pattern: str) -> None:
    expected = {Path(match) for match in glob.glob(f"{tree}/{pattern}", recursive=True)}
    assert set(matches(f"{tree}/{pattern}")) == expected


def test_links_are_followed_once(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Through one link to its own folder every row was read 41 times; with two of them there was no end."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_rows(elsewhere / "g.jsonl", ROWS)
    for name, target in (("self", "."), ("in/up", ".."), ("other", str(elsewhere)), ("loop", "loop")):
        (tree / name).symlink_to(target)
    found = matches(f"{tree}/**/*.jsonl")
    assert sorted(path.name for path in found) == ["a.jsonl", "b.jsonl", "c.jsonl", "f.jsonl", "g.jsonl"]
    assert tree / "in" / "deep" / "c.jsonl" in found, "by its own name, not through a link"
    assert read(f"{tree}/**/*.jsonl", on_bad_row="error")[1].rows == 15


def test_what_the_kernel_shows_is_no_data() -> None:
    assert matches("/proc/**/*.jsonl") == []


@pytest.mark.parametrize(
    "names",
    ["../private.jsonl", "/etc/passwd", "http://127.0.0.1:9/a.jsonl", "zip://x::a.zip", "in/../../private.jsonl"],
)
@pytest.mark.parametrize("form", ["data_files: {}", "data_files: [{{split: train, path: '{}'}}]", "data_dir: {}"])
def test_a_folder_of_data_never_leaves_itself(tmp_path: Path, names: str, form: str) -> None:
    folder = tmp_path / "set"
    (folder / "in").mkdir(parents=True)
    write_rows(tmp_path / "private.jsonl", ROWS)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  {form.format(names)}\n---\n# Card\n")
    with pytest.raises(ValueError, match=r"its README\.md names data that are not in the folder"):
        read(str(folder), on_bad_row="error")


def test_a_folder_that_names_its_own_files_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_rows(tmp_path / "in" / "pairs.jsonl", ROWS)
    (tmp_path / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: in/*.jsonl\n---\n")
    require_inside(tmp_path)
    assert read(str(tmp_path), on_bad_row="error")[1].rows == 3
    (tmp_path / "README.md").write_text("--- no head: [\n")
    require_inside(tmp_path)

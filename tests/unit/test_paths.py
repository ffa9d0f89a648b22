"""`package:` names reach files of installed packages and nothing else."""

import sys

import pytest

from jpo_dist.paths import resolve


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "carrier"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "sub" / "a.jsonl").write_text("{}")
    (tmp_path / "outside.txt").write_text("x")
    (tmp_path / "lone_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_module_folder_and_file_are_found_without_importing(package):
    assert resolve("package:carrier") == str(package)
    assert resolve("package:carrier/sub") == str(package / "sub")
    assert resolve("package:carrier/sub/a.jsonl") == str(package / "sub" / "a.jsonl")
    assert "carrier" not in sys.modules


def test_a_single_file_module_stands_for_its_folder(package):
    assert resolve("package:lone_module/outside.txt") == str(package.parent / "outside.txt")


@pytest.mark.parametrize("text", ["owner/name", "data/a.jsonl", "/tmp/x", "./x", "packages/x", ""])
def test_anything_else_comes_back_unchanged(text):
    assert resolve(text) == text


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/some/home")
    assert resolve("~/models/x") == "/some/home/models/x"


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("package:no_such_module", FileNotFoundError, "no module 'no_such_module' .* install"),
        ("package:no_such_module.sub/x", FileNotFoundError, "install"),
        ("package:carrier/missing.gguf", FileNotFoundError, r"missing\.gguf.*it has: sub"),
        ("package:carrier/../outside.txt", ValueError, "leads out"),
        ("package:carrier//etc/passwd", ValueError, "leads out"),
        ("package:", ValueError, "not a module name"),
        ("package:not-a-name/x", ValueError, "not a module name"),
        ("package:sys", FileNotFoundError, "no folder"),
    ],
)
def test_errors_say_what_is_wrong(package, text, error, match):
    with pytest.raises(error, match=match):
        resolve(text)

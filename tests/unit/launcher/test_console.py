"""What a person reads when a command ends."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer

from launcher.console import FAILURE, USAGE, explained, out, say_json
from tests.support.commands import ROOT


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]):
    """Neither the name of a split nor a bracket in a path is markup."""
    with pytest.raises(typer.Exit) as ended, explained():
        raise ValueError("sets/[a]:train: no split")
    out.print("written: sets/a:train:", highlight=False)
    told = capsys.readouterr()
    assert ended.value.exit_code == USAGE
    assert "sets/[a]:train: no split" in told.err
    assert told.out == "written: sets/a:train:\n"


def test_what_programs_read_is_json_whatever_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    values = [math.nan, math.inf, -math.inf, np.float32("nan"), np.float64(0.5), 1e-300, "NaN, ü"]
    say_json({"rows": [{"value": value} for value in values], "none": None})

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert [row["value"] for row in found["rows"]] == [None, None, None, None, 0.5, 1e-300, "NaN, ü"]
    assert found["none"] is None


@pytest.mark.parametrize(
    ("act", "rule"),
    [
        (lambda file: file.mkdir(exist_ok=True), "FileExistsError: {} is there already"),
        (lambda file: (file / "a").write_text("x"), "NotADirectoryError: {}/a leads through a file"),
        (lambda file: file.parent.read_text(), "IsADirectoryError: {.parent} is a folder"),
        (lambda file: _refused(file), "PermissionError: {} may not be used by this user"),
        (lambda file: (file.parent / "none").read_text(), "FileNotFoundError: {.parent}/none is not there; correct"),
        (lambda file: (file.parent / ("n" * 300)).read_text(), "n has a longer name than this system allows"),
        (lambda file: _looped(file.parent / "loop"), "{.parent}/loop is a link that leads back to itself"),
    ],
)
def test_a_path_that_is_something_else_is_wrong_input_and_named(
    act: Callable[[Path], object], rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "[a].jsonl"
    file.touch()
    with pytest.raises(typer.Exit) as ended, explained():
        act(file)
    told = capsys.readouterr().err
    assert ended.value.exit_code == USAGE
    assert rule.format(file) in told
    assert "Traceback" not in told


def test_no_sentence_has_the_number_of_an_error_of_the_system(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), explained():
        raise ValueError("no commit of step 9 ([Errno 2] No such file or directory: 'step-9')")
    assert "no commit of step 9 (No such file or directory: 'step-9')" in capsys.readouterr().err


def _looped(link: Path) -> None:
    link.symlink_to(link)
    link.read_text()


def _refused(file: Path) -> None:
    raise PermissionError(13, "Permission denied", str(file))  # root may do everything


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_reader_that_leaves_ends_no_command(stream: str) -> None:
    """`jpo train config | head -1` ended a finished run with exit code 1."""
    print_it = f"[{stream}.print('x' * 9000, highlight=False, soft_wrap=True) for _ in range(50)]"
    code = f"from launcher.console import {stream}; {print_it}; import os; os._exit(7)"
    piped = "2>&1 >/dev/null |" if stream == "err" else "|"
    shell = f'set -o pipefail; {sys.executable} -c "{code}" {piped} head -c 1'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (7, "x", "")


def test_an_error_of_the_system_without_a_path_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, explained():
        raise PermissionError(1, "Operation not permitted")
    assert ended.value.exit_code == FAILURE
    assert "Traceback" in capsys.readouterr().err

"""The wall clock of commands put back again and again: `put_back.c`, compiled where the test runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def put_back(folder: Path, when: Path | None = None) -> dict[str, str]:
    """The variables with which the clock of a command and its children goes back by an hour every two seconds, or once,
    as soon as the file `when` is there. Skips the test where no C compiler is."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here")
    library = folder / "put_back.so"
    if not library.exists():
        words = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(words, check=True, capture_output=True)
    return {"LD_PRELOAD": str(library), **({"PUT_BACK_WHEN": str(when)} if when else {})}

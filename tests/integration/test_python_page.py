"""docs/python.md does what it says: its blocks run in order, in one process, and print what stands below them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[+-]?\d+\.?\d*")
NOTEBOOK = """
import json, sys

printed = []
cells = {"print": lambda *what: printed[-1].append(" ".join(map(str, what)))}  # not stdout: libraries write there too
for block in json.load(sys.stdin):
    printed.append([])
    exec(block, cells)
open("printed.json", "w").write(json.dumps(["\\n".join(lines) for lines in printed]))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.nightly
def test_every_block_runs_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    assert len(blocks) == 7
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    given, env = json.dumps([code for code, _ in blocks]), {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", NOTEBOOK]
    done = subprocess.run(command, cwd=tmp_path, env=env, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    for (code, shown), found in zip(blocks, json.loads((tmp_path / "printed.json").read_text()), strict=True):
        found = found.replace(str(ROOT), "…")
        assert NUMBER.sub("0", found).split() == NUMBER.sub("0", shown).split(), code
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (found, shown)]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.05, abs=0.02), code

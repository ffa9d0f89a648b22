"""docs/clusters.md as commands: its blocks, and a shell that runs them."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([\w ]*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SETTINGS, LAPTOP, SUBMIT, JOBS, FAULTS = (text for kind, text in BLOCKS if kind == "sh")


def block(kind: str) -> str:
    [text] = [text for name, text in BLOCKS if name == kind]
    return text


class Shell(NamedTuple):
    """A person's shell: `settings` is what they have typed so far that later commands see."""

    settings: str
    env: dict[str, str]

    def __call__(self, commands: str, timeout: float = 400) -> str:
        script = f"set -euo pipefail\n{self.settings}\n{commands}"
        done = subprocess.run(
            ["bash", "-c", script], env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        return done.stdout + done.stderr

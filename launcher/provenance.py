"""Who started a run, with which command and which code: the same for every command that MLflow hears of."""

import getpass
import importlib.metadata
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from launcher.ray_job import submission_id


def began_ms() -> int:
    """When this command was started, in milliseconds since the epoch."""
    return int(psutil.Process().create_time() * 1000)


def run_tags() -> dict[str, str]:
    """Whose run it is, started by which command, and of which code: what MLflow shows beside the name of a run."""
    job = submission_id(os.environ)
    command = " ".join(["jpo", *sys.argv[1:]])
    tags = {"mlflow.source.name": command, "mlflow.source.type": "JOB" if job else "LOCAL", "jpo.ray_job": job or ""}
    with suppress(KeyError, OSError):  # a container may run a user that it has no name for
        tags["mlflow.user"] = getpass.getuser()
    tags["mlflow.source.git.commit"] = _git("rev-parse", "HEAD")
    return {key: value for key, value in tags.items() if value}


def code() -> str:
    """Which code this is, in words: its version, and of a checkout the commit and whether files were changed since."""
    said = f"jpo-dist {importlib.metadata.version('jpo-dist')}"
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return said
    changed = " with changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{said}, commit {commit}{changed}"


def _git(*words: str) -> str:
    """What git says of the checkout that this is; empty where it is none."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    with suppress(OSError):  # no git
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=False).stdout.strip()
    return ""

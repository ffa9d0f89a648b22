"""How two workers share the suite (`make test`, `make quick`): by file, the longest first.

A file stays on one worker, as do the files of tests/multihost, so what they set up for several tests is made once.
Tests marked `alone` measure time or memory: `make test` runs them afterwards, with the machine to themselves.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import mlflow  # noqa: F401 - else a thread of ours imports it, and makes loggers while pytest goes through all of them
import pytest

LONGEST = [
    "multihost",
    "test_commands.py",
    "test_resume.py",
    "test_launch.py",
    "test_train.py",
    "test_tracking.py",
    "test_storage.py",
    "test_nonfinite.py",
    "test_elastic.py",
    "test_invariance.py",
    "test_commit_faults.py",
    "test_pipeline.py",
    "test_generate.py",
    "test_losses.py",
    "test_items.py",
]
"""Folders of tests/ and files that come first. A long one that came last would leave the other worker idle."""


def pytest_configure(config: pytest.Config) -> None:
    """A cache for this session alone, of both workers: sets that tests compile are of no use to anybody later."""
    if "JPO_CACHE" not in os.environ:
        os.environ["JPO_CACHE"] = tempfile.mkdtemp(prefix="jpo-cache-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop("JPO_CACHE"), ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _place(item.path))  # stable: the order within a file stays


def _place(path: Path) -> int:
    return next((place for place, name in enumerate(LONGEST) if name in (path.name, path.parent.name)), len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class ByFileOrHosts(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "multihost" if nodeid.startswith("tests/multihost/") else str(super()._split_scope(nodeid))

    return ByFileOrHosts(config, log)

"""Data beside the project, which is never part of it: tests that want it skip where it is absent."""

from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"


def shared(name: str) -> Path:
    """The file NAME of that data; skips the test where it is not there."""
    if not (DATA / name).exists():
        pytest.skip(f"no {name} at {DATA}: it is not part of the project")
    return DATA / name

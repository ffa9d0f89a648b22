"""The smallest config of a run, as a file."""

from pathlib import Path

import pytest

from tests.support.configs import YAML


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(YAML)
    return path

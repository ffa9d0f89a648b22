"""A tiny model with comparisons, commands, and the runs that several tests look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Files, Warm, jpo, tiny_files, warm_commands


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return tiny_files(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    with warm_commands(tmp_path_factory.mktemp("warm")) as commands:
        yield commands


@pytest.fixture(scope="session")
def alone(tiny: Files, warm: Warm) -> Path:
    """A finished run of one process, without Ray and without MLflow."""
    run_dir = tiny.folder / "alone"
    warm("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none").check()
    return run_dir


@pytest.fixture(scope="session")
def by_ray(tiny: Files) -> Path:
    """A finished run of two Ray workers, with the default MLflow file beside it."""
    run_dir = tiny.folder / "ray" / "run"
    jpo("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=2").check()
    return run_dir

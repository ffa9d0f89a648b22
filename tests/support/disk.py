"""A disk that is soon full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, mib: int = 8) -> Iterator[Path]:
    """A tmpfs of `mib` MiB mounted on `folder`, which is created. Skips the test where mounting is not permitted.

    Mount it before `ray start`: a mount made later is not seen in the network namespaces of virtual hosts.
    """
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if made.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        # lazy: a writer that failed may still be in memory, with its file open
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """Leave no byte free on the disk of `folder`. Returns the file to delete for room."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while (status := os.statvfs(folder)).f_bavail:
            file.write(bytes(min(1 << 20, status.f_bavail * status.f_frsize)))
    return ballast

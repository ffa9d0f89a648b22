"""A full disk ends every command in one sentence that says where."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.console import FAILURE
from launcher.disk import no_room
from tests.support.commands import ROOT
from tests.support.rows import write_rows


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/nowhere/a"), "no room left on the disk of /nowhere/a ("),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded", "/nowhere/a"),
            "the quota is used up on the disk of /nowhere/a (",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "no room left on the disk of TMPDIR ("),
        (RuntimeError("Error while serializing: No space left on device (os error 28)"), "no room left"),
        (RuntimeError("database or disk is full"), "no room left"),
    ],
)
def test_it_is_said_where_and_how_much_room_there_is(error: Exception, said: str) -> None:
    found = no_room(error)
    assert found is not None
    assert found.startswith(said)
    assert found.endswith("MiB free); free space, or name another place") or "or of the output; free" in found


def test_the_cause_counts_and_other_errors_do_not() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/a")
        except OSError as cause:
            raise RuntimeError("could not be written") from cause
    except RuntimeError as error:
        found = no_room(error)
    assert found is not None
    assert "/a" in found
    assert no_room(PermissionError(errno.EACCES, "no", "/a")) is None


@pytest.mark.parametrize("error", [OSError(errno.EFBIG, "File too large", "/a"), RuntimeError("(os error 27)")])
def test_a_limit_of_the_size_of_files_is_named(error: Exception) -> None:
    """It was a traceback of pyarrow. The sentence names the limit that a shell sets by ulimit -f, if there is one."""
    found = no_room(error)
    assert found is not None
    assert "would be larger than" in found
    assert found.endswith("; raise that limit, or name another place")


def test_a_command_that_finds_no_room_ends_in_a_sentence(tmp_path: Path) -> None:
    """A real file system of a few hundred KiB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        texts = [os.urandom(60).hex() for _ in range(2000)]
        rows = [{"prompt": f"say {text}", "chosen": text, "rejected": "b"} for text in texts]
        pairs = write_rows(tmp_path / "pairs.jsonl", rows)
        config = tmp_path / "data.yaml"
        config.write_text(f"sources: [{{path: {pairs}}}]\noutput: {disk}/set\npairs: []\n")
        done = subprocess.run(
            [sys.executable, "-m", "launcher", "data", "build", str(config)], cwd=ROOT, text=True, capture_output=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == FAILURE
        assert "Traceback" not in done.stderr
        assert f"no room left on the disk of {disk}/set" in done.stderr.replace("\n", "")
        assert [path.name for path in (disk / "set").iterdir()] == [".lock"], "nothing half is left"
    finally:
        subprocess.run(["umount", disk], check=False)

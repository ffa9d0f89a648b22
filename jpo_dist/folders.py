"""Outputs of several files: all of them are the new ones or none is, whenever the command or the machine ends.

`together` puts files into a folder that may hold others. They are written to a hidden folder inside it and synced; the
rename of that folder to PLACING is what counts. From then on they only move to their places: by whoever wrote them, or,
after a kill, by `settle` in the next command that looks. `replacing` exchanges a folder as a whole.
"""

import ctypes
import errno
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jpo_dist.files import naming, sync_file, sync_folder
from jpo_dist.locks import is_gone, whose_pids

PLACING, _NEW, _GONE = ".placing", ".new-", ".gone"
_LONG_AGO_S = 86400
_AT_FDCWD, _EXCHANGE = -100, 2
_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)
"""What file systems say that cannot exchange two names."""


class Together:
    """Files of one folder on their way into it."""

    def __init__(self, aside: Path) -> None:
        self.folder = aside
        """Where they are written: under the names that they will have."""

    def path(self, name: str) -> Path:
        """Where to write the file `name`."""
        return self.folder / name

    def write(self, name: str, text: str | bytes) -> None:
        """Write a small file; text as UTF-8."""
        self.path(name).write_bytes(text.encode() if isinstance(text, str) else text)

    def without(self, name: str) -> None:
        """A file of this name that an earlier output left goes with it, unless it is written again."""
        if not self.path(name).exists():
            self.path(name + _GONE).touch()


@contextmanager
def together(folder: str | Path) -> Iterator[Together]:
    """Inside, write files to the `Together`; when the block ends well they take their places in `folder`, which is
    made. After an error `folder` has what it had before.

    Of two that do this at once the later one wins whole; see also jpo_dist.locks.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settle(folder)
    _sweep(folder)
    aside = folder / f"{_NEW}{uuid.uuid4().hex[:8]}-{os.getpid()}-{whose_pids()}"
    with naming(folder):
        try:
            aside.mkdir()
            yield Together(aside)
            for file in aside.iterdir():
                sync_file(file)
            sync_folder(aside)
            _commit(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        settle(folder)


def _commit(aside: Path, folder: Path) -> None:
    while True:
        try:
            os.rename(aside, folder / PLACING)
        except OSError as error:  # another command has just done the same: its files are placed first
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            settle(folder)
        else:
            sync_folder(folder)
            return


def settle(folder: Path) -> None:
    """Put the files in their places that a killed command had finished."""
    placing = folder / PLACING
    if placing.is_dir():
        for file in sorted(placing.iterdir()):
            with suppress(FileNotFoundError):  # of two that settle at once, each moves what it finds
                if file.name.endswith(_GONE):
                    (folder / file.name.removesuffix(_GONE)).unlink(missing_ok=True)
                    file.unlink()
                else:
                    os.replace(file, folder / file.name)
        sync_folder(folder)
        with suppress(OSError):
            placing.rmdir()


def _sweep(folder: Path) -> None:
    """Remove what killed commands had not finished: where their end can be seen at once, else after a day."""
    for left in folder.glob(f"{_NEW}*"):
        _, pid, pids = left.name.removeprefix(_NEW).split("-", 2)
        with suppress(OSError):
            if is_gone(pid, pids) or time.time() - left.stat().st_mtime > _LONG_AGO_S:
                shutil.rmtree(left, ignore_errors=True)


def placed(folder: Path, name: str) -> Path:
    """Where the file `name` of `folder` is to be read, also where a killed command has left it on its way to its place
    and this user may not move it."""
    waiting = folder / PLACING / name
    if not (folder / PLACING).is_dir():
        return folder / name
    with suppress(OSError):
        settle(folder)
    return waiting if waiting.exists() else folder / name


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, which takes its place as a whole when the block ends well, and is removed when it
    does not. Everything in it is on the disk by then."""
    target = target.resolve()  # a link stays, what it leads to is replaced
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    aside = target.with_name(f".{target.name}")
    shutil.rmtree(aside, ignore_errors=True)
    with naming(target):
        aside.mkdir()
        try:
            yield aside
            _sync_all(aside)
            _put(aside, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(Path(parent) / name)
        sync_folder(Path(parent))


def _put(aside: Path, target: Path) -> None:
    """Give `aside` the name of `target`; the old folder, if there is one, has the name of `aside` afterwards."""
    if not target.exists():
        os.rename(aside, target)
    elif not exchange(aside, target):
        old = _old(target)
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
        os.rename(aside, target)
        shutil.rmtree(old, ignore_errors=True)
    sync_folder(target.parent)


def recover(target: Path) -> None:
    """Take back the old folder of a replacement that stopped half-way, which only file systems without an exchange
    of names can leave."""
    old = _old(target)
    if old.exists() and not target.exists():
        os.rename(old, target)
    elif old.exists():
        shutil.rmtree(old, ignore_errors=True)


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step; False where the system or its disk cannot."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), str(other))

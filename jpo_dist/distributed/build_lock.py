"""The place and the lock of an operator that is compiled on first use: each environment has a place of its own, and a
lock has an owner and goes when the owner is gone.

torch's own is a file named `lock`, which a killed build leaves behind: every later start then waits for its end, for
ever and in silence (pytorch#189245). Ours is the same file, so that other programs respect it. Its owner keeps it
locked (flock, which ends with the process) and has written into it who it is.
"""

import fcntl
import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch.utils.cpp_extension
import torch.utils.file_baton

from jpo_dist.distributed.waiting import Tell, telling
from jpo_dist.locks import is_gone, whose_pids

logger = logging.getLogger(__name__)

POLL_S = 0.1
FOREIGN_S = 300.0
"""Age from which a lock on a network disk counts as left behind, where no owner is written in it. Another host may hold
it, and cannot be asked."""
SHARED = ("nfs", "lustre", "gpfs", "beegfs", "cifs", "smb", "ceph", "fuse", "9p", "gluster", "afs", "weka", "panfs")
"""Beginnings of the names of file systems that other hosts may write to."""


_USUAL_ROOT = torch.utils.cpp_extension.get_default_build_root


def build_root(packages: Sequence[str], version: str) -> Path:
    """The folder below which the operators of this environment are compiled, the same for each of its processes.

    torch has one folder for all environments of a user. Two of them would compile for each other again and again, since
    the operator of one is out of date for the other. `packages`: the folders of torch and DeepSpeed, which the commands
    of the compiler name; `version`: theirs. TORCH_EXTENSIONS_DIR goes first; torch's folder is kept where nobody else
    has compiled in it.
    """
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    if given:
        return Path(given)
    usual = Path(_USUAL_ROOT())
    if _is_of(usual, packages):
        return usual
    return usual / f"jpo-{hashlib.sha256(chr(10).join([*packages, version]).encode()).hexdigest()[:10]}"


def _is_of(root: Path, packages: Sequence[str]) -> bool:
    """Whether all that this Python has compiled in torch's folder was made of `packages`."""
    texts = []
    with suppress(OSError):
        for file in root.glob(f"py{sys.version_info.major}{sys.version_info.minor}*/*/build.ninja"):
            texts.append(file.read_text(encoding="utf-8", errors="replace"))
    return bool(texts) and all(f"{place}{os.sep}" in text for text in texts for place in packages)


def compile_below(root: Path) -> None:
    """Have every operator that torch compiles in this process, and no child of it, lie below `root`."""
    torch.utils.cpp_extension.get_default_build_root = lambda: str(root)


class OwnedBaton(torch.utils.file_baton.FileBaton):
    """torch's FileBaton with an owner. `try_acquire` waits for the owner's end, and breaks the lock of one that is
    gone: who comes second finds all compiled, and builds nothing."""

    tell: Tell = staticmethod(logger.warning)

    def __init__(self, lock_file_path: str, *args: Any, **settings: Any) -> None:
        super().__init__(lock_file_path, *args, **settings)
        self._path = Path(lock_file_path)
        self._name = f"operator {self._path.parent.name}"
        self._stack = ExitStack()
        self._seen: dict[tuple[int, int], float] = {}

    def try_acquire(self) -> bool:
        """Return True when this process owns the lock."""
        with telling(self._whom, self.tell):
            while not self._taken():
                if not self._broken():
                    time.sleep(POLL_S)
        self._stack.enter_context(telling(f"compiling {self._name}, once on this host (half a minute)", self.tell))
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._stack.close()
        super().release()

    def _taken(self) -> bool:
        try:
            file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        except FileExistsError:
            return False
        self.fd: Any = file
        with suppress(OSError):  # a disk without locks: what is written says enough to this host
            fcntl.flock(file, fcntl.LOCK_EX)
        os.write(file, json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "pids": whose_pids()}).encode())
        return True

    def _broken(self) -> bool:
        """Whether the lock was left behind; then it is gone."""
        try:
            file = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_left_behind(file) and os.path.samestat(os.fstat(file), self._path.stat()):
                self.tell(f"{self._name}: its last build did not end, and left {self._path}: removed, and built anew")
                self._path.unlink()
                return True
        except FileNotFoundError:
            return True
        except OSError:  # BlockingIOError: its owner lives
            return False
        finally:
            os.close(file)
        return False

    def _is_left_behind(self, file: int) -> bool:
        """Whether nobody of this host, or perhaps of another one, builds under a lock that nobody has locked."""
        found = os.fstat(file)
        if is_in_use(self._path, found):
            return False
        if os.pread(file, 1, 0):
            return True
        stranger = found.st_uid != os.getuid() and os.getuid() != 0  # whose processes cannot be looked into
        # Its age by the clock, or how long it was looked at: a lock of tomorrow, of a clock put back, has no age.
        since = self._seen.setdefault((found.st_ino, found.st_mtime_ns), time.monotonic())
        age_s = max(time.time() - found.st_mtime, time.monotonic() - since)
        return not (stranger or is_shared(self._path)) or age_s > FOREIGN_S

    def _whom(self) -> str:
        owner: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            owner = json.loads(self._path.read_text(encoding="utf-8"))
        who = f"process {owner['pid']} on host {owner['host']}" if owner else f"another program, which has {self._path}"
        if owner and is_gone(owner["pid"], owner.get("pids", "")):
            who = f"the compiler that {who} has left behind"
        return f"waiting for {who} to compile {self._name}"


class BuildError(RuntimeError):
    """An operator cannot be compiled here."""


@contextmanager
def building(tell: Tell, is_built: Callable[[], bool]) -> Iterator[None]:
    """Inside, DeepSpeed may compile. Raises BuildError where it could not, and not `is_built()`;
    ValueError where TORCH_EXTENSIONS_DIR is no folder to compile in."""
    own_build_locks(tell)
    try:
        yield
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        if os.environ.get("DS_ACCELERATOR") != "cpu" or is_built():  # something else is wrong
            raise
        given = os.environ.get("TORCH_EXTENSIONS_DIR")
        if given and isinstance(error, OSError) and str(error.filename or "").startswith(given):
            raise ValueError(
                f"TORCH_EXTENSIONS_DIR ({given}) cannot be written to: {error.strerror}; name a folder that can be, or "
                "unset it"
            ) from error
        compiler = f"CXX={os.environ['CXX']}" if os.environ.get("CXX") else "g++"
        raise BuildError(
            f"DeepSpeed's operator cannot be compiled by {compiler}: {str(error).strip().partition(chr(10))[0][:200]}; "
            "install a C++ compiler, or correct CXX and TORCH_EXTENSIONS_DIR; `jpo doctor --build` tries again"
        ) from error


def own_build_locks(tell: Tell) -> None:
    """Have every operator that torch compiles in this process take an OwnedBaton; `tell` says what it waits for."""
    OwnedBaton.tell = staticmethod(tell)
    torch.utils.file_baton.FileBaton = OwnedBaton  # type: ignore[misc]
    compiling = sys.modules.get("torch.utils.cpp_extension")
    if compiling is not None:  # it has taken the name already
        compiling.FileBaton = OwnedBaton  # type: ignore[attr-defined]


def is_in_use(path: Path, lock: os.stat_result) -> bool:
    """Whether a process of this host has the lock open, or works in its folder: a compiler outlives its killed parent,
    and two of them at once would write one file."""
    folder = path.parent.stat()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.path.samestat((process / "cwd").stat(), folder) and process.name != str(os.getpid()):
                return True
            if process.name != str(os.getpid()) and any(_leads_to(fd, lock) for fd in (process / "fd").iterdir()):
                return True
    return False


def _leads_to(descriptor: Path, lock: os.stat_result) -> bool:
    try:
        return os.path.samestat(descriptor.stat(), lock)
    except OSError:
        return False


def is_shared(path: Path) -> bool:
    """Whether other hosts may write to the disk of `path`, by the type of its file system."""
    place, kind = "", ""
    with suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
            _, mount, name = line.split()[:3]
            mount = mount.encode().decode("unicode_escape")  # \040 is a space
            if path.is_relative_to(mount) and len(mount) >= len(place):
                place, kind = mount, name
    return kind.startswith(SHARED)

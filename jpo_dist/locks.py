"""One command at a time in a folder that it writes; the others are told who is there, and whether that one still runs.

The lock is `.lock` in the folder (flock): it goes with its process, kill -9 included. Its owner writes into it who it
is.
"""

import fcntl
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

LOCK = ".lock"


def boot() -> str:
    """Id of this boot of the machine; "" where the system has none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def whose_pids() -> str:
    """Among which processes the number of this one means this one: those of a boot of a machine, in a namespace.

    A container has numbers of its own, and may have the host's name: for another process there they mean nothing.
    """
    namespace = ""
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()}\0{boot()}\0{namespace}".encode()).hexdigest()[:16]


def is_gone(pid: int | str, pids: str) -> bool:
    """Whether a process is known to have ended; `pids`: what whose_pids() was for it. False where that is another."""
    return pids == whose_pids() and not Path(f"/proc/{pid}").exists()


class InUse(RuntimeError):
    """Another command works in the folder."""


@contextmanager
def alone_in(folder: str | Path, key: str = "output", who: str = "run", lock: str = LOCK) -> Iterator[None]:
    """Inside, no other command of ours writes to `folder`, which is made; `lock`: another name, for a part of it.

    Raises InUse, which names the setting `key`, the folder and its owner (`who`, where that is not known). On a disk
    that has no locks there is none.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _one_at_a_time(folder):
            _break_if_left_behind(folder / lock)
            file = (folder / lock).open("a+", encoding="utf-8")
            taken = _taken(file)
    except OSError:  # what is written tells better than a lock that this user may not write here
        yield
        return
    with file:
        if not taken:
            raise InUse(f"{key} ({folder}) is in use by {_owner(file, who)}; wait for its end, or name another folder")
        try:
            yield
        finally:
            with suppress(OSError):
                file.truncate(0)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Around the moment in which a lock is broken and taken: a second process would break the new one."""
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a disk that locks no folders
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_UN)  # for a child too that was forked meanwhile
        os.close(held)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    with suppress(OSError):
        note_owner(file)
    return True


def _break_if_left_behind(lock: Path) -> None:
    """Remove a lock whose owner is gone: a child that outlives it has inherited the file."""
    about = _about(lock)
    if about is not None and is_gone(about["pid"], about.get("pids", "")):
        lock.unlink(missing_ok=True)


def note_owner(file: IO[str]) -> None:
    """Write who this process is into a lock that it holds."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    about = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pids": whose_pids(),
        "command": " ".join(words)[:200],
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }
    os.ftruncate(file.fileno(), 0)
    os.write(file.fileno(), json.dumps(about).encode())  # a buffer would come back at the close, if the disk is full


def _owner(file: IO[str], who: str) -> str:
    said = owner_of(Path(file.name))
    return f"another {who}: {said}" if said else f"another {who}"


def owner_of(lock: Path) -> str:
    """Who has written into a lock: process, host, since when, command; "" where nobody has."""
    about = _about(lock)
    if about is None:
        return ""
    return f"process {about['pid']} on host {about['host']}, since {about['since']}: {about['command']}"


def _about(lock: Path) -> dict[str, Any] | None:
    about: Any = None
    with suppress(OSError, ValueError):
        about = json.loads(lock.read_text(encoding="utf-8"))
    return about if isinstance(about, dict) and {"pid", "host", "since", "command"} <= set(about) else None

"""Deaths on order, for tests: `kill -9` of this process at a named point. Nothing happens unless JPO_FAULT is set.

    JPO_FAULT=commit:after-manifest@0@40      rank 0 dies in the commit of step 40, the manifest just written
    JPO_FAULT_ONCE=/tmp/fired                 and only once: the file is made first, a restarted attempt finds it

Points: `train:step`, `commit:before-shards`, `commit:mid-shard`, `commit:after-shards`, `commit:after-manifest`,
`commit:after-rename`. Every rank passes every point.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from jpo_dist import ranks


def fault_point(name: str, step: int) -> None:
    """Die here if that is what JPO_FAULT says: the process has no chance to clean up, as in a power cut."""
    if _is_meant(name, step) and _first_time():
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def fault_during(name: str, step: int, begun: Callable[[], bool]) -> Iterator[None]:
    """Die inside the block, as soon as `begun()` is true, from a thread beside it; at its end at the latest."""
    if not _is_meant(name, step):
        yield
        return
    threading.Thread(target=_die_when, args=(name, step, begun), daemon=True).start()
    yield
    fault_point(name, step)


def _die_when(name: str, step: int, begun: Callable[[], bool]) -> None:
    while True:
        with suppress(OSError):  # a name that was listed may be gone when it is looked at
            if begun():
                break
        time.sleep(0.0005)
    fault_point(name, step)


def _is_meant(name: str, step: int) -> bool:
    """Raises ValueError for a JPO_FAULT that could never fire: a test with a typing error would pass."""
    fault = os.environ.get("JPO_FAULT")
    if not fault:
        return False
    parts = fault.split("@")
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        raise ValueError(f"JPO_FAULT ({fault}) must be POINT@RANK@STEP, as in train:step@1@7")
    return parts == [name, str(ranks.rank()), str(step)]


def _first_time() -> bool:
    marker = os.environ.get("JPO_FAULT_ONCE")
    if not marker:
        return True
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True

"""Faults for tests: JPO_FAULT says what happens to this process, and at which named point. Without it nothing does.

    JPO_FAULT=commit:after-manifest@0@40      rank 0 dies in the commit of step 40, the manifest just written
    JPO_FAULT=train:step@1@7@stop             rank 1 is frozen at the start of step 7
    JPO_FAULT_ONCE=/tmp/fired                 and only once: the file is made first, a restarted attempt finds it

Points: `train:start` (step 0), `train:step`, `commit:before-shards`, `commit:mid-shard`, `commit:after-shards`,
`commit:after-manifest`, `commit:after-rename`, `upload:after-files`, `upload:mid-file`, `upload:after-manifest`,
`reshape:mid`, `export:before-merge` (the step that is exported). Every rank passes every point of `train` and `commit`.
Faults: HOWS, without one `kill`. The file of JPO_FAULT_ONCE holds the process id, for who wants to do something to the
process or its host from outside.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from jpo_dist.distributed import ranks


class OrderedError(RuntimeError):
    """The error that `raise` raises."""


def fault_point(name: str, step: int) -> None:
    """Do here what JPO_FAULT says. `kill` leaves the process no chance to clean up, as in a power cut."""
    how = _meant(name, step)
    if how and _first_time():
        HOWS[how]()


@contextmanager
def fault_during(name: str, step: int, begun: Callable[[], bool]) -> Iterator[None]:
    """Do what JPO_FAULT says inside the block, from another thread, once `begun()` is true or at its end."""
    how = _meant(name, step)
    if not how:
        yield
        return
    if how not in FROM_BESIDE:
        raise ValueError(f"JPO_FAULT ({os.environ['JPO_FAULT']}) must end in {', '.join(FROM_BESIDE)} at {name}")
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


def _meant(name: str, step: int) -> str | None:
    """What is to happen here. Raises ValueError for a JPO_FAULT that could never fire: a test with a typing error would
    pass."""
    fault = os.environ.get("JPO_FAULT")
    if not fault:
        return None
    point, rank, when, how = [*fault.split("@"), "kill"][:4] if fault.count("@") in (2, 3) else ("", "", "", "")
    if not (rank.isdigit() and when.isdigit()) or how not in HOWS:
        rule = f"POINT@RANK@STEP or POINT@RANK@STEP@HOW, as in train:step@1@7@stop; HOW is one of {', '.join(HOWS)}"
        raise ValueError(f"JPO_FAULT ({fault}) must be {rule}")
    if how == "wait" and not os.environ.get("JPO_FAULT_ONCE"):
        raise ValueError(f"JPO_FAULT ({fault}) waits for a file beside JPO_FAULT_ONCE, which is not set")
    return how if [point, rank, when] == [name, str(ranks.rank()), str(step)] else None


def _first_time() -> bool:
    marker = os.environ.get("JPO_FAULT_ONCE")
    if not marker:
        return True
    try:
        with open(marker, "x", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


# ---- what can happen


def _signal(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def _raise() -> None:
    raise OrderedError("this error was ordered by JPO_FAULT")


def _hang() -> None:
    threading.Event().wait()


def _wait() -> None:
    """Wait until the test has done what it wants to do meanwhile."""
    while not os.path.exists(os.environ["JPO_FAULT_ONCE"] + ".go"):
        time.sleep(0.02)


HOWS: dict[str, Callable[[], None]] = {
    "kill": _signal(signal.SIGKILL), "stop": _signal(signal.SIGSTOP), "raise": _raise,
    "exit": lambda: os._exit(3), "hang": _hang, "wait": _wait,
    "interrupt": _signal(signal.SIGINT), "terminate": _signal(signal.SIGTERM), "hangup": _signal(signal.SIGHUP),
}  # fmt: skip
FROM_BESIDE = ("kill", "stop", "exit")
"""Faults of the whole process, whichever thread they come from."""

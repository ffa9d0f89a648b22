"""What went wrong, said so that a person can act on it. Plain data: every error here survives pickling."""

import re
import time
import traceback
from collections.abc import Mapping


class ClusterError(RuntimeError):
    """A run failed by its machines, not by the training code."""


class AddressError(ClusterError, ValueError):
    """No Ray cluster answers at the address that was given."""


class ResourceError(ClusterError):
    """The cluster does not have what the run asks for."""


class Regroup(Exception):
    """No error: the workers end after a commit, to begin again in other places."""


class RoomForMore(Regroup):
    """The cluster can hold more workers now."""


class HostLeaves(Regroup):
    """A host that some of the workers are on goes away soon."""


class WorkerError(ClusterError):
    """The root cause of a failed run: one rank's own error, or the loss of its process.

    `rank` is the global rank, `kind` the name of the exception's type (`WorkerLost` when the process vanished), `log`
    the last lines of the traceback, `when` the time in seconds since 1970 (infinity where only the loss is known).
    `is_input`: what the run was given is wrong (a ValueError, a missing file), so that trying again cannot help.
    """

    def __init__(
        self, rank: int, kind: str, message: str, log: str = "", when: float = float("inf"), is_input: bool = False
    ) -> None:
        super().__init__(rank, kind, message, log, when, is_input)
        self.rank, self.kind, self.message, self.log, self.when = rank, kind, message, log, when
        self.is_input = is_input

    def __str__(self) -> str:
        text = f"rank {self.rank}: {self.kind}: {self.message}"
        if self.is_input:  # where in the code it was noticed is of no use to the person who mends the input
            return text
        return f"{text}\n{self.log}" if self.log else text

    @classmethod
    def of(cls, rank: int, error: BaseException, max_lines: int = 25) -> "WorkerError":
        """The WorkerError that says what `error` was, in strings. The exception itself may not pickle, or not import
        where it is unpickled."""
        lines = "".join(traceback.format_exception(error)).splitlines()
        wrong_input = isinstance(error, Exception) and is_input(error)
        return cls(rank, type(error).__name__, str(error), "\n".join(lines[-max_lines:]), time.time(), wrong_input)


def is_input(error: Exception) -> bool:
    """Whether not the run but what it was given is wrong: then trying again cannot help, here or in a worker."""
    return error.is_input if isinstance(error, WorkerError) else isinstance(error, ValueError | FileNotFoundError)


# What a healthy rank says when another one is gone: true, but never the cause.
_ECHO = re.compile(
    r"closed by peer|reset by peer|broken pipe|connection refused|nccl|gloo|timed out|socket", re.IGNORECASE
)

_INTERNAL = re.compile(r"\s*(class_name|actor_id|namespace|pid|ip|name):")


def is_regroup(error: WorkerError) -> bool:
    """Whether the workers only ended to begin again elsewhere."""
    return error.kind in {RoomForMore.__name__, HostLeaves.__name__}


def is_echo(error: WorkerError) -> bool:
    """Whether `error` only says that some other rank failed."""
    if error.kind == "PeerError":
        return True
    return error.kind in ("RuntimeError", "DistBackendError", "DistNetworkError") and bool(_ECHO.search(error.message))


def is_hopeless(error: WorkerError, before: tuple[str, str] | None) -> bool:
    """Whether another try cannot mend `error`: wrong input, or the words of the failure before (its kind, message)."""
    repeats = before == (error.kind, error.message)
    return error.is_input or (repeats and error.kind != "WorkerLost" and not is_echo(error))


def root_cause(failures: Mapping[int, BaseException], num_workers: int) -> WorkerError:
    """The error to show, of all that the ranks raised: a rank's own error, else a lost process, else an echo.

    Among equals the earliest wins. When there are only echoes, the ranks that said nothing are named: one of them
    is stuck or gone.
    """
    errors = [e if isinstance(e, WorkerError) else _lost(rank, e) for rank, e in sorted(failures.items())]
    cause = min(errors, key=lambda e: (2 if is_echo(e) else 1 if e.kind == "WorkerLost" else 0, e.when, e.rank))
    silent = sorted(set(range(num_workers)) - set(failures))
    if is_echo(cause) and silent:
        hint = f"{cause.message} (no error from rank {', '.join(map(str, silent))}: stuck or slow there)"
        return WorkerError(cause.rank, cause.kind, hint, cause.log, cause.when)
    return cause


def _lost(rank: int, error: BaseException) -> WorkerError:
    """The WorkerError for a worker that stopped answering: Ray's report without its list of internal ids."""
    report = str(getattr(error, "health_check_failure", error))
    kept = [line.strip() for line in report.splitlines() if line.strip() and not _INTERNAL.match(line)]
    return WorkerError(rank, "WorkerLost", " ".join(kept)[:1500] or type(error).__name__)

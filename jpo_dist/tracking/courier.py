"""The courier: brings the outbox to the tracking server beside training, however long the server is away."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from jpo_dist.redact import redact
from jpo_dist.tracking.outbox import ROWS_PER_BATCH, Outbox

_TRIES = 3
_GIVE_UP_S = 5.0
_LONGEST_WAIT_S = 10.0
log = logging.getLogger(__name__)


def brief(error: Exception) -> str:
    """An error in one short line for the log, without secrets: HTTP errors carry the address, and pages of causes."""
    return str(redact(str(error)))[:300]


class Connection(Protocol):
    """A run on a server, connected to. What `send` has done once it may do again without a trace."""

    @property
    def run_id(self) -> str: ...

    def send(self, entries: list[dict[str, Any]]) -> None:
        """Send metric entries together, or one entry of another kind."""

    def check(self) -> None:
        """Raise when the server is away."""


class Superseded(Exception):
    """A newer process, or a newer thread of this one, sends for this run."""


class Courier:
    """Brings an outbox to the server, in order, as far as it gets."""

    def __init__(self, outbox: Outbox, connect: Callable[[], Connection]) -> None:
        self.outbox = outbox
        self.connection: Connection | None = None
        self.left_out: Exception | None = None
        """Why the newest entry was left out that was."""
        self._connect = connect
        self._refused = (0, 0)  # offset behind the entry that was refused last, and how often it was

    def carry(self, deadline: float) -> None:
        """Send what there is, or what can be until `deadline` (time.monotonic). Raises whatever stopped it."""
        try:
            connection = self.connection = self.connection or self._connect()
            # A little at a time, and only with a server there: what is queued is fixed, and what was not sent yet
            # should rather be fixed by the attempt that counts.
            self.outbox.take_metrics(ROWS_PER_BATCH)
            while self._carry_next(connection) and time.monotonic() < deadline:
                self.outbox.take_metrics(ROWS_PER_BATCH)
        except BaseException:
            self.connection = None  # look again next time: the server may have lost its data and need all of it
            raise

    def _carry_next(self, connection: Connection) -> bool:
        batch, end = self.outbox.next_batch(self.outbox.confirmed(connection.run_id))
        if not batch:
            return False
        self.outbox.sync()
        if self.outbox.superseded:
            raise Superseded
        try:
            connection.send(batch)
        except Exception as error:
            if batch[0]["op"] == "metrics":
                raise
            self._refuse(connection, batch[0]["op"], end, error)
        self.outbox.confirm(connection.run_id, end)
        return True

    def _refuse(self, connection: Connection, op: str, end: int, error: Exception) -> None:
        """An entry that cannot be sent (an upload without rights, a lost file) must not hold up all metrics behind it.

        Raises `error` while it may still go: the server is away, or it was tried fewer than three times.
        """
        connection.check()
        times = self._refused[1] + 1 if self._refused[0] == end else 1
        self._refused = (end, times)
        if times < _TRIES:
            raise error
        self.left_out = error
        log.warning("the tracking server does not take this %s, left out: %s", op, brief(error))


class CourierThread:
    """Has a courier carry beside training until `close`; nothing else in the process waits for it."""

    def __init__(self, courier: Courier, interval_s: float) -> None:
        self._courier, self._interval_s = courier, interval_s
        self._stopped_by: Exception | None = None
        self._deadline = self._gives_up = float("inf")
        self._unsent = 0
        self._closing, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> int:
        """Send the rest, for at most `timeout_s`; a server that takes nothing at all gets a few seconds.

        Returns the number of steps left unsent.
        """
        self._deadline = time.monotonic() + timeout_s
        self._gives_up = time.monotonic() + _GIVE_UP_S
        self._closing.set()
        self._thread.join(timeout_s)
        self._closed.set()
        return self._courier.outbox.count_unsent()

    @property
    def trouble(self) -> Exception | None:
        """Why the server lacks something: what was left out, or what the last attempt met."""
        return self._courier.left_out or self._stopped_by

    def _work(self) -> None:
        failures = 0
        while not self._closed.is_set():
            last_round = self._closing.is_set()
            try:
                self._courier.carry(self._deadline)
                failures, self._stopped_by = 0, None
            except Superseded as error:
                self._stopped_by = error
                log.warning("another attempt of %s tracks it now; this one stops", self._courier.outbox.folder)
                return
            except ImportError as error:
                self._stopped_by = error
                missing = (error.name or "mlflow").partition(".")[0]  # of a database's address, its driver
                # mlflow is its own package's name; a driver's often differs (MySQLdb is mysqlclient)
                fix = "pip install mlflow" if missing == "mlflow" else f"install the package that has {missing}"
                log.warning("nothing is tracked (%s): %s, or set tracking.uri=none", error, fix)
                return
            except Exception as error:
                self._stopped_by = error
                failures += 1
                if failures == 1 or self._progressed():
                    self._gives_up = time.monotonic() + _GIVE_UP_S if last_round else self._gives_up
                if failures == 1:
                    log.warning("no tracking now, trying on beside training: %s", brief(error))
            if last_round and (failures == 0 or time.monotonic() > min(self._deadline, self._gives_up)):
                return
            self._pause(failures)

    def _progressed(self) -> bool:
        """Whether the server has taken anything since this was last asked."""
        before, self._unsent = self._unsent, self._courier.outbox.count_unsent()
        return self._unsent < before

    def _pause(self, failures: int) -> None:
        if self._closing.is_set():
            self._closed.wait(0.2)
        else:
            wait_s = self._interval_s if failures == 0 else min(_LONGEST_WAIT_S, 0.5 * 2 ** min(failures, 10))
            self._closing.wait(wait_s)

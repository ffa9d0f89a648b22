"""Real ranks on one machine: `run_ranks(fn, 2)` calls `fn` in two processes joined by gloo over loopback.

    def summed(x):                                  # at module level: it is found by name in the new processes
        return ranks.all_reduce_sum(torch.tensor([x])).item()

    assert run_ranks(summed, 2, 21) == [42, 42]     # results in rank order; they travel by pickle

Processes come from a fork server that has done the imports of training and nothing else, so a start costs tenths of a
second and no thread, lock or process group of the test process is inherited. Nothing of its `os.environ` set after the
first call is, either: pass `env`. A rank that is meant to die: `run_ranks(..., check=False)` returns what became of
each.
"""

import multiprocessing
import os
import pickle
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

import torch.distributed as dist

# Each rank would import them anew, which takes longer than most of what ranks do here. Where there is a GPU only torch:
# what looks for devices before a fork cannot use them after it.
_IMPORTED = ["torch", "torch.distributed"]
if not os.path.exists("/dev/nvidia0"):
    _IMPORTED += ["jpo_dist.train.loop", "transformers.models.llama.modeling_llama", "pytest"]

_GRACE_S = 30.0
"""After the first failure the other ranks get this long to end by themselves, then they are killed."""


@dataclass(frozen=True)
class Outcome:
    """What became of one rank."""

    rank: int
    value: Any = None
    error: str | None = None
    """Traceback, or how the process ended without one; None: `value` is the result."""
    exception: str | None = None
    """Name of the exception's class; None when there was none."""
    exit_code: int | None = None
    """-9: killed by SIGKILL. None: still running at the end and killed by us."""


class RankError(AssertionError):
    """Ranks failed. The message: the traceback of the first one that did, then a line for each of the others."""


def run_ranks(
    fn: Callable[..., Any],
    num_ranks: int,
    *args: Any,
    timeout: float = 240.0,
    env: Mapping[str, str] | None = None,
    group: bool = True,
    check: bool = True,
) -> list[Any]:
    """`fn(*args)` in `num_ranks` processes; returns their results in rank order.

    RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT are set as torchrun does, then `env`.
    With `group`, torch.distributed is initialised (gloo); without, `fn` may do it through the same variables.
    `timeout` seconds bound everything: what still runs then is killed, by its pid. Collectives get 0.8 of it.
    Raises RankError with the traceback of the first rank that failed; with check=False returns a list of Outcome.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    processes, pipes, outcomes = [], {}, dict[int, Outcome]()
    with rank_environments(num_ranks) as environments:
        try:
            for rank, own in enumerate(environments):
                ours, theirs = context.Pipe(duplex=False)
                settings = own | dict(env or {})
                process = context.Process(target=_main, args=(theirs, fn, args, settings, group, timeout))
                process.start()
                theirs.close()
                processes.append(process)
                pipes[ours] = rank
            outcomes = _collect(pipes, timeout)
        finally:
            exit_codes = [_end(process, rank in outcomes) for rank, process in enumerate(processes)]
    done = [_complete(rank, outcomes.get(rank), exit_codes[rank], timeout) for rank in range(num_ranks)]
    if not check:
        return done
    in_order = [done[rank] for rank in outcomes] + [o for o in done if o.rank not in outcomes]
    failed = sorted((o for o in in_order if o.error), key=lambda o: o.exception == "PeerError")  # the cause first
    if failed:
        others = [f"rank {o.rank}: {str(o.error).strip().splitlines()[-1]}" for o in failed[1:]]
        raise RankError("\n".join([f"rank {failed[0].rank} of {num_ranks} failed:\n{failed[0].error}", *others]))
    return [outcome.value for outcome in done]


@contextmanager
def rank_environments(num_ranks: int) -> Iterator[list[dict[str, str]]]:
    """What torchrun would set for each rank, around a store on loopback that is there as long as the block runs."""
    # Ours: its port is chosen by the system and held from the start, so nobody can take it.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    yield [_environment(rank, num_ranks, store.port) for rank in range(num_ranks)]


def _environment(rank: int, num_ranks: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        # As under torchrun: the store is there already, rank 0 must not try to serve a second one on that port.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _main(
    pipe: Connection,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    env: dict[str, str],
    group: bool,
    timeout: float,
) -> None:
    """One rank. Sends (value, traceback, exception name) and ends."""
    os.environ.update(env)
    try:
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        if group:
            # Sooner than the limit: who waits for a stuck rank can still say where.
            dist.init_process_group("gloo", timeout=timedelta(seconds=0.8 * timeout))
        message = pickle.dumps((fn(*args), None, None))
    except BaseException as error:
        message = pickle.dumps((None, traceback.format_exc(), type(error).__name__))
    pipe.send_bytes(message)
    pipe.close()
    # No destroy_process_group: it can wait for a peer that is gone. Ending the process closes the sockets.
    os._exit(0)


def _collect(pipes: dict[Connection, int], timeout: float) -> dict[int, Outcome]:
    """Outcomes in order of arrival, until all ranks have reported or ended, or time is over."""
    waiting, outcomes = dict(pipes), dict[int, Outcome]()
    deadline = time.monotonic() + timeout
    while waiting and (left := deadline - time.monotonic()) > 0:
        for ready in wait(list(waiting), timeout=left):
            assert isinstance(ready, Connection)
            rank = waiting.pop(ready)
            try:
                value, error, exception = pickle.loads(ready.recv_bytes())
                outcomes[rank] = Outcome(rank, value, error, exception)
            except EOFError:
                outcomes[rank] = Outcome(rank, error="the process ended without a result")
            if outcomes[rank].error:
                deadline = min(deadline, time.monotonic() + _GRACE_S)
    return outcomes


def _end(process: Any, reported: bool) -> int | None:
    """Exit code of a process that has ended; one that has not is killed and has none. Who has reported is ending."""
    process.join(timeout=_GRACE_S if reported else 0.0)
    if process.exitcode is not None:
        return int(process.exitcode)
    process.kill()
    process.join()
    return None


def _complete(rank: int, outcome: Outcome | None, exit_code: int | None, timeout: float) -> Outcome:
    if outcome is None:
        return Outcome(
            rank, error=f"no result (limit {timeout:g} s, or {_GRACE_S:g} s after another rank failed): killed"
        )
    ended = outcome.error if exit_code == 0 or outcome.exception else f"{outcome.error} (exit code {exit_code})"
    error = None if outcome.error is None else ended
    return Outcome(rank, outcome.value, error, outcome.exception, exit_code)

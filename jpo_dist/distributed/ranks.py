"""This process among its peers. Works the same with one process and no process group.

Ranks learn their place from the process group or the environment (RANK, WORLD_SIZE); nothing here starts one.
"""

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

T = TypeVar("T")

MEET_S = 5.0
"""How often ranks in `run_without_timeout` meet: well within the time limit of a collective."""


def rank() -> int:
    """Place of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def num_ranks() -> int:
    """How many processes train together; 1: alone."""
    return dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))


def address() -> str:
    """This host's address on the way to rank 0; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((os.environ.get("MASTER_ADDR", "127.0.0.1"), 9))
        return str(probe.getsockname()[0])


def barrier() -> None:
    """Return when every rank has called it."""
    if dist.is_initialized():
        dist.barrier()


def broadcast(value: Any) -> Any:
    """Rank 0's value on every rank (a small picklable object)."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def broadcast_array(array: np.ndarray, device: torch.device) -> np.ndarray:
    """Rank 0's numbers on every rank; shapes and dtypes are equal already. `device` is where collectives run."""
    if not dist.is_initialized():
        return array
    carried = torch.from_numpy(array).to(device)
    dist.broadcast(carried, src=0)
    return carried.cpu().numpy()


def gather(value: Any) -> list[Any]:
    """Every rank's value, in rank order, on every rank (small picklable objects)."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Sum over ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def any_true(said: Callable[[], bool] | None) -> bool:
    """Whether `said()` on any rank. None, on all ranks alike: no, and nothing is sent."""
    if said is None:
        return False
    where = "cuda" if dist.is_initialized() and dist.get_backend() == "nccl" else "cpu"
    return bool(all_reduce_sum(torch.tensor([said()], dtype=torch.int32, device=where)).item())


class PeerError(RuntimeError):
    """Another rank failed in a step that all ranks take together; its own log has the traceback."""


@contextmanager
def together(what: str) -> Iterator[None]:
    """All ranks leave this block well, or all of them raise: one failing rank must not leave the others waiting.

    The failing rank raises its own error, the others PeerError naming the rank and the cause.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    causes = gather(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    failed = [f"rank {r}: {cause}" for r, cause in enumerate(causes) if cause is not None]
    if failed:
        raise PeerError(f"{what} failed on {'; '.join(failed)}")


def run_without_timeout(what: str, work: Callable[[], T]) -> T:
    """What `work()` returns, on every rank, however long one of them takes.

    A rank that waits in a collective for one that still works would run into the collective's time limit. Here `work`
    runs in a thread, and ranks meet every MEET_S seconds until all are done. `work` may use no collective. All raise
    when one fails, as in `together`.
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        while not all(gather(_is_done(future))):
            pass
    with together(what):
        return future.result()


def _is_done(future: "Future[Any]") -> bool:
    return bool(wait([future], MEET_S).done)

"""How this process joins its peers: those that a launcher names in the environment, or none."""

import os
from datetime import timedelta
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from torch.distributed import HashStore  # type: ignore[attr-defined]

from jpo_dist.distributed.waiting import Tell, telling

PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher of ranks sets."""
NO_PORT = "0"
"""Of a rank that is alone: nobody listens there."""


class JoinError(RuntimeError):
    """The ranks of a run do not find each other."""


def join(timeout_s: float, tell: Tell) -> None:
    """Make the process group that the environment describes; alone, a group of one.

    `tell` says what is waited for. Raises JoinError where the others do not come within `timeout_s`, and ValueError
    where the environment names an interface that this host does not have.
    """
    if "RANK" not in os.environ:  # DeepSpeed looks for them each time that it makes an engine
        os.environ.update(dict(zip(PLACE, ("0", "0", "1", "127.0.0.1", NO_PORT), strict=True)))
    if torch.distributed.is_initialized():
        return
    refuse_unknown_interface()
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    me, at = "rank {RANK} of {WORLD_SIZE}", "{MASTER_ADDR}:{MASTER_PORT}"
    waits = f"{me} waits for the others at {at}".format_map(os.environ)
    try:
        with telling(waits, tell):
            torch.distributed.init_process_group(backend, timeout=timedelta(seconds=timeout_s), **_meeting())
    except (RuntimeError, ValueError, OSError) as error:
        raise JoinError(f"{_reason(error, f'{me}, {at}'.format_map(os.environ))}; {_fix()}") from error


def _meeting() -> dict[str, Any]:
    """Where the ranks meet, as torch takes it: at the address in the environment, which torch reads by itself. One rank
    meets nobody, and needs no port: one that was free a moment ago may be taken by another process."""
    if os.environ["WORLD_SIZE"] != "1":
        return {}
    return {"store": HashStore(), "rank": 0, "world_size": 1}


def refuse_unknown_interface() -> None:
    """Raises ValueError where GLOO_SOCKET_IFNAME names none of this host's interfaces."""
    named, there = os.environ.get("GLOO_SOCKET_IFNAME"), psutil.net_if_addrs()
    for name in named.split(",") if named else ():
        if name.strip() not in there:
            raise ValueError(
                f"GLOO_SOCKET_IFNAME ({named}) must be an interface of this host, which has "
                f"{', '.join(sorted(there))}; correct it, or unset it"
            )


def _reason(error: Exception, where: str) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"the ranks do not find each other ({where}): {lines[0][:300]}"


def _fix() -> str:
    return "start all ranks with torchrun, or unset RANK and WORLD_SIZE where no launcher has set them"

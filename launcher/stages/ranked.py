"""One function on every rank. The same function runs in three places: Ray workers, processes that torchrun has started,
or this process alone.
"""

import importlib.metadata
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.secrets import load_secrets
from jpo_dist.config.explain import ConfigError
from jpo_dist.distributed.waiting import heard_by, nobody, posted
from jpo_dist.run_dir import CHATTER, RAY
from launcher.config.kinds import AnyRunConfig
from launcher.show.board import Workers, watching

logger = logging.getLogger(__name__)

Entry = Callable[[dict[str, Any]], None]


def run_ranked(entry: Entry, config: AnyRunConfig, look: Callable[[], Any] | None = None, **more: Any) -> None:
    """Run `entry` on every rank and wait; `more` is added to what it is called with. Raises what a rank raised.

    Under torchrun this process is a rank already and Ray need not be installed; with cluster.workers=0 it is the only
    one; else Ray starts the ranks. `look` is called before Ray is: it raises where the ranks would have to.
    """
    load_secrets(config.cluster.secrets)
    payload: dict[str, Any] = {"config": config.model_dump(mode="json"), "under_ray": False, **more}
    if under_torchrun() or config.cluster.workers == 0:
        entry(payload)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from jpo_dist.model.engine import disconnect

            disconnect()
        return
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            f"cluster.workers ({config.cluster.workers}) needs Ray, which is not installed; install it, set "
            "cluster.workers=0 to train in this process, or start with torchrun"
        )
    from cluster.ray_train import launch

    if look is not None:
        look()
    payload["under_ray"] = True
    storage, works = str(Path(config.run.dir) / RAY), Path(config.run.dir) / CHATTER / f"{entry.__name__}.json"
    payload["works"] = str(works)
    with watching(Workers(works, f"starting {config.cluster.most} workers")):
        launch(entry, payload, config.cluster, run_name=config.run.name, storage=storage)


@contextmanager
def heard(payload: dict[str, Any]) -> Iterator[None]:
    """Around the work of a rank: the driver hears of it from the first one, by a file where Ray has started them."""
    if not payload["under_ray"]:
        yield
        return
    with posted(Path(payload["works"])) if is_driver() else heard_by(nobody):
        yield


def under_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_driver() -> bool:
    """Whether this process writes config and tracking: the one that a person started, or rank 0 under torchrun."""
    return int(os.environ.get("RANK", "0")) == 0

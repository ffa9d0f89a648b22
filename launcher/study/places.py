"""Where stages run: processes of this host, and tasks of a Ray cluster, as many at once as there is room for."""

import os
import selectors
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from cluster.config import ClusterConfig
from jpo_dist.tracking.writer import tags_of_environment
from launcher.pipeline.process import arguments_of, shell_code, start_command, start_stage, suspended_with
from launcher.pipeline.resolve import Stage

LOOK_S = 0.5
"""How long one place is waited for before the other is looked at."""


class Ended(NamedTuple):
    """A stage whose command has ended."""

    folder: Path
    code: int
    """The exit code as shells say it."""


class Places(Protocol):
    """What the engine needs to know of where stages run."""

    def start(self, stage: Stage, tags: Mapping[str, Any]) -> bool:
        """Start the stage if there is room; whether there was."""

    def ended(self) -> list[Ended]:
        """Wait until at least one of those that run has ended."""


def log_of(stage: Stage) -> Path:
    """The file with all that the stage's command said."""
    return stage.folder.with_name(f"{stage.folder.name}.log")


class OnThisHost:
    """Stages as processes of this host, `at_once` of them. `stop` ends those that run, and waits for them."""

    def __init__(self, at_once: int, lock: IO[str]) -> None:
        self.at_once, self.lock = at_once, lock
        self.children: dict[Path, subprocess.Popen[bytes]] = {}
        self._ended = selectors.DefaultSelector()

    def start(self, stage: Stage, tags: Mapping[str, Any]) -> bool:
        if len(self.children) >= self.at_once:
            return False
        with log_of(stage).open("ab") as log:
            child = start_stage(stage, tags, self.lock, log)
        self.children[stage.folder] = child
        self._ended.register(os.pidfd_open(child.pid), selectors.EVENT_READ, stage.folder)
        return True

    def ended(self, timeout_s: float | None = None) -> list[Ended]:
        found = []
        for key, _ in self._ended.select(timeout_s) if self.children else []:
            self._ended.unregister(key.fileobj)
            os.close(key.fd)
            found.append(Ended(key.data, shell_code(self.children.pop(key.data).wait())))
        return found

    def stop(self) -> None:
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            child.wait()
        self._ended.close()


class OnRay:
    """Stages without workers of their own as Ray tasks, all others as processes of this host, whose workers Ray
    places."""

    def __init__(self, tasks: Any, here: OnThisHost, at_once: int) -> None:
        self.tasks, self.here, self.at_once = tasks, here, at_once
        self.running: dict[int, Path] = {}

    def start(self, stage: Stage, tags: Mapping[str, Any]) -> bool:
        if stage.settings.get("cluster", {}).get("workers", 0) != 0:
            return self.here.start(stage, tags)
        if len(self.running) >= self.at_once:
            return False
        payload = {
            "arguments": arguments_of(stage),
            "tags": {**tags_of_environment(), **tags},  # a task has another environment
            "log": str(log_of(stage)),
        }
        self.running[self.tasks.start(payload)] = stage.folder
        return True

    def ended(self) -> list[Ended]:
        while True:
            found = self.here.ended(LOOK_S if self.running else None) if self.here.children else []
            found += [Ended(self.running.pop(n), result["code"]) for n, result in self.tasks.ended(LOOK_S)]
            if found:
                return found


def run_stage(payload: dict[str, Any]) -> dict[str, Any]:
    """The command of a stage, inside a Ray task: {"arguments", "tags", "log"} -> {"code"}. It ends with the task."""
    log = Path(payload["log"])
    with log.open("ab") as file:
        return {"code": shell_code(start_command(payload["arguments"], payload["tags"], log=file).wait())}


@contextmanager
def places(at_once: int, cluster: ClusterConfig | None, lock: IO[str]) -> Iterator[Places]:
    """Inside, stages can run; whatever ends it ends them.

    Raises ResourceError and ClusterError where `cluster` cannot be used.
    """
    here = OnThisHost(at_once, lock)
    try:
        if cluster is None:
            with suspended_with(here.children.values):
                yield here
            return
        from cluster.tasks import started_one_by_one

        with started_one_by_one(run_stage, cluster) as tasks:
            yield OnRay(tasks, here, cluster.most)
    finally:
        here.stop()

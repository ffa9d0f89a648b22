"""Stages of many cells as processes: several at once, each only when what it begins from is there, each once.

A stage that fails fails the cells that need it, and no other. kill -9 of this process ends the stages that run, as in
`jpo run`; the next start goes on with them where they stood.
"""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from cluster.signals import ended_by_signals
from launcher.pipeline.process import is_done, note_done, shell_code, start_stage
from launcher.pipeline.resolve import Stage
from launcher.study.cells import Cell, before, unique


class Failure(NamedTuple):
    """A stage whose command ended badly."""

    stage: str
    code: int
    log: Path
    """All that it said."""
    last_line: str


class State(NamedTuple):
    """What has become of the stages so far, by their folders."""

    stages: dict[Path, Stage]
    done: set[Path]
    failed: dict[Path, Failure]
    running: dict[Path, float]
    """When it was started, by the monotonic clock."""

    def failure_of(self, cell: Cell) -> Failure | None:
        """The failure of the first stage of the cell that failed."""
        return next((self.failed[stage.folder] for stage in cell.stages if stage.folder in self.failed), None)

    def is_done(self, cell: Cell) -> bool:
        return all(stage.folder in self.done for stage in cell.stages)


def run_cells(
    cells: Sequence[Cell],
    at_once: int,
    lock: IO[str],
    tags: Callable[[Stage], Mapping[str, Any]],
    told: Callable[[State, Stage | None], None],
) -> State:
    """Run every stage of the cells that is not done. `told` is called at the start and after each stage that ends.

    Whatever ends this call ends the stages that run, and waits for them: what they tidy up is not cut short.
    """
    stages = unique(cells)
    needs = {stage.folder: before(stage, cell) for cell in cells for stage in cell.stages}
    state = State(stages, {folder for folder, stage in stages.items() if is_done(stage)}, {}, {})
    children: dict[Path, subprocess.Popen[bytes]] = {}
    told(state, None)
    with ended_by_signals(), selectors.DefaultSelector() as ended:
        try:
            while True:
                for stage in _ready(state, needs)[: at_once - len(children)]:
                    children[stage.folder] = _start(stage, tags(stage), lock, state, ended)
                if not children:
                    return state
                for key, _ in ended.select():
                    stage = stages[key.data]
                    ended.unregister(key.fileobj)
                    os.close(key.fd)
                    _end(stage, children.pop(stage.folder), state)
                    told(state, stage)
        except BaseException:
            for child in children.values():
                child.terminate()
            for child in children.values():
                child.wait()
            raise


def _ready(state: State, needs: Mapping[Path, set[Path]]) -> list[Stage]:
    """Stages that can start, in the order of the cells."""
    over = {*state.done, *state.failed, *state.running}
    return [stage for folder, stage in state.stages.items() if folder not in over and needs[folder] <= state.done]


def log_of(stage: Stage) -> Path:
    """The file with all that the stage's command said."""
    return stage.folder.with_name(f"{stage.folder.name}.log")


def _start(
    stage: Stage, tags: Mapping[str, Any], lock: IO[str], state: State, ended: selectors.BaseSelector
) -> subprocess.Popen[bytes]:
    with log_of(stage).open("ab") as log:
        child = start_stage(stage, tags, lock, log)
    state.running[stage.folder] = time.monotonic()
    ended.register(os.pidfd_open(child.pid), selectors.EVENT_READ, stage.folder)
    return child


def _end(stage: Stage, child: subprocess.Popen[bytes], state: State) -> None:
    code = shell_code(child.wait())
    seconds = time.monotonic() - state.running.pop(stage.folder)
    if code == 0:
        note_done(stage, seconds)
        state.done.add(stage.folder)
    else:
        state.failed[stage.folder] = Failure(stage.name, code, log_of(stage), _last_line(log_of(stage)))


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]]
    return next((line for line in reversed(lines) if line), "it said nothing")

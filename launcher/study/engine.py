"""Stages of many cells: several at once, each only when what it begins from is there, each once.

A stage that fails fails the cells that need it, and no other. kill -9 of this process ends the stages that run, as in
`jpo run`; the next start goes on with them where they stood.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from launcher.pipeline.process import note_done
from launcher.pipeline.resolve import Stage
from launcher.study.cells import Cell, before, to_do, unique
from launcher.study.places import Places, log_of


class Failure(NamedTuple):
    """A stage whose command ended badly, or what it has made could not be measured."""

    stage: str
    code: int | None
    """None: the stage is done, and could not be measured."""
    log: Path
    """All that it said; what could not be measured."""
    last_line: str

    @property
    def sentence(self) -> str:
        if self.code is None:
            return f"{self.stage} could not be measured: {self.last_line} (in {self.log})"
        return f"in stage {self.stage} with exit code {self.code}: {self.last_line} (all of it: {self.log})"


class State(NamedTuple):
    """What has become of the stages so far, by their folders."""

    stages: dict[Path, Stage]
    done: set[Path]
    """Those that nothing has to wait for: done, or not needed any more."""
    failed: dict[Path, Failure]
    running: dict[Path, float]
    """When it was started, by the monotonic clock."""

    def failure_of(self, cell: Cell) -> Failure | None:
        """The failure of the first stage of the cell that failed."""
        return next((self.failed[stage.folder] for stage in cell.stages if stage.folder in self.failed), None)

    def is_done(self, cell: Cell) -> bool:
        return all(stage.folder in self.done for stage in cell.stages)


def failures(state: State, cells: Sequence[Cell]) -> dict[str, Failure]:
    """Of the cells that failed the failure, by name."""
    return {cell.name: failure for cell in cells if (failure := state.failure_of(cell))}


def run_cells(
    cells: Sequence[Cell],
    where: Places,
    tags: Callable[[Stage], Mapping[str, Any]],
    told: Callable[[State, Stage | None], None],
) -> State:
    """Run every stage that the cells need (`to_do`). `told` is called at the start and after each stage that ends."""
    stages = unique(cells)
    needs = {stage.folder: before(stage, cell) for cell in cells for stage in cell.stages}
    state = State(stages, stages.keys() - to_do(cells).keys(), {}, {})
    told(state, None)
    while True:
        for stage in _ready(state, needs):
            if where.start(stage, tags(stage)):
                state.running[stage.folder] = time.monotonic()
        if not state.running:
            return state
        for ended in where.ended():
            _end(stages[ended.folder], ended.code, state)
            told(state, stages[ended.folder])


def _ready(state: State, needs: Mapping[Path, set[Path]]) -> list[Stage]:
    """Stages that can start, in the order of the cells."""
    over = {*state.done, *state.failed, *state.running}
    return [stage for folder, stage in state.stages.items() if folder not in over and needs[folder] <= state.done]


def _end(stage: Stage, code: int, state: State) -> None:
    seconds = time.monotonic() - state.running.pop(stage.folder)
    if code == 0:
        note_done(stage, seconds)
        state.done.add(stage.folder)
    else:
        state.failed[stage.folder] = Failure(stage.name, code, log_of(stage), _last_line(log_of(stage)))


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]]
    return next((line for line in reversed(lines) if line), "it said nothing")

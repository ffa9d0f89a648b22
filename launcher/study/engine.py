"""Stages of many cells: several at once, each only when what it begins from is there, each once.

A stage that fails fails the cells that need it, and no other; so does one that leaves requests to a server without an
answer, also when it is run once more. kill -9 of this process ends the stages that run, as in
`jpo run`; the next start goes on with them where they stood.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from launcher.pipeline.lacking import left_of, way_out
from launcher.pipeline.process import note_done
from launcher.pipeline.resolve import Stage
from launcher.study.cells import Cell, before, to_do, unique
from launcher.study.places import Places, log_of


class Failure(NamedTuple):
    """A stage whose command ended badly or left requests without an answer, or what it has made was not measured."""

    stage: str
    code: int | None
    """The exit code of its command. None: the stage is done, and could not be measured."""
    log: Path
    """All that it said; what could not be measured."""
    last_line: str
    """What it said last, or what it left."""

    def __str__(self) -> str:
        if self.code is None:
            return f"{self.stage} could not be measured: {self.last_line} (in {self.log})"
        ended = f" with exit code {self.code}" if self.code else ""
        return f"in stage {self.stage}{ended}: {self.last_line} (all of it: {self.log})"


class State(NamedTuple):
    """What has become of the stages so far, by their folders."""

    stages: dict[Path, Stage]
    done: set[Path]
    """Those that nothing has to wait for: done, or not needed any more."""
    failed: dict[Path, Failure]
    running: dict[Path, float]
    """When it was started, by the monotonic clock."""
    again: dict[Path, float]
    """Those that were or are run once more, for requests without an answer, with the seconds of the first time."""

    def failure_of(self, cell: Cell) -> Failure | None:
        """The failure of the first stage of the cell that failed."""
        return next((self.failed[stage.folder] for stage in cell.stages if stage.folder in self.failed), None)

    def said_of(self, ended: Stage) -> str:
        """What became of a stage that has just ended, in words."""
        left = left_of(ended)
        lacks = f", {left}" if left.requests else ""
        if ended.folder in self.failed:
            return f"failed{lacks}"
        return f"done{lacks}" if ended.folder in self.done else f"is run once more{lacks}"

    def is_done(self, cell: Cell) -> bool:
        return all(stage.folder in self.done for stage in cell.stages)


def failures(state: State, cells: Sequence[Cell]) -> dict[str, Failure]:
    """The failure of each cell that failed, by the cell's name."""
    return {cell.name: failure for cell in cells if (failure := state.failure_of(cell))}


def run_cells(
    cells: Sequence[Cell],
    where: Places,
    tags: Callable[[Stage], Mapping[str, Any]],
    told: Callable[[State, Stage | None], None],
    max_failed: float,
) -> State:
    """Run every stage that the cells need (`to_do`). `told` is called at the start and after each stage that ends.

    `max_failed`: the largest share of a stage's requests that may be left at its end (launcher.pipeline.lacking).
    """
    stages = unique(cells)
    needs = {stage.folder: before(stage, cell) for cell in cells for stage in cell.stages}
    state = State(stages, stages.keys() - to_do(cells).keys(), {}, {}, {})
    told(state, None)
    while True:
        for stage in _ready(state, needs):
            if where.start(stage, tags(stage)):
                state.running[stage.folder] = time.monotonic()
        if not state.running:
            return state
        for ended in where.ended():
            _end(stages[ended.folder], ended.code, state, max_failed)
            told(state, stages[ended.folder])


def _ready(state: State, needs: Mapping[Path, set[Path]]) -> list[Stage]:
    """Stages that can start, in the order of the cells."""
    over = {*state.done, *state.failed, *state.running}
    return [stage for folder, stage in state.stages.items() if folder not in over and needs[folder] <= state.done]


def _end(stage: Stage, code: int, state: State, max_failed: float) -> None:
    """Put a stage that has ended among those that are done or failed, or among neither: then it is run once more."""
    seconds = time.monotonic() - state.running.pop(stage.folder)
    left = left_of(stage)
    if code:
        state.failed[stage.folder] = Failure(stage.name, code, log_of(stage), _last_line(log_of(stage)))
    elif left.share > max_failed and stage.folder not in state.again:
        state.again[stage.folder] = seconds
    elif left.share > max_failed:
        state.failed[stage.folder] = Failure(stage.name, code, log_of(stage), way_out(left))
    else:
        note_done(stage, seconds + state.again.get(stage.folder, 0.0))
        state.done.add(stage.folder)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]]
    return next((line for line in reversed(lines) if line), "it said nothing")

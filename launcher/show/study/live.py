"""A study while it runs: on a terminal a table that is drawn in place, elsewhere lines for each stage that ends."""

from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from launcher.console import draws
from launcher.show.sections import duration
from launcher.show.study.words import name, plain


class Progress(NamedTuple):
    """How far the cells of an arm at a point of the grid are."""

    arm: str
    point: str
    done: int
    failed: int
    cells: int
    seconds: float
    """What the stages of those that are done took."""
    value: float | None
    """The primary metric over the runs so far."""


class LiveTable:
    """Shows progress on a console, from `with` to its end."""

    def __init__(self, console: Console, what: str, metric: str) -> None:
        self.console, self.what, self.metric = console, what, metric
        self.live = Live(console=console, auto_refresh=False) if draws(console) else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live:
            self.live.stop()

    def tell(self, event: str, progress: list[Progress], stages: str) -> None:
        """Show what has just happened, how far each arm is, and how many stages are done."""
        if event:
            self.console.print(event, markup=False, highlight=False)
        if self.live:
            self.live.update(table(self.what, self.metric, progress, stages), refresh=True)
        else:
            self.console.print(line(self.what, self.metric, progress, stages), markup=False, soft_wrap=True)


def table(what: str, metric: str, progress: list[Progress], stages: str) -> Table:
    """The progress as a table."""
    points = any(one.point for one in progress)
    made = Table(title=what, caption=stages, title_justify="left", caption_justify="left", box=None)
    for head in ("arm", *(["at"] if points else []), "done", "failed", "took", name(metric)):
        made.add_column(head, justify="left" if head in ("arm", "at") else "right")
    for one in progress:
        made.add_row(
            one.arm, *([one.point] if points else []), f"{one.done} of {one.cells}", str(one.failed or "-"),
            duration(one.seconds), plain(metric, one.value),
        )  # fmt: skip
    return made


def line(what: str, metric: str, progress: list[Progress], stages: str) -> str:
    """The progress in one line."""
    done, failed, cells = (sum(getattr(one, part) for one in progress) for part in ("done", "failed", "cells"))
    so_far = ", ".join(
        f"{' '.join(filter(None, [one.arm, one.point]))} {one.value:.3f} ({one.done})"
        for one in progress
        if one.value is not None
    )
    told = f"; {metric} so far: {so_far}" if so_far else ""
    return f"{what}: {done} of {cells} done, {failed} failed, {stages}{told}"

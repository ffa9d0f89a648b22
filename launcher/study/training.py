"""What the trainings of a study say beside its answers: parts of the margin by step, which data they share, what they
took."""

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jpo_dist.files import read_json
from jpo_dist.run_dir import METRICS
from jpo_dist.study.tables import point_of
from launcher.pipeline.process import is_done
from launcher.study.cells import Cell, unique

CURVES = ("margin/instruction", "margin/response", "rewards/accuracies", "loss")
POINTS = 24
"""Most points of a curve: each is the mean of a few steps."""
Run = Sequence[Mapping[str, float]]
"""CURVES of the steps of one training."""


def curves(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Metrics over training for each arm and point, means of its runs: {"point", "arm", "runs", "ends", "last"} and,
    over "steps", each of CURVES.

    The last training of each cell counts; an arm whose training has no margins has no line.
    """
    runs: dict[tuple[str, str], list[list[dict[str, float]]]] = defaultdict(list)
    for cell in cells:
        trained = [stage for stage in cell.stages if stage.kind.trains]
        steps = _steps(trained[-1].folder / METRICS) if trained else []
        if steps:
            runs[point_of(cell.values), cell.arm].append(steps)
    return [_curve(point, arm, of) for (point, arm), of in runs.items()]


def _steps(file: Path) -> list[dict[str, float]]:
    """CURVES of every step of a training that has them, by name, with its `step`."""
    return [
        {"step": row["step"], **{name: row["metrics"][name] for name in CURVES if name in row["metrics"]}}
        for row in _rows(file)
        if CURVES[0] in row["metrics"]
    ]


def _rows(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [json.loads(line) for line in lines]


def last_of(cell: Cell, metric: str) -> float | None:
    """The mean of a metric over the last quarter of the steps of the cell's last training that have it."""
    values = [row["metrics"][metric] for row in _last_training(cell) if metric in row["metrics"]]
    last = values[-max(1, len(values) // 4) :]
    return sum(last) / len(last) if last else None


def metrics_of_last(cell: Cell) -> set[str]:
    """Names of the metrics that a step of the cell's last training has."""
    return {name for row in _last_training(cell) for name in row["metrics"]}


def _last_training(cell: Cell) -> list[dict[str, Any]]:
    trained = [stage for stage in cell.stages if stage.kind.trains]
    return _rows(trained[-1].folder / METRICS) if trained else []


def _curve(point: str, arm: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Up to where the longest run ends; behind the end of a shorter one, the means are of those that go on.

    `last` are means of the runs over each one's own last steps, and `ends` the first and last step at which one ends.
    """
    longest = max(map(len, runs))
    width = _width(longest)
    ends = [int(run[-1]["step"]) for run in runs]
    made: dict[str, Any] = {"point": point, "arm": arm, "runs": len(runs), "ends": [min(ends), max(ends)], "steps": []}
    for start in range(0, longest, width):
        rows = [row for run in runs for row in run[start : start + width]]
        made["steps"].append(max(int(row["step"]) for row in rows))
        for name, value in _means([rows]).items():
            made.setdefault(name, []).append(value)
    return {**made, "last": _means([run[(len(run) - 1) // _width(len(run)) * _width(len(run)) :] for run in runs])}


def _width(length: int) -> int:
    """Steps in one point of a curve."""
    return -(-length // POINTS)


def _means(parts: Sequence[Run]) -> dict[str, float]:
    """The mean of each of CURVES over parts that count the same, each the mean of its steps, to five digits."""
    made = {}
    for name in CURVES:
        values = [[row[name] for row in part if name in row] for part in parts]
        means = [sum(of) / len(of) for of in values if of]
        if means:
            made[name] = float(f"{sum(means) / len(means):.5g}")
    return made


def one_draw(cells: Sequence[Cell]) -> list[str]:
    """Arms with two training runs or more at a point, all of which learn from the same data: what they say holds for
    these data. An arm that trains nothing has one run."""
    data, runs = defaultdict(set), defaultdict(set)
    for cell in cells:
        trained = [stage for stage in cell.stages if stage.kind.trains]
        if trained:
            place = cell.arm, point_of(cell.values)
            data[place].add(str(trained[-1].settings["data"]["train"]))
            runs[place].add(trained[-1].folder)
    return list(dict.fromkeys(place[0] for place in data if len(data[place]) == 1 < len(runs[place])))


def cost(cells: Sequence[Cell]) -> dict[str, Any]:
    """Seconds that the stages took, all together, and where this is."""
    done = [read_json(stage.done_file) for stage in unique(cells).values() if is_done(stage)]
    return {"stages": len(done), "seconds": round(sum(float(one.get("seconds", 0)) for one in done)),
            "machine": machine()}  # fmt: skip


def machine() -> str:
    """Cores and GPUs of this host in words."""
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*")) if Path("/proc/driver/nvidia/gpus").is_dir() else []
    return f"{os.cpu_count()} CPU cores" + (f", {len(gpus)} GPUs" if gpus else "")

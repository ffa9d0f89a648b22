"""What the trainings and sets of a study say beside its answers: parts of the margin by step, and what the instruction
alone tells of each set."""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jpo_dist.files import read_json
from jpo_dist.records.folder import REPORT
from jpo_dist.run_dir import METRICS
from jpo_dist.study.tables import point_of
from launcher.pipeline.process import is_done
from launcher.pipeline.resolve import Stage
from launcher.study.cells import Cell, unique

CURVES = ("margin/instruction", "margin/response", "rewards/accuracies", "loss")
POINTS = 24
"""Most points of a curve: each is the mean of a few steps."""


def curves(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Metrics over training for each arm and point, means of its runs: {"point", "arm", "runs", "steps", METRIC}.

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
    trained = [stage for stage in cell.stages if stage.kind.trains]
    rows = _rows(trained[-1].folder / METRICS) if trained else []
    values = [row["metrics"][metric] for row in rows if metric in row["metrics"]]
    last = values[-max(1, len(values) // 4) :]
    return sum(last) / len(last) if last else None


def _curve(point: str, arm: str, runs: Sequence[Sequence[dict[str, float]]]) -> dict[str, Any]:
    length = min(map(len, runs))
    width = -(-length // POINTS)
    made: dict[str, Any] = {"point": point, "arm": arm, "runs": len(runs), "steps": []}
    for start in range(0, length, width):
        rows = [row for run in runs for row in run[start : min(start + width, length)]]
        made["steps"].append(max(int(row["step"]) for row in rows))
        for name in CURVES:
            values = [row[name] for row in rows if name in row]
            if values:
                made.setdefault(name, []).append(float(f"{sum(values) / len(values):.5g}"))
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


def sets(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What each set that the cells train on holds, and how well the instruction alone tells its winners."""
    made, seen = [], set()
    for cell in cells:
        for stage in cell.stages:
            if stage.kind.command == ("data", "build") and is_done(stage) and stage.folder not in seen:
                seen.add(stage.folder)
                report = read_json(stage.folder / REPORT)
                point = point_of(cell.values) if _varies(stage, cells) else ""
                flips = report.get("flips", {}).get("flipped", 0)
                of_set = {"set": stage.name, "key": stage.key, "point": point, "flipped": flips,
                          "for_training": report["splits"]["train"]}  # fmt: skip
                made += [{**of_set, **_pairs(pairs)} for pairs in report["pairs"]]
    return made


def _varies(stage: Stage, cells: Sequence[Cell]) -> bool:
    """Whether other cells have another stage of this name."""
    return len({other.folder for cell in cells for other in cell.stages if other.name == stage.name}) > 1


def _pairs(pairs: dict[str, Any]) -> dict[str, Any]:
    alone = pairs["instruction_only_accuracy"]
    return {"policy": pairs["policy"], "comparisons": pairs["kept"], "ties": pairs["ties"],
            "instruction_alone": alone["accuracy"], "standard_error": alone["standard_error"]}  # fmt: skip


def cost(cells: Sequence[Cell]) -> dict[str, Any]:
    """Seconds that the stages took, all together, and where this is."""
    done = [read_json(stage.done_file) for stage in unique(cells).values() if is_done(stage)]
    return {"stages": len(done), "seconds": round(sum(float(one.get("seconds", 0)) for one in done)),
            "machine": machine()}  # fmt: skip


def machine() -> str:
    """Cores and GPUs of this host in words."""
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*")) if Path("/proc/driver/nvidia/gpus").is_dir() else []
    return f"{os.cpu_count()} CPU cores" + (f", {len(gpus)} GPUs" if gpus else "")

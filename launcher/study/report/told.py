"""What a report tells of stages beside what cells are measured to: from their folders, or as it was published."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jpo_dist.files import read_json
from jpo_dist.records.folder import REPORT
from jpo_dist.run_dir import METRICS
from launcher.config.study import StudyConfig
from launcher.pipeline.process import was_done
from launcher.pipeline.resolve import Stage

CURVES = ("margin/instruction", "margin/response", "rewards/accuracies", "loss")
Told = Mapping[str, Any]
"""Of a stage that is done: `seconds` that it took, on which `machine`, by which `code`; of a training `steps` with
CURVES, and `last`, the mean of each metric over the last quarter of the steps that have it; of a build `set`, its
report; of a model's answers their `dtype`."""
Published = Mapping[str, Told]
"""What a published study tells of stages that were done elsewhere, by their keys."""
PUBLISHED = "published.json"
"""In a study's folder, what it goes on with: {"stages": Published, "labels": by function, by instruction}."""


def published_in(config: StudyConfig) -> Published:
    """What was told elsewhere of the study's stages."""
    found: Published = read_json(Path(config.dir).expanduser().absolute() / PUBLISHED).get("stages", {})
    return found


def told_of(stage: Stage, published: Published) -> Told:
    """What is told of a stage; nothing of one that is not done."""
    if not was_done(stage):
        return published.get(stage.key, {})
    made: dict[str, Any] = {**took(stage, published)}
    if stage.kind.trains:
        rows = _rows(stage.folder / METRICS)
        steps = [_curves_of(row) for row in rows if CURVES[0] in row["metrics"]]
        made |= {"steps": steps, "last": _last(rows)}
    elif stage.kind.command == ("data", "build"):
        made["set"] = read_json(stage.folder / REPORT)
    elif stage.kind.command == ("generate",) and (dtype := read_json(stage.folder / REPORT).get("dtype")):
        made["dtype"] = dtype
    return made


def took(stage: Stage, published: Published) -> Told:
    """The seconds of a stage, its machine and code alone, which are quickly read; nothing of one that is not done."""
    done = read_json(stage.done_file)
    if done.get("key") != stage.key:
        return published.get(stage.key, {})
    by = {"code": done["code"]} if "code" in done else {}
    return {"seconds": float(done.get("seconds", 0)), "machine": machine(), **by}


def _rows(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [json.loads(line) for line in lines]


def _curves_of(row: Mapping[str, Any]) -> dict[str, float]:
    return {"step": row["step"], **{name: row["metrics"][name] for name in CURVES if name in row["metrics"]}}


def _last(rows: list[dict[str, Any]]) -> dict[str, float]:
    made = {}
    for name in sorted({name for row in rows for name in row["metrics"]}):
        values = [row["metrics"][name] for row in rows if name in row["metrics"]]
        last = values[-max(1, len(values) // 4) :]
        made[name] = sum(last) / len(last)
    return made


def machine() -> str:
    """Cores and GPUs of this host in words."""
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*")) if Path("/proc/driver/nvidia/gpus").is_dir() else []
    return f"{os.cpu_count()} CPU cores" + (f", {len(gpus)} GPUs" if gpus else "")

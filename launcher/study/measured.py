"""A cell's measurement on disk: sums by instruction, taken once and found again; and results.json, which holds all."""

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jpo_dist.digests import digest_of_line
from jpo_dist.files import read_json, replace, write_json
from jpo_dist.records.comparisons import digest
from jpo_dist.study.findings import Result
from jpo_dist.study.outcomes import of_answers, of_verdicts
from jpo_dist.study.question import QuestionConfig
from launcher.stages.winrate import VERDICTS
from launcher.study.cells import Cell, described

log = logging.getLogger(__name__)

RESULTS, CELLS = "results.json", "cells"


def kept(cell: Cell, question: QuestionConfig, folder: Path) -> Result | None:
    """What the cell's answers came to when they were measured before; None: they were not."""
    file = _file(cell, question, folder)
    found = read_json(file)
    known = found.pop("digest", None)  # an older version wrote none
    if known is not None and known != digest_of_line(found):
        log.warning("%s is damaged; its cell is measured again", file)
        return None
    return Result(cell.arm, cell.values, found["sums"], found["counts"]) if found else None


def measure(cell: Cell, question: QuestionConfig, folder: Path) -> Result:
    """What the cell's answers come to; written to `folder`/cells, from which `kept` reads it.

    Raises what reading answers raises, and JudgeError.
    """
    if question.primary == "win":
        sums, counts = of_verdicts(cell.answers.folder / VERDICTS)
    else:
        sums, counts = of_answers(cell.answers.folder, question.checker)
    file = _file(cell, question, folder)
    file.parent.mkdir(exist_ok=True)
    found = {"cell": cell.name, "sums": sums, "counts": counts}
    write_json(file, {**found, "digest": digest_of_line(json.loads(json.dumps(found)))})
    return Result(cell.arm, cell.values, sums, counts)


def _file(cell: Cell, question: QuestionConfig, folder: Path) -> Path:
    """Named after what is measured and how: another question about the same answers has another file."""
    return folder / CELLS / f"{digest([described(cell), question.checker, question.primary == 'win'])[:16]}.json"


def write_results(results: Sequence[Result], cells: Sequence[Cell], folder: Path) -> None:
    """All results in one small file from which the report can be made again: sums, never texts.

    {"instructions": ids, "cells": [{"arm", "values", "settings", "counts", "sums": {metric: [[sum, sum of squares,
    count] or null for each instruction]}}]}.
    """
    ids = sorted({prompt_id for one in results for of in one.sums.values() for prompt_id in of})
    rows = [
        {
            "arm": one.arm,
            "values": one.values,
            "settings": cell.settings,
            "counts": one.counts,
            "sums": {metric: [of.get(prompt_id) for prompt_id in ids] for metric, of in one.sums.items()},
        }
        for one, cell in zip(results, cells, strict=True)
    ]
    replace(folder / RESULTS, _lines(ids, rows), sync=True)


def _lines(ids: list[str], rows: list[dict[str, Any]]) -> Iterable[str]:
    """A line a cell, so that two versions of a file differ where its cells do."""
    yield '{"instructions": ' + json.dumps(ids) + ',\n"cells": [\n'
    yield ",\n".join(json.dumps(_short(row)) for row in rows)
    yield "\n]}\n"


def _short(value: Any) -> Any:
    """Whole numbers without their .0."""
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read_results(file: Path) -> list[Result]:
    """The results of a results.json. Raises ValueError for a file that is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        ids = found["instructions"]
        return [
            Result(
                row["arm"],
                row["values"],
                {
                    metric: {i: cell for i, cell in zip(ids, of, strict=True) if cell is not None}
                    for metric, of in row["sums"].items()
                },
                row["counts"],
            )
            for row in found["cells"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no results.json of jpo study ({error}); make it again with jpo study") from None

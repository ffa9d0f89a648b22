"""All results of a study in one small file from which its report can be made again: sums by instruction, never texts.

    {"instructions": ids, "strata": labels or null, "cells": [{"arm", "values", "settings", "counts", "metrics"}]}

`metrics` has, by name, the lists `sum` and `count` over the instructions, and `squares`, the sums of squared values,
where these are not the sums: those of zeros and ones are. A count that is the same for all is one number. Where all of
it is as in an earlier cell, as of an arm that trains nothing, `metrics` is that cell's place, from 0.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.files import replace
from jpo_dist.study.tables import Result

DIGITS = 6
"""Significant digits of sums that are no whole numbers."""


class Results(NamedTuple):
    """What a results.json holds."""

    results: list[Result]
    strata: dict[str, str]
    """The label of each instruction by its id; empty where none were asked for."""


def write_results(
    results: Sequence[Result], settings: Sequence[Mapping[str, Any]], strata: Mapping[str, str], file: Path
) -> None:
    """Write the file. `settings`: what was chosen for each cell before it ran."""
    ids = sorted({prompt_id for one in results for of in one.sums.values() for prompt_id in of})
    rows: list[dict[str, Any]] = []
    for one, chosen in zip(results, settings, strict=True):
        same = next((at for at, before in enumerate(results[: len(rows)]) if before.sums == one.sums), None)
        metrics = {metric: _packed([of.get(i, (0, 0, 0)) for i in ids]) for metric, of in one.sums.items()}
        about = {"arm": one.arm, "values": one.values, "settings": dict(chosen), "counts": one.counts}
        rows.append({**about, "metrics": metrics if same is None else same})
    labels = [strata.get(prompt_id) for prompt_id in ids] if strata else None
    replace(file, _lines(ids, labels, rows), sync=True)


def _lines(ids: list[str], labels: list[str | None] | None, rows: list[dict[str, Any]]) -> Iterable[str]:
    """A line a cell, so that two versions of a file differ where its cells do."""
    yield f'{{"instructions": {_text(ids)},\n"strata": {_text(labels)},\n"cells": [\n'
    yield ",\n".join(map(_text, rows))
    yield "\n]}\n"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _packed(cells: Sequence[Sequence[float]]) -> dict[str, Any]:
    sums, squares, counts = ([_short(cell[n]) for cell in cells] for n in range(3))
    same = len(set(counts)) == 1
    more = {} if sums == squares else {"squares": squares}
    return {"sum": sums, **more, "count": counts[0] if same else counts}


def _short(number: float) -> float:
    """A whole number without its .0, any other with few digits."""
    return int(number) if float(number).is_integer() else float(f"{number:.{DIGITS}g}")


def read_results(file: Path) -> Results:
    """The contents of a results.json. Raises ValueError for a file that is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        ids = found["instructions"]
        results: list[Result] = []
        for row in found["cells"]:
            of = row["metrics"]
            sums = results[of].sums if isinstance(of, int) else {name: _unpacked(ids, of[name]) for name in of}
            results.append(Result(row["arm"], row["values"], sums, row["counts"]))
        labels = found["strata"] or []
        return Results(results, {i: label for i, label in zip(ids, labels, strict=False) if label is not None})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no results.json of jpo study ({error}); make it again with jpo study") from None


def _unpacked(ids: Sequence[str], of: Mapping[str, Any]) -> dict[str, list[float]]:
    counts = of["count"] if isinstance(of["count"], list) else [of["count"]] * len(ids)
    rows = zip(ids, of["sum"], of.get("squares", of["sum"]), counts, strict=True)
    return {i: [total, squares, count] for i, total, squares, count in rows if count}

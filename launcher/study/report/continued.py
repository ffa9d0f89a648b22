"""A published study goes on elsewhere: on another host, in another clone, or on several at a time.

Beside the page stands continue.json: of each cell and trial that is measured under what name `measured` keeps it, and
what the report tells of their stages. Put back into a study's `dir`, these cells count as measured there.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.config.explain import ConfigError
from jpo_dist.files import read_json, replace, sha256, write_json
from jpo_dist.study.outcomes import Sums
from jpo_dist.study.results import read_results
from launcher.config.study import StudyConfig
from launcher.console import say
from launcher.pipeline.process import alone_in
from launcher.study.cells import Cell, Ran, unique
from launcher.study.measured import CELLS, file_of, keep
from launcher.study.report.collected import (
    ABOUT,
    ASKED,
    PAGE,
    RESULTS,
    Collected,
    Found,
    found_so_far,
    write,
)
from launcher.study.report.labels import function_key
from launcher.study.report.told import CURVES, PUBLISHED, Told, published_in, told_of

CONTINUE = "continue.json"
DIGITS = 6
"""Significant digits of metrics of training."""
ALL = ""
"""In the place of an instruction's id: sums of a trial over all of them, whose mean is all that is asked for."""


def publish(config: StudyConfig, source: str, folder: Path) -> Collected:
    """Write what is done of a study to `folder` as it is committed: README.md with its figures, results.json,
    study.json, and continue.json. Text in `folder`/reading.md stands in the page after the answer.

    Raises what found_so_far raises.
    """
    found = found_so_far(config, source)
    write(found.collected, folder, PAGE, also_html=False)
    replace(folder / CONTINUE, _lines(config, found, folder), sync=True)
    return found.collected


def _lines(config: StudyConfig, found: Found, folder: Path) -> Iterable[str]:
    """A line a cell, a trial and a stage, so that two versions of a file differ where these do; first the digest of the
    results.json in `folder` whose cells it names by their places."""
    cells = {
        file_of(cell, config.question, Path()).stem: {"cell": cell.name, **_keys(cell), "place": place}
        for place, cell in enumerate(found.ran.done)
    }
    tried = found.tried
    trials = {
        file_of(cell, config.question, Path()).stem: {
            "cell": cell.name, "sums": _over_all(result.sums), "counts": result.counts,
        }
        for cell in tried.done
        for result in [tried.results[cell.name]]
    }  # fmt: skip
    published = published_in(config)
    all_told = {stage.key: told_of(stage, published) for stage in unique([*tried.done, *found.ran.done]).values()}
    stages = {key: _packed(told) for key, told in all_told.items() if told}
    yield f'{{"results": {_text(sha256(folder / RESULTS))},\n'
    yield f'"labels": {_text(function_key(config.strata) if config.strata else None)},\n'
    yield ",\n".join(f'"{name}": {{\n{_rows(of)}\n}}' for name, of in
                     (("cells", cells), ("trials", trials), ("stages", stages)))  # fmt: skip
    yield "}\n"


def _rows(of: Mapping[str, Any]) -> str:
    return ",\n".join(f"{_text(key)}: {_text(one)}" for key, one in of.items())


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _keys(cell: Cell) -> dict[str, str | None]:
    """What a cell is measured to comes from these stages alone."""
    return {"answers": cell.answers.key, "kl": cell.kl and cell.kl.key}


def _over_all(sums: Sums) -> Sums:
    return {metric: {ALL: [sum(cell[n] for cell in of.values()) for n in range(3)]} for metric, of in sums.items()}


def _packed(told: Told) -> dict[str, Any]:
    """With the steps of a training as columns, and fewer digits."""
    made = dict(told)
    if "steps" in made:
        made["steps"] = {name: [_short(row.get(name)) for row in told["steps"]] for name in ("step", *CURVES)}
        made["last"] = {name: _short(value) for name, value in told["last"].items()}
    return made


def _unpacked(told: Told) -> dict[str, Any]:
    made = dict(told)
    if "steps" in made:
        rows = zip(*(told["steps"][name] for name in ("step", *CURVES)), strict=True)
        named = [dict(zip(("step", *CURVES), row, strict=True)) for row in rows]
        made["steps"] = [{name: value for name, value in row.items() if value is not None} for row in named]
    return made


def _short(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.{DIGITS}g}")


class _Kept(NamedTuple):
    """One published study."""

    folder: Path
    found: dict[str, Any]
    about: dict[str, Any]


def go_on_with(folders: Sequence[Path], config: StudyConfig, source: str) -> None:
    """Put the cells and trials of published studies into `config.dir`, where they count as measured, and say how many
    are cells of this study. What is measured there already stays.

    Raises ConfigError for a folder that none can go on with, and InUse.
    """
    kept = [_read(folder) for folder in folders]
    place = Path(config.dir).expanduser().absolute()
    place.mkdir(parents=True, exist_ok=True)
    with alone_in(place):
        for one in kept:
            _put_cells(one, place)
            _put_told(one, place)
            write_json(place / ASKED, _asked_in_both(read_json(place / ASKED), one.about["asked"]))
    found = found_so_far(config, source)
    _say_what_fits(kept, found, config)
    with alone_in(place):
        _put_equal_cells(kept, found.ran, config, place)


def _read(folder: Path) -> _Kept:
    found, about = read_json(folder / CONTINUE), read_json(folder / ABOUT)
    if not found or not about:
        lacks = CONTINUE if about else ABOUT
        raise ConfigError(
            f"--continue ({folder}) has no {lacks}: it is no published study that can go on; name a folder that "
            "`jpo study CONFIG --publish FOLDER` wrote, or publish that study again where its stages are"
        )
    if not (folder / RESULTS).is_file() or sha256(folder / RESULTS) != found["results"]:
        raise ConfigError(
            f"--continue ({folder}): {RESULTS} is not the one that {CONTINUE} was written with, so that its cells "
            "cannot be told apart; take both files from one commit, or publish that study again where its stages are"
        )
    return _Kept(folder, found, about)


def _put_cells(kept: _Kept, place: Path) -> None:
    results = read_results(kept.folder / RESULTS).results
    rows = [(stem, row, results[row["place"]].sums, results[row["place"]].counts)
            for stem, row in kept.found["cells"].items()]  # fmt: skip
    rows += [(stem, row, row["sums"], row["counts"]) for stem, row in kept.found["trials"].items()]
    for stem, row, sums, counts in rows:
        file = place / CELLS / f"{stem}.json"
        if not file.exists():
            keep(row["cell"], row.get("kl"), sums, counts, file)


def _put_told(kept: _Kept, place: Path) -> None:
    there = read_json(place / PUBLISHED)
    stages = {key: _unpacked(told) for key, told in kept.found["stages"].items()}
    labels = read_results(kept.folder / RESULTS).strata
    known = there.get("labels", {})
    if key := kept.found["labels"]:
        known = {**known, key: {**known.get(key, {}), **labels}}
    write_json(place / PUBLISHED, {"stages": {**stages, **there.get("stages", {})}, "labels": known})


def _asked_in_both(here: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """The question as it was asked first, with all changes since; of two that differ the later one is a change."""
    if not here:
        return there
    first, later = sorted((here, there), key=lambda one: str(one["at"]))
    changes = {json.dumps(one, sort_keys=True): one for one in [*first["changes"], *later["changes"]]}
    differs = sorted(name for name in later["question"] if later["question"][name] != first["question"].get(name))
    if differs:
        was = {name: first["question"].get(name) for name in differs}
        one = {"at": later["at"], "settings": differs, "was": was, "after": 0}
        changes.setdefault(json.dumps(one, sort_keys=True), one)
    ordered = sorted(changes.values(), key=lambda one: str(one["at"]))
    return {"at": first["at"], "question": later["question"], "changes": ordered}


def _say_what_fits(kept: Sequence[_Kept], found: Found, config: StudyConfig) -> None:
    mine = {file_of(cell, config.question, Path()).stem for ran in (found.tried, found.ran) for cell in ran.cells}
    for one in kept:
        for what in ("cells", "trials"):
            of = one.found[what]
            if not of:
                continue
            others = [row["cell"] for stem, row in of.items() if stem not in mine]
            lacks = f"; of other settings, inputs or seeds, and left: {', '.join(others)}" if others else ""
            say(f"{one.folder}: {len(of) - len(others)} of {len(of)} {what} are of this study{lacks}")


def _put_equal_cells(kept: Sequence[_Kept], ran: Ran, config: StudyConfig, place: Path) -> None:
    """Further seeds of an arm that trains nothing are measured on the same answers, which need not be made again."""
    mine = {file_of(cell, config.question, Path()).stem for cell in ran.done}
    equal = {}
    for one in kept:
        results = read_results(one.folder / RESULTS).results
        for stem, row in one.found["cells"].items():
            if stem in mine:
                equal[row["answers"], row["kl"]] = results[row["place"]]
    for cell in ran.cells:
        result = equal.get((cell.answers.key, cell.kl and cell.kl.key))
        if cell.name not in ran.results and result is not None:
            keep(cell.name, cell.kl and cell.kl.key, result.sums, result.counts, file_of(cell, config.question, place))

"""A cell's measurement on disk: sums by instruction, taken once and found again."""

import json
import logging
from functools import lru_cache
from pathlib import Path

from jpo_dist.digests import digest_of_line
from jpo_dist.files import read_json, sha256, write_json
from jpo_dist.records.comparisons import digest
from jpo_dist.records.folder import ITEMS
from jpo_dist.study.outcomes import Sums, of_answers, of_scores, of_verdicts
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.tables import Result
from launcher.pipeline.contents import program_files
from launcher.stages.winrate import VERDICTS
from launcher.study.cells import Cell, described

log = logging.getLogger(__name__)

CELLS = "cells"


def kept(cell: Cell, question: QuestionConfig, folder: Path) -> Result | None:
    """What the cell's answers came to when they were measured before; None: they were not.

    A cell that was measured before its study had a `kl` is done too, without that figure.
    """
    file = file_of(cell, question, folder)
    found = read_json(file)
    known = found.pop("digest", None)  # an older version wrote none
    if known is not None and known != digest_of_line(found):
        log.warning("%s is damaged; its cell is measured again", file)
        return None
    if not found:
        return None
    same = cell.kl is not None and found.get("kl") == cell.kl.key
    sums = {name: of for name, of in found["sums"].items() if name != "kl" or same}
    return Result(cell.arm, cell.values, sums, found["counts"])


def measure(cell: Cell, question: QuestionConfig, folder: Path) -> Result:
    """What the cell's answers come to; written to `folder`/cells, from which `kept` reads it.

    Raises what reading answers raises, and JudgeError.
    """
    if question.primary == "win":
        sums, counts = of_verdicts(cell.answers.folder / VERDICTS)
    else:
        sums, counts = of_answers(cell.answers.folder, question.checker)
    if cell.kl is not None:
        sums |= of_scores(cell.kl.made / ITEMS, Path(cell.kl.settings["score"]["data"]))
    keep(cell.name, cell.kl and cell.kl.key, sums, counts, file_of(cell, question, folder))
    return Result(cell.arm, cell.values, sums, counts)


def keep(name: str, kl: str | None, sums: Sums, counts: dict[str, int], file: Path) -> None:
    """Write a measurement of the cell `name` where `kept` reads it. `kl`: the key of the stage that scored."""
    file.parent.mkdir(exist_ok=True)
    found = {"cell": name, **({} if kl is None else {"kl": kl}), "sums": sums, "counts": counts}
    write_json(file, {**found, "digest": digest_of_line(json.loads(json.dumps(found)))})


def file_of(cell: Cell, question: QuestionConfig, folder: Path) -> Path:
    """Named after what is measured and how: another question about the same answers has another file, and so has a
    checker whose program was edited."""
    asked = [described(cell), question.checker, question.primary == "win", *program_digests(question.checker or "")]
    return folder / CELLS / f"{digest(asked)[:16]}.json"


@lru_cache  # as it is imported once
def program_digests(checker: str) -> tuple[str, ...]:
    """SHA-256 of each file of a checker's program; empty for one of jpo_dist's own."""
    return tuple(sha256(file) for file in program_files(checker))

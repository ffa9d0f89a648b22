"""`jpo data inspect`: from a place to the numbers about it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jpo_dist.data import read
from jpo_dist.digests import DIGESTS, read_digests
from jpo_dist.digests import require as require_digest
from jpo_dist.judge.report import NO_VERDICT
from jpo_dist.pairing.instruction_only import instruction_only_accuracy
from jpo_dist.paths import resolve
from jpo_dist.records.columns.pages import Picked
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.folder import is_set, read_set
from jpo_dist.records.groups import require
from jpo_dist.records.inspection import inspect

LOOKED_AT = 4000
"""Joint comparisons by which it is told how much the instruction alone says: the standard error is below a point."""


def look(
    where: str, tokenizer: str | None, on_bad_row: str, seed: int, examples: int, groups: Sequence[str] = ()
) -> dict[str, Any]:
    """Read `where` and inspect it. A built set comes with all its splits and with what was read for it.

    `groups`: columns that say who judged; a set has kept its own.

    With a tokenizer, `template` is what a look at its chat template found (jpo_dist.preflight.template).
    """
    if on_bad_row not in ("skip", "error"):
        raise ValueError(f"on_bad_row ({on_bad_row}) is skip or error")
    read.refuse_empty(where)
    loaded = None if tokenizer is None else _tokenizer(tokenizer)
    folder = Path(resolve(where))
    if is_set(folder):
        built = read_set(folder)
        require(built, groups, where)
        found = inspect(built, reading_of(folder), loaded, seed, examples)
        return found | _template(loaded, built) | _instruction_alone(built, seed)
    built, report = read.scan(where, on_bad_row=on_bad_row, groups=groups)  # type: ignore[arg-type]
    found = inspect(built, report.as_dict(), loaded, seed, examples)
    return found | _template(loaded, built) | _instruction_alone(built, seed)


def _instruction_alone(built: ComparisonSet, seed: int) -> dict[str, Any]:
    """{"instruction_only_accuracy": …} (see jpo_dist.pairing.instruction_only) of a sample of the joint comparisons;
    {} without any, and where the extra `data` is not installed."""
    joint_C = np.flatnonzero(built.is_joint_C & ~built.is_tie_C)
    chosen = np.sort(np.random.default_rng(seed).permutation(joint_C)[:LOOKED_AT])
    rows, ends = np.unique(np.concatenate([built.winners_C[chosen], built.losers_C[chosen]]), return_inverse=True)
    if not len(rows):
        return {}
    turns = Picked(built.items.select(["instruction"]), rows).whole["instruction"].to_pylist()
    texts = ["\n".join(turn["content"] for turn in each) for each in turns]
    texts_Q, rows_Q = np.unique(np.array(texts, dtype=object), return_inverse=True)
    winner_C, loser_C = np.split(rows_Q[ends], 2)
    try:
        return {"instruction_only_accuracy": instruction_only_accuracy(list(texts_Q), winner_C, loser_C, seed)}
    except ModuleNotFoundError:
        return {}


def _template(tokenizer: Any, built: ComparisonSet) -> dict[str, Any]:
    if tokenizer is None:
        return {}
    from jpo_dist.preflight.template import template_report

    return {"template": template_report(tokenizer, built)}


def _tokenizer(where: str) -> Any:
    from transformers import AutoTokenizer

    from jpo_dist.batches.foreign.model_files import understood

    try:
        with understood("tokenizer", where):
            return AutoTokenizer.from_pretrained(resolve(where), trust_remote_code=False)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"tokenizer ({where}): {reason} Name a folder with a tokenizer, or a hub id") from error


def reading_of(folder: Path) -> dict[str, Any]:
    """What was read when the set was made, as far as its report tells."""
    report = folder / "report.json"
    if not report.is_file():
        return {}
    known = read_digests(folder / DIGESTS, "rebuild the set")
    if report.name in known:
        require_digest(report, known[report.name], "rebuild the set, or remove that file")
    try:
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        if "judge" in found:
            return _reading_of_judge(found["judge"])
        return dict(found.get("read") or (found if "rows" in found else {}))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{report} is no report of a set ({error}); rebuild the set, or remove that file") from None


def _reading_of_judge(report: dict[str, Any]) -> dict[str, Any]:
    """Candidates without a verdict are rows that brought nothing: with them the counts add up."""
    reading = dict(report.get("reading") or {})
    lost = {name: report["outcomes"][name] for name in NO_VERDICT if report["outcomes"][name]}
    return {**reading, "skipped": {**reading.get("skipped", {}), **lost}}

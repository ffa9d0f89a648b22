"""The sets that work which is no training read, as MLflow's data sets: what runs on the same set are found by."""

from collections.abc import Mapping, Sequence
from typing import Any

from jpo_dist.tracking.page_text import COMPARISON_FIELDS, EXAMPLE_FIELDS, data_set

PAIR = ("first instruction", "first response", "second instruction", "second response")
FIELDS = {
    "instructions": ("instruction",), "candidates": PAIR, "source": (), "answers": EXAMPLE_FIELDS,
    "against": EXAMPLE_FIELDS, "compare": EXAMPLE_FIELDS,
}  # fmt: skip
"""What a set has of each row, by what the set was for; the others are comparisons."""


def input_of(context: str, places: str | Sequence[str], digest: str | None, profile: Mapping[str, Any]) -> Any:
    """One data set of such work; its columns follow from `context`, what it was for."""
    return data_set(context, places, digest, profile, FIELDS.get(context, COMPARISON_FIELDS))


def of_sides(report: Mapping[str, Any]) -> list[Any]:
    """The sides of a win rate, from winrate.json. One that is not on this machine has no digest, and is left out."""
    sides = [("answers", side) for side in report["answers"]] + [("against", report["against"])]
    sides += [("compare", side) for side in report["compare"]]
    return [
        input_of(context, side["path"], side["digest"], {"texts": side["texts"]})
        for context, side in sides
        if side["digest"]
    ]


def of_build(
    report: Mapping[str, Any], sources: Sequence[str | Sequence[str]], digests: Mapping[int, str], made: str
) -> list[Any]:
    """The sources of a set that have digests, by number, and the set, from its report.json. `made`: its folder."""
    counts = {name: report[name] for name in ("comparisons", "items")} | report["splits"]
    read = [input_of("source", sources[number], digest, {}) for number, digest in digests.items()]
    return [*read, input_of("built", made, report["fingerprint"], counts)]

"""What may be said, in sentences: how much of the study is done, then each asked difference."""

from collections import Counter
from typing import Any

from launcher.show.sections import p_value
from launcher.show.study.words import ends, name, signed

FEW = 5
"""Under so many training runs an interval says little of other runs."""

MANY = 3
"""A pair that is compared at more points of a grid is told in one sentence."""


def answers(report: dict[str, Any]) -> list[str]:
    """How much is done, what may be said of each asked difference, and what stands in the way of saying more."""
    lines = [done(report)]
    figures = [*report["comparisons"], *(one for one in report["trends"] if one["slope"] is not None)]
    runs = min((len(one["seeds"]) for one in figures), default=FEW)
    if runs < FEW:  # first: what follows reads like an answer, and one more run has turned it over
        said = f"{runs} training {'run' if runs == 1 else 'runs'} an arm"
        lines.append(f"This rests on {said}; {FEW} are the least to go by, and one more may change what follows.")
    lines += [_growth(one, report["primary"]) for one in report["trends"]]
    for pair in dict.fromkeys((one["first"], one["second"]) for one in report["comparisons"]):
        of_pair = [one for one in report["comparisons"] if (one["first"], one["second"]) == pair]
        lines += [_sentence(one, report) for one in of_pair] if len(of_pair) <= MANY else [_counted(of_pair, report)]
    asked = report["asked"]["question"]["compare"]
    lines += _not_yet(report) if report["comparisons"] else []
    if not report["comparisons"] and not (asked and report["without"]):  # which is told below
        lines.append("No compared arms are done yet." if asked else "No two arms were asked to be compared.")
    if report.get("one_draw"):  # pages of before it was looked at have none
        lines.append(
            f"All runs of an arm learn from the same data ({', '.join(report['one_draw'])}): the intervals are for "
            "other training runs on these data. Other data may say something else."
        )
    dtypes = report.get("dtypes", {})
    if len(dtypes) > 1:
        told = " and ".join(f"{count} in {dtype}" for dtype, count in dtypes.items())
        lines.append(
            f"The models of the cells did not all compute alike ({told}), as with model.dtype=auto on different "
            "hardware. Their runs are taken for runs of one method; to rule a difference out, name one dtype."
        )
    if report["without"]:
        names = [one["arm"] + "".join(f" {key}={value}" for key, value in one["values"].items())
                 for one in report["without"]]  # fmt: skip
        lines.append(
            f"{len(names)} {'cell is' if len(names) == 1 else 'cells are'} done without one answer that has a value of "
            f"{name(report['primary'])}, and in no figure of it: {', '.join(names)}."
        )
    if report["failed"]:
        lines.append(f"{len(report['failed'])} cells failed and are in no figure: {', '.join(report['failed'])}.")
    for change in report["asked"]["changes"]:
        lines.append(
            f"The question was changed on {change['at']} ({', '.join(change['settings'])}), when {change['after']} "
            "cells had been measured: figures that were looked at before are no test of it."
        )
    return lines


def done(report: dict[str, Any], short: str = "Cut short") -> str:
    """The first line: how many training runs there are, and, after `short`, what of them where some are missing."""
    planned = report["planned"]
    seeds, points, arms = len(planned["seeds"]), planned["points"], planned["arms"]
    at = f" at each of {points} points" if points > 1 else ""
    of_arm: Counter[str] = Counter()
    for one in report["arms"]:
        of_arm[one["arm"]] += len(one["seeds"])
    if sum(of_arm.values()) == planned["cells"]:
        return (
            f"{seeds} training {'run' if seeds == 1 else 'runs'} of each of {len(arms)} arms{at}: all that was planned."
        )
    counts = {of_arm[arm] for arm in arms}
    if len(counts) == 1 and points == 1:
        return f"{short}: {counts.pop()} of {seeds} training runs of each arm ({', '.join(arms)}) are done."
    told = ", ".join(f"{arm} {of_arm[arm]}" for arm in arms)
    each = f" ({seeds}{at})" if at else ""
    return f"{short}: of {seeds * points} training runs of each arm{each} these are done: {told}."


def _growth(one: dict[str, Any], metric: str) -> str:
    gap = f"{one['first']} - {one['second']}" + (f" at {one['point']}" if one["point"] else "")
    if len(one["points"]) < len(one["planned"]):
        return (
            f"Whether {gap} grows with {one['axis']} cannot be told yet: {one['method'].removeprefix('none: ')} "
            f"({len(one['points'])} of {len(one['planned'])} points are there)."
        )
    if one["slope"] is None:
        return f"Whether {gap} grows with {one['axis']} cannot be told: {one['method'].removeprefix('none: ')}."
    facts = f"{signed(metric, one['slope'])} {ends(metric, one['interval'], '+')} on {name(metric)} for each doubling"
    facts += f", p = {p_value(one['p_holm'])} after Holm"
    said = {"higher": "grows", "lower": "falls"}.get(one["reading"])
    return (
        f"{gap} {said} with {one['axis']}: {facts}."
        if said
        else (f"That {gap} grows or falls with {one['axis']} is not shown: {facts}.")
    )


def _not_yet(report: dict[str, Any]) -> list[str]:
    """The asked pairs that are compared at fewer points than were planned."""
    made, points = [], report["planned"]["points"]
    found = Counter((one["first"], one["second"]) for one in report["comparisons"])
    for first, second in report["asked"]["question"]["compare"]:
        left = points - found[first, second]
        if left > 0:
            at = f" at {left} of {points} points" if points > 1 else ""
            made.append(f"{first} and {second} cannot be compared{at} yet: not both have a result.")
    return made


def _counted(pair: list[dict[str, Any]], report: dict[str, Any]) -> str:
    """At how many points a pair differs, and by how much."""
    readings = Counter(one["reading"] for one in pair)
    told = [f"{word} at {readings[word]}" for word in ("higher", "lower", "equivalent", "undecided") if readings[word]]
    metric, found = pair[0]["metric"], [one["difference"] for one in pair if one["difference"] is not None]
    span = f"{signed(metric, min(found))} to {signed(metric, max(found))}" if found else "no difference can be told"
    margin = signed(metric, report["margin"], "")
    within = f" (equivalent: within {margin})" if readings["equivalent"] else ""
    return (
        f"{pair[0]['first']} against {pair[0]['second']} at {len(pair)} points of the grid: {', '.join(told)}{within}; "
        f"{span} on {name(metric)}, p-values after Holm."
    )


def _sentence(one: dict[str, Any], report: dict[str, Any]) -> str:
    at = f" at {one['point']}" if one["point"] else ""
    if one["difference"] is None:
        return f"{one['first']} and {one['second']}{at} cannot be compared: {one['method'].removeprefix('none: ')}."
    difference = signed(one["metric"], one["difference"])
    if one["interval"] is None:
        return (
            f"{one['first']} minus {one['second']}{at}: {difference} on {name(one['metric'])}, {len(one['seeds'])} "
            f"{'run' if len(one['seeds']) == 1 else 'runs'}; undecided: {one['method'].removeprefix('none: ')}."
        )
    facts = (
        f"{difference} {ends(one['metric'], one['interval'], '+')} on {name(one['metric'])}, {len(one['seeds'])} runs"
    )
    if one["p_value"] is None:
        return f"{one['first']} minus {one['second']}{at}: {facts}, which says nothing of other training runs."
    facts += f", p = {p_value(one['p_holm'])} after Holm"
    margin = signed(one["metric"], report["margin"], "")
    said = {
        "higher": f"{one['first']} is higher than {one['second']}{at}: {facts}.",
        "lower": f"{one['first']} is lower than {one['second']}{at}: {facts}.",
        "equivalent": (
            f"{one['first']} and {one['second']}{at} differ by less than {margin}, "
            f"the margin said beforehand (p = {p_value(one['p_equivalent'])}): {facts}."
        ),
        "undecided": (
            f"Between {one['first']} and {one['second']}{at} no difference is shown, and none within {margin} either: "
            f"{facts}."
        ),
    }
    return said[one["reading"]]

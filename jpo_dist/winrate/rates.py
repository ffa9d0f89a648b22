"""From verdicts to counts and rates: the paper's rule, with every denominator in the open.

A win is 1, a tie 1/2, a loss 0; an answer without a verdict leaves the denominator (Bansal et al., arXiv 2404.00530,
and the authors' code). Whatever an answer came to, it is counted: the counts add up to the number of answers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jpo_dist.judge.report import position
from jpo_dist.records.group_column import Groups
from jpo_dist.statistics.crossed import crossed_rate
from jpo_dist.statistics.hypotheses import holm, mcnemar
from jpo_dist.statistics.intervals import Interval, bootstrap_mean, bootstrap_rate, rounded

Outcome = Literal[
    "win", "tie", "loss", "unparsable", "failed", "not asked", "empty", "unfinished", "nothing to compare with"
]
JUDGED: tuple[Outcome, ...] = ("win", "tie", "loss")
NO_MATCH: Outcome = "nothing to compare with"
LEFT_OUT: tuple[Outcome, ...] = ("unparsable", "failed", "not asked", "empty", "unfinished", NO_MATCH)
"""Counted, and in no denominator."""
HALF_POINTS = {"win": 2, "tie": 1, "loss": 0}


class Verdict(NamedTuple):
    """What became of one answer."""

    run: int
    """Which of the answers folders it is from, one a training run."""
    prompt_id: str
    temperature: float
    sample: int
    outcome: Outcome
    length: int
    """Characters of the answer, `other_length` of what it was compared with; 0 where there is none."""
    other_length: int
    groups: Groups = ()
    """What the gold file's columns of groups say of the instruction."""
    letters: str = ""
    """The model's replies in the two orders; see jpo_dist.judge.verdict. Empty for judges that give scores."""
    equal: bool = False
    """Both texts are the same: a tie, and nobody was asked."""


def figures(verdicts: Sequence[Verdict], runs: int) -> dict[str, Any]:
    """Counts, the win rate with its 95 % interval and its denominator, JSON-able.

    `answers` is the number of verdicts, which the counts add up to; `judged` = wins + ties + losses is the denominator.
    `win_rate` is None where that is 0. Several runs give the crossed interval, one gives the bootstrap.
    """
    counts = Counter(one.outcome for one in verdicts)
    points_QS, counts_QS, _ = table(verdicts, runs)
    judged = int(counts_QS.sum())
    if judged == 0:
        interval = Interval(None, None, "none: no answer with a verdict")
    elif runs > 1:
        interval = crossed_rate(points_QS, counts_QS)
    else:
        interval = bootstrap_rate(points_QS[:, 0], counts_QS[:, 0])
    return {
        "answers": len(verdicts),
        "instructions": len({one.prompt_id for one in verdicts}),
        "judged": judged,
        **{name: counts[name] for name in (*JUDGED, *LEFT_OUT)},
        "equal_texts": sum(one.equal for one in verdicts),
        "win_rate": rounded(points_QS.sum() / (2 * judged)) if judged else None,
        **interval.as_dict(),
    }


def table(verdicts: Iterable[Verdict], runs: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(points_QS, counts_QS, instruction ids): half points and numbers of verdicts by instruction and run.

    The instructions are in the order of their ids, whichever side is which: resampling draws the same ones after a
    swap.
    """
    kept = [one for one in verdicts if one.outcome in JUDGED]
    ids = sorted({one.prompt_id for one in kept})
    rows = {prompt_id: row for row, prompt_id in enumerate(ids)}
    points_QS, counts_QS = np.zeros((len(ids), runs), dtype=np.int64), np.zeros((len(ids), runs), dtype=np.int64)
    for one in kept:
        points_QS[rows[one.prompt_id], one.run] += HALF_POINTS[one.outcome]
        counts_QS[rows[one.prompt_id], one.run] += 1
    return points_QS, counts_QS, ids


def split_by(verdicts: Sequence[Verdict], key: Callable[[Verdict], Any], runs: int) -> dict[str, dict[str, Any]]:
    """`figures` of each part of the verdicts, in the order of the keys; verdicts with the key None are in no part."""
    keys = sorted({value for one in verdicts if (value := key(one)) is not None})
    return {
        f"{value:g}" if isinstance(value, float) else str(value): figures(
            [one for one in verdicts if key(one) == value], runs
        )
        for value in keys
    }


def order_effects(verdicts: Sequence[Verdict]) -> dict[str, Any] | None:
    """How often the first shown answer wins, and how often the order decides; None for judges that see no order.

    Over verdicts from two replies. `flip_rate`: the share of them in which the two orders named different answers.
    """
    letters = [one.letters for one in verdicts if one.letters and one.outcome in JUDGED]
    if not letters:
        return None
    found = position(letters)
    flipped = found["always_first"] + found["always_second"]
    return {**found, "flips": flipped, "flip_rate": flipped / found["comparisons"] if found["comparisons"] else None}


def lengths(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Characters of both sides over the answers with a verdict, and how the judge treats the longer one.

    `longer_wins`: of decided verdicts on texts of different length, how often the longer one won. `longest`: the
    control by which the longer text always wins; its win rate is A's if length alone decided, ties where equal.
    """
    kept = [one for one in verdicts if one.outcome in JUDGED]
    decided = [one for one in kept if one.outcome != "tie" and one.length != one.other_length]
    longer = sum((one.outcome == "win") == (one.length > one.other_length) for one in decided)
    share = rounded(longer / len(decided)) if decided else None
    points = [1 + int(np.sign(one.length - one.other_length)) for one in kept]
    return {
        "answers": len(kept),
        "mean": rounded(float(np.mean([one.length for one in kept]))) if kept else None,
        "other_mean": rounded(float(np.mean([one.other_length for one in kept]))) if kept else None,
        "median": float(np.median([one.length for one in kept])) if kept else None,
        "other_median": float(np.median([one.other_length for one in kept])) if kept else None,
        "longer": sum(value == 2 for value in points),
        "shorter": sum(value == 0 for value in points),
        "longer_wins": {
            "wins": longer,
            "of": len(decided),
            "rate": share,
        },
        "longest": {"win_rate": rounded(sum(points) / (2 * len(kept))) if kept else None, "of": len(kept)},
    }


def difference(first: Sequence[Verdict], second: Sequence[Verdict], runs: tuple[int, int]) -> dict[str, Any]:
    """The win rate of `first` minus that of `second` against the same opponent, paired by instruction.

    Only temperatures that both have, and instructions on which both have a verdict; an instruction counts once, with
    its mean over answers and runs. `p_value`: McNemar's exact test on the instructions where the two means differ.
    """
    shared = {one.temperature for one in first} & {one.temperature for one in second}
    sides = [[one for one in side if one.temperature in shared] for side in (first, second)]
    means = [_means(side, count) for side, count in zip(sides, runs, strict=True)]
    ids = sorted(means[0].keys() & means[1].keys())
    gaps_Q = np.array([means[0][i] - means[1][i] for i in ids])
    better, worse = int((gaps_Q > 1e-12).sum()), int((gaps_Q < -1e-12).sum())
    return {
        "temperatures": sorted(shared),
        "instructions": len(ids),
        "difference": rounded(gaps_Q.mean()) if ids else None,
        **bootstrap_mean(gaps_Q).as_dict(),
        "better": better,
        "worse": worse,
        "p_value": mcnemar(better, worse) if ids else None,
    }


def _means(verdicts: Sequence[Verdict], runs: int) -> dict[str, float]:
    points_QS, counts_QS, ids = table(verdicts, runs)
    return dict(zip(ids, (points_QS.sum(axis=1) / (2 * counts_QS.sum(axis=1))).tolist(), strict=True))


def with_holm(differences: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with `p_holm`, adjusted over all that have a p-value."""
    adjusted = iter(holm([found["p_value"] for found in differences if found["p_value"] is not None]))
    return [{**found, "p_holm": next(adjusted) if found["p_value"] is not None else None} for found in differences]

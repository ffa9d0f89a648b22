"""Held-out comparisons in strata: how accuracy and margins depend on what was compared, and whether sigma(beta z) is
the probability that it claims to be.

Legend: C comparisons.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from jpo_dist.batches.prepare import Prepared
from jpo_dist.pairing.embedding import word_cosines
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.groups import MOST_VALUES, grouping, names_of
from jpo_dist.records.text import CONTENTS, as_text
from jpo_dist.statistics.intervals import bootstrap_interval, wilson

COSINES = (0.0, 0.1, 0.2, 0.4, 0.6, 1.0)
"""Edges of the bins of instruction similarity; a bin holds its lower edge, the last one both."""
LENGTHS = (-64, -16, 0, 1, 17, 65)
"""Where a bin of the length difference begins, in tokens; below the first, another one."""
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Edges of the bins of confidence; a bin holds its lower edge, the last one both."""
INTERVALS = "95 %: shares by Wilson (1927), means by percentile bootstrap over comparisons (Efron, 1979)"


def stratum(beta_z_C: np.ndarray) -> dict[str, Any]:
    """What `jpo evaluate` says of some comparisons: accuracy (a tie of the model is no win) and mean margin, each as
    [value, low, high], and their number."""
    wins = int((beta_z_C > 0).sum())
    mean = float(beta_z_C.mean()) if len(beta_z_C) else float("nan")
    return {
        "comparisons": len(beta_z_C),
        "rewards/accuracies": wilson(wins, len(beta_z_C)),
        "rewards/margins": [mean, *bootstrap_interval(beta_z_C)],
    }


def by_similarity(beta_z_C: np.ndarray, cosines_C: np.ndarray) -> list[dict[str, Any]]:
    """Strata of the cosine of the two instructions of joint comparisons; bins without any are left out."""
    bins_C = np.clip(np.searchsorted(COSINES, cosines_C, side="right") - 1, 0, len(COSINES) - 2)
    return [
        {"from": low, "to": high, **stratum(beta_z_C[bins_C == n])}
        for n, (low, high) in enumerate(pairwise(COSINES))
        if (bins_C == n).any()
    ]


def by_length_difference(beta_z_C: np.ndarray, differences_C: np.ndarray) -> list[dict[str, Any]]:
    """Strata of how many tokens more the winner's response has than the loser's, equal ones apart. `from` and `to` are
    in the bin, None is no bound; bins without any are left out."""
    bins_C = np.searchsorted(LENGTHS, differences_C, side="right")
    lows, highs = (None, *LENGTHS), (*(edge - 1 for edge in LENGTHS), None)
    return [
        {"from": lows[n], "to": highs[n], **stratum(beta_z_C[bins_C == n])}
        for n in range(len(lows))
        if (bins_C == n).any()
    ]


def by_group(beta_z_C: np.ndarray, comparisons: ComparisonSet, counts_C: np.ndarray) -> dict[str, dict[str, Any]]:
    """Strata by who judged, of the comparisons where `counts_C` is true: for each group of the set `values`, the most
    frequent ones with their stratum, `more_values`, how many others there are, and `no_value`, comparisons without any.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in names_of(comparisons):
        group = grouping(comparisons, name)
        rows = [
            {"value": value, **stratum(beta_z_C[counts_C & (group.codes_C == code)])}
            for code, value in enumerate(group.values[:MOST_VALUES])
        ]
        no_value = int((counts_C & (group.codes_C < 0)).sum())
        found[name] = {"values": [row for row in rows if row["comparisons"]], "no_value": no_value}
        found[name]["more_values"] = max(0, len(group.values) - MOST_VALUES)
    return found


def calibration(beta_z_C: np.ndarray) -> dict[str, Any]:
    """Whether p = sigma(beta z) is the probability that the item it favors is the annotated winner.

    A comparison has no first item, so it counts by the item that the policy favors: with confidence max(p, 1 - p), and
    outcome 1 where that is the winner, 0 where it is the loser, 1/2 where p is 1/2 (`undecided`). `ece` is the mean of
    |confidence - outcome| over bins, weighted by their comparisons (Naeini et al., AAAI 2015); it is above 0 by chance
    alone and has no interval. `brier` is the mean of (1 - p)^2 (Brier, 1950): 0.25 for who never decides.
    """
    p_C = 1 / (1 + np.exp(-np.clip(beta_z_C, -700, 700)))
    confidence_C, outcome_C = 1 / (1 + np.exp(-np.abs(beta_z_C))), (np.sign(beta_z_C) + 1) / 2
    bins_C = np.clip(np.searchsorted(CONFIDENCES, confidence_C, side="right") - 1, 0, len(CONFIDENCES) - 2)
    bins, gap = [], 0.0
    for n, (low, high) in enumerate(pairwise(CONFIDENCES)):
        here = bins_C == n
        if here.any():
            confidence, outcomes = float(confidence_C[here].mean()), outcome_C[here]
            observed = wilson(float(outcomes.sum()), len(outcomes))
            bins.append({"from": low, "to": high, "comparisons": len(outcomes), "confidence": confidence,
                         "observed": observed})  # fmt: skip
            gap += len(outcomes) * abs(confidence - float(outcomes.mean()))
    brier_C = (1 - p_C) ** 2
    return {
        "comparisons": len(beta_z_C),
        "undecided": int((beta_z_C == 0).sum()),
        "ece": gap / len(beta_z_C),
        "brier": [float(brier_C.mean()), *bootstrap_interval(brier_C)],
        "bins": bins,
    }


def strata_of(beta_z_C: np.ndarray, held_out: Prepared) -> dict[str, Any]:
    """All strata and the calibration of the held-out comparisons, in the order of the set.

    Annotated ties are apart: they are in none of it, whether the set still has them or not, and `ties_apart` counts
    them.
    """
    tokens, ties_C = held_out.tokens, held_out.comparisons.is_tie_C
    responses_N = tokens.lengths_N - tokens.instruction_lengths_N
    winners_C, losers_C = held_out.comparisons.winners_C, held_out.comparisons.losers_C
    joint_C = held_out.comparisons.is_joint_C & ~ties_C
    parts = {"all": ~ties_C, "conditional": ~ties_C & ~joint_C, "joint": joint_C}
    longer_C = responses_N[winners_C] - responses_N[losers_C]
    return {
        "similarity": _similarity(beta_z_C[joint_C], held_out.comparisons, joint_C),
        "length": by_length_difference(beta_z_C[~ties_C], longer_C[~ties_C]),
        "groups": by_group(beta_z_C, held_out.comparisons, ~ties_C),
        "calibration": {name: calibration(beta_z_C[chosen]) for name, chosen in parts.items() if chosen.any()},
        "ties_apart": held_out.skipped["tie"] + int(ties_C.sum()),
        "intervals": INTERVALS,
    }


def _similarity(beta_z_C: np.ndarray, comparisons: ComparisonSet, joint_C: np.ndarray) -> Any:
    """Strata, or why there are none: similarity needs a package that evaluating alone does not."""
    texts_N = [as_text(item.instruction, CONTENTS) for item in comparisons.all_items()]
    try:
        cosines_C = word_cosines(texts_N, comparisons.winners_C[joint_C], comparisons.losers_C[joint_C])
    except ModuleNotFoundError as error:
        return str(error)
    return by_similarity(beta_z_C, cosines_C)

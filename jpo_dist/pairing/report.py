"""What a pairing policy made: counts that add up, degrees, balance, similarity, and what the instruction gives away.

Legend: N items, C comparisons, Q instructions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jpo_dist.pairing.embedding import similarity
from jpo_dist.pairing.instruction_only import instruction_only_accuracy
from jpo_dist.pairing.limits import Ledger

MOST_COMPARED = 10_000
"""Comparisons whose instructions are embedded for the quantiles of similarity, evenly spread over all."""
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


def pair_report(
    head: dict[str, Any],
    ledger: Ledger,
    texts: tuple[Sequence[str], np.ndarray],
    vectors_of: Callable[[np.ndarray], np.ndarray],
    lengths_N: np.ndarray | None,
    seed: int,
) -> dict[str, Any]:
    """The report, JSON-able; considered = made + the sum of left_out.

    `head`: its first lines. `texts`: the instructions (Q,), and each item's row among them (N,). `vectors_of` embeds
    the instructions of the given rows. `lengths_N`: of responses; None leaves out who is longer.
    """
    texts_Q, instruction_N = texts
    winner_C, loser_C, tie_C = ledger.made()
    scored = ledger.limits.scores_N is not None
    report = {
        **head,
        "considered": ledger.offered,
        "made": len(winner_C),
        "ties": int(tie_C.sum()),
        "left_out": dict(sorted(ledger.left_out.items())),
        "comparisons_per_item": _degrees(np.array(ledger.uses)[ledger.limits.cell_N >= 0]),
        "similarity": _similarity(instruction_N[winner_C], instruction_N[loser_C], vectors_of),
    }
    if not scored:
        return report
    win_C, lose_C = winner_C[~tie_C], loser_C[~tie_C]
    length_Q = np.fromiter(map(len, texts_Q), np.int64, len(texts_Q))
    report["balance"] = {
        "items": _balance(win_C, lose_C, len(instruction_N)),
        "instructions": _balance(instruction_N[win_C], instruction_N[lose_C], len(texts_Q)),
    }
    report["instruction_only_accuracy"] = instruction_only_accuracy(
        texts_Q, instruction_N[win_C], instruction_N[lose_C], seed
    )
    report["longer_instruction_wins"] = _share_greater(length_Q[instruction_N[win_C]] - length_Q[instruction_N[lose_C]])
    if lengths_N is not None:
        report["longer_response_wins"] = _share_greater(lengths_N[win_C] - lengths_N[lose_C])
    return report


def _degrees(uses_N: np.ndarray) -> dict[str, Any]:
    """In how many comparisons a usable item stands: none, the mean, the median, the most."""
    return {
        "unused": int((uses_N == 0).sum()),
        "mean": round(float(uses_N.mean()), 4) if len(uses_N) else 0.0,
        "median": float(np.median(uses_N)) if len(uses_N) else 0.0,
        "max": int(uses_N.max(initial=0)),
    }


def _balance(winner_C: np.ndarray, loser_C: np.ndarray, count: int) -> dict[str, Any]:
    """How many of the items (or instructions) that take part win as often as they lose, only win, only lose.

    `mean_imbalance` is the mean of |wins - losses| / (wins + losses): 0 balanced, 1 one-sided.
    """
    wins, losses = np.bincount(winner_C, minlength=count), np.bincount(loser_C, minlength=count)
    wins, losses = wins[wins + losses > 0], losses[wins + losses > 0]
    imbalance = np.abs(wins - losses) / (wins + losses)
    return {
        "used": len(wins),
        "even": int((wins == losses).sum()),
        "only_win": int((losses == 0).sum()),
        "only_lose": int((wins == 0).sum()),
        "max_imbalance": int(np.abs(wins - losses).max(initial=0)),
        "mean_imbalance": round(float(imbalance.mean()), 4) if len(imbalance) else 0.0,
    }


def _similarity(
    first_C: np.ndarray, second_C: np.ndarray, vectors_of: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float] | None:
    """Mean and quantiles of the cosine of paired instructions; None without a joint pair."""
    joint = np.flatnonzero(first_C != second_C)
    if not len(joint):
        return None
    spread = joint[np.unique(np.linspace(0, len(joint) - 1, MOST_COMPARED).astype(int))]
    used, codes = np.unique(np.concatenate([first_C[spread], second_C[spread]]), return_inverse=True)
    cosine_C = similarity(vectors_of(used), *np.split(codes, 2))
    quantiles = np.quantile(cosine_C.astype(np.float64), _SHARES)
    named = {f"p{round(100 * share)}": round(float(q), 4) for share, q in zip(_SHARES, quantiles, strict=True)}
    return {"mean": round(float(cosine_C.mean(dtype=np.float64)), 4), **named}


def _share_greater(gap_C: np.ndarray) -> float | None:
    """The share of differences above zero; zero counts one half."""
    return round(float(((gap_C > 0) + (gap_C == 0) / 2).mean()), 4) if len(gap_C) else None

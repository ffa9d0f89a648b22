"""The win rate at equal length: what the judge would say if both answers were as long as each other.

The model is that of length-controlled AlpacaEval (Dubois et al., arXiv 2404.04475) without what needs other models'
verdicts, the difficulty of each instruction:

    logit P(win) = theta + phi * tanh(d / sd),   d = characters of the answer - characters of the other,

with sd the standard deviation of d over the answers with a verdict (about its mean), and ties as half a win. It is
fitted with a ridge, PHI_PENALTY / 2 phi^2 + THETA_PENALTY / 2 theta^2 added to the negative log-likelihood: a slope
that few verdicts speak for is pulled to none, and a side that always wins gets no infinite theta. The figure is the
prediction at d = 0, sigmoid(theta). Swapping the sides negates theta and d, so it mirrors.

Where one side is nearly always the longer one, the prediction at d = 0 is an extrapolation: the plain fit is off by 14
points for one model of the AlpacaEval leaderboard and by 7 for another. So it is refused unless *both* sides are the
longer one in at least LEAST_OVERLAP of the answers: zero then lies between the 20th and the 80th percentile of d.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jpo_dist.statistics.intervals import BOOTSTRAP, resampled, rounded
from jpo_dist.winrate.rates import HALF_POINTS, JUDGED, Verdict

LEAST_OVERLAP = 0.2
LEAST_ANSWERS = 30
PHI_PENALTY, THETA_PENALTY = 1.0, 0.01
_DRAWS = 1000
_STEPS = 50


def length_controlled(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The report's part on `verdicts`; see `controlled_rate`."""
    kept = [one for one in verdicts if one.outcome in JUDGED]
    rows = {prompt_id: row for row, prompt_id in enumerate(sorted({one.prompt_id for one in kept}))}
    return controlled_rate(
        np.array([HALF_POINTS[one.outcome] / 2 for one in kept]),
        np.array([one.length - one.other_length for one in kept]),
        np.array([rows[one.prompt_id] for one in kept], dtype=np.int64),
    )


def controlled_rate(wins_C: np.ndarray, gaps_C: np.ndarray, instructions_C: np.ndarray) -> dict[str, Any]:
    """The length-controlled win rate with a 95 % bootstrap interval over instructions, JSON-able.

    `wins_C`: 1 for a win, 0.5 a tie, 0 a loss, anything between for a judge that is not sure; `gaps_C`: d; the
    instructions as numbers from 0. `win_rate` is None where the figure is refused, and `refused` says why.
    """
    found: dict[str, Any] = {
        "answers": len(wins_C),
        "longer": float((gaps_C > 0).mean()) if len(gaps_C) else None,
        "shorter": float((gaps_C < 0).mean()) if len(gaps_C) else None,
        "win_rate": None,
        "interval": None,
        "interval_method": BOOTSTRAP,
        "phi": None,
        "refused": None,
    }
    if reason := _refusal(gaps_C, instructions_C):
        return {**found, "refused": reason}
    x_C = np.tanh(gaps_C / gaps_C.std())
    theta, phi = _fit(wins_C, x_C, np.ones((1, len(x_C))))
    num = int(instructions_C.max()) + 1
    drawn = [_fit(wins_C, x_C, times[:, instructions_C].astype(float))[0] for times in resampled(num, _DRAWS)]
    low, high = np.percentile(_sigmoid(np.concatenate(drawn)), [2.5, 97.5])
    rates = {"win_rate": rounded(_sigmoid(theta)[0]), "interval": [rounded(low), rounded(high)]}
    return {**found, **rates, "phi": rounded(phi[0])}


def _refusal(gaps_C: np.ndarray, instructions_C: np.ndarray) -> str | None:
    instructions = len(np.unique(instructions_C))
    if instructions < LEAST_ANSWERS:
        return f"{instructions} instructions with a verdict; {LEAST_ANSWERS} are needed"
    if gaps_C.std() == 0:
        return "the lengths differ by the same number of characters everywhere; nothing tells length from the model"
    longer, shorter = float((gaps_C > 0).mean()), float((gaps_C < 0).mean())
    if min(longer, shorter) < LEAST_OVERLAP:
        return (
            f"lengths hardly overlap: the answer is longer in {longer:.1%} and shorter in {shorter:.1%} of "
            f"{len(gaps_C)}; each must be at least {LEAST_OVERLAP:.0%}, or equal length is an extrapolation"
        )
    return None


def _fit(wins_C: np.ndarray, x_C: np.ndarray, weights_DC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(theta, phi) of D weighted fits at once, by Newton's method; the penalised likelihood is strictly concave."""
    theta, phi = np.zeros((2, len(weights_DC), 1))
    for _ in range(_STEPS):
        p_DC = _sigmoid(theta + phi * x_C)
        off_DC, curve_DC = weights_DC * (wins_C - p_DC), weights_DC * p_DC * (1 - p_DC)
        g_theta = off_DC.sum(1, keepdims=True) - THETA_PENALTY * theta
        g_phi = (off_DC * x_C).sum(1, keepdims=True) - PHI_PENALTY * phi
        h_tt = curve_DC.sum(1, keepdims=True) + THETA_PENALTY
        h_tp = (curve_DC * x_C).sum(1, keepdims=True)
        h_pp = (curve_DC * x_C**2).sum(1, keepdims=True) + PHI_PENALTY
        det = h_tt * h_pp - h_tp**2
        step_theta = (h_pp * g_theta - h_tp * g_phi) / det
        step_phi = (h_tt * g_phi - h_tp * g_theta) / det
        longest = np.maximum(1.0, np.maximum(abs(step_theta), abs(step_phi)) / 2)  # no overshoot where p is near 0 or 1
        theta, phi = theta + step_theta / longest, phi + step_phi / longest
        if max(abs(step_theta).max(), abs(step_phi).max()) < 1e-12:
            break
    return theta[:, 0], phi[:, 0]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))

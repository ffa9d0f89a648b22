"""Which token comes next: chance that belongs to one answer, and how sure a choice is.

Legend: B answers of a batch, V vocabulary, G groups of GROUP tokens, K noise of one choice (G + GROUP).

A token is drawn by the Gumbel-max trick: argmax(log p / T + noise). Noise for every token of the vocabulary would cost
more than the model, so the draw has two steps, which give the same distribution: first a group of tokens, by the
log-sum of the group, then a token of that group.

The noise of a choice is a function of seed, instruction, sample, temperature and position, by Philox4x64-10 (Salmon et
al. 2011), a counter-based generator: nothing that happens in a batch can shift it.
"""

import hashlib
import json
import math
from typing import Any, NamedTuple

import numpy as np
import torch

GROUP = 256
NEAR = 1e-4
"""Share of a row's largest logit by which float32 logits may differ between batches, with a wide margin: assumed
until it is measured (Nearness in jpo_dist/generate/local.py)."""
SORTED = 1024
"""Tokens that top-p sorts first: nearly always enough, and the whole vocabulary takes ten times as long."""


class Choice(NamedTuple):
    """Chosen tokens, and whether other last bits of the logits would have chosen them too."""

    tokens_B: torch.Tensor
    is_sure_B: torch.Tensor


def key_of(seed: int, prompt_id: str, sample: int, temperature: float) -> int:
    """The key of an answer's noise, 128 bits."""
    text = json.dumps([seed, prompt_id, sample, float(temperature)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def noise_size(vocabulary: int) -> int:
    """How many numbers a choice takes."""
    return -(-vocabulary // GROUP) + GROUP


def noise(key: int, position: int, count: int) -> np.ndarray:
    """`count` numbers of the standard Gumbel distribution, float64, for the token at `position` of an answer."""
    raw = np.random.Philox(key=key, counter=position << 64).random_raw(count)
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return -np.log(-np.log(uniform))


def choose(
    logits_BV: torch.Tensor, noise_BK: torch.Tensor | None, temperature: float, top_p: float = 1.0, near: float = NEAR
) -> Choice:
    """One token a row. `noise_BK` is not looked at where temperature is 0: the most likely token is taken.

    `logits_BV`: float32. A choice is sure if no change of single logits by up to `near` times the row's largest would
    make another one; with near=0 all are.
    """
    if temperature == 0:
        return _likeliest(logits_BV, near)
    top_B = logits_BV.amax(-1, keepdim=True)
    slack_B = _slack(logits_BV, top_B, near)
    assert noise_BK is not None, "only temperature 0 needs no noise"
    rows = torch.arange(len(logits_BV), device=logits_BV.device)
    scaled_BV = (logits_BV - top_B) / temperature
    num_groups = noise_BK.shape[1] - GROUP
    parts = [_groups(scaled_BV, keep, num_groups) for keep in _kept(scaled_BV, top_p, slack_B / temperature)]
    slack_B = 2 * slack_B / temperature
    sums = [part.logsumexp(-1).double() for part in parts]
    group_B, is_sure_B = _winner(sums, noise_BK[:, :num_groups], slack_B)
    inside = [part[rows, group_B].double() for part in parts]
    token_B, is_sure_too_B = _winner(inside, noise_BK[:, num_groups:], slack_B)
    sure = is_sure_B & is_sure_too_B if near else torch.ones_like(is_sure_B)
    return Choice(group_B * GROUP + token_B, sure)


def _slack(logits_BV: torch.Tensor, top_B: torch.Tensor, near: float) -> torch.Tensor:
    return (near * torch.maximum(top_B.abs(), logits_BV.amin(-1, keepdim=True).abs())).double()


def _likeliest(logits_BV: torch.Tensor, near: float) -> Choice:
    """The highest logit of each row; sure where it is above the second by more than both can change."""
    best: Any = logits_BV.max(-1, keepdim=True)
    if not near:
        return Choice(best.indices[:, 0], torch.ones_like(best.indices[:, 0], dtype=torch.bool))
    slack_B = _slack(logits_BV, best.values, near)
    logits_BV.scatter_(-1, best.indices, -math.inf)  # in place, and put back: a copy would cost as much as the rest
    second_B = logits_BV.amax(-1, keepdim=True)
    logits_BV.scatter_(-1, best.indices, best.values)
    return Choice(best.indices[:, 0], (best.values.double() - second_B.double() > 2 * slack_B)[:, 0])


def _kept(scaled_BV: torch.Tensor, top_p: float, slack_B: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Masks of the tokens that may be chosen: now and, whatever the last bits of the logits are, at least and at most.
    One None where all may."""
    if top_p >= 1:
        return (None,)
    found, is_all_B = _nucleus(scaled_BV, top_p, slack_B, SORTED)
    if not bool(is_all_B.all()):
        few = (~is_all_B).nonzero()[:, 0]
        for masks, whole in zip(
            found, _nucleus(scaled_BV[few], top_p, slack_B[few], scaled_BV.shape[1])[0], strict=True
        ):
            masks[few] = whole
    return found


def _groups(scaled_BV: torch.Tensor, keep_BV: torch.Tensor | None, num_groups: int) -> torch.Tensor:
    """(B, G, GROUP) with -inf for what is not kept, and behind the end of the vocabulary."""
    kept = scaled_BV if keep_BV is None else scaled_BV.masked_fill(~keep_BV, -math.inf)
    missing = num_groups * GROUP - kept.shape[1]
    padded = torch.nn.functional.pad(kept, (0, missing), value=-math.inf) if missing else kept
    return padded.unflatten(1, (num_groups, GROUP))


def _winner(
    scores: list[torch.Tensor], noise_BN: torch.Tensor, slack_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The place with the highest score, and whether its least score is above the highest of all others. `scores`: as
    they are, the least and the highest, (B, N) each; or one for all three."""
    now_BN, least_BN, most_BN = (score + noise_BN for score in (scores * 3)[:3])
    place_B1 = now_BN.argmax(-1, keepdim=True)
    others_B1 = most_BN.scatter(-1, place_B1, -math.inf).amax(-1, keepdim=True)
    return place_B1[:, 0], (least_BN.gather(-1, place_B1) - others_B1 > slack_B)[:, 0]


def _nucleus(
    scaled_BV: torch.Tensor, top_p: float, slack_B: torch.Tensor, count: int
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """The tokens that top-p keeps: those before which, from the likeliest on, there is less than `top_p` of the mass;
    and whether the `count` likeliest were enough to tell.

    A token is kept for the mass of strictly likelier ones, so that the order of equal ones does not matter. Other last
    bits can change who is likelier (logits within 2 slack) and, by 2 slack, the log-odds of a mass.
    """
    probs_BV = scaled_BV.double().softmax(-1)
    count = min(count, scaled_BV.shape[1])
    sorted_: Any = scaled_BV.topk(count, -1) if count < scaled_BV.shape[1] else scaled_BV.sort(-1, descending=True)
    mass_BC = probs_BV.gather(-1, sorted_.indices)
    is_all_B = mass_BC.sum(-1) >= top_p + (1 - top_p) / 2
    if count == scaled_BV.shape[1]:
        is_all_B = torch.ones_like(is_all_B)
    down_BC = -sorted_.values.double().contiguous()
    upto_BC = torch.nn.functional.pad(mass_BC.cumsum(-1), (1, 0))

    def before(shift: torch.Tensor | float) -> torch.Tensor:
        return upto_BC.gather(-1, torch.searchsorted(down_BC, (down_BC - shift).contiguous()))

    factor = (2 * slack_B).exp()
    fewer, more = before(2 * slack_B), (before(-2 * slack_B) - mass_BC).clamp(min=0)
    fewest = fewer / (fewer + (1 - fewer).clamp(min=0) * factor)
    most = more * factor / (more * factor + (1 - more).clamp(min=0))
    none = torch.zeros_like(probs_BV, dtype=torch.bool)
    masks = tuple(none.scatter(-1, sorted_.indices, mass < top_p) for mass in (before(0.0), most, fewest))
    return masks, is_all_B

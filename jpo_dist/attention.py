"""Attention over packed items: each segment of a packed row attends to itself alone.

Legend: H query heads, K key heads, T tokens of all segments end to end, D head size.

A model is loaded with `attn_implementation=SEGMENTS`; its forward is then called with `segment_lengths`, a tuple of
ints that sums to T. They travel as an argument, not as a global, because a checkpointed layer runs its forward again
in the backward pass, when another batch may have been set in between.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

SEGMENTS = "jpo_segments"


def segment_attention(  # noqa: PLR0913 (the signature is transformers' attention interface)
    module: torch.nn.Module,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    segment_lengths: tuple[int, ...] | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each segment, as (1, T, H, D). Dropout is never applied: scores must be repeatable.

    Raises ValueError without segment lengths or with a mask: both mean that a caller has not packed its items.
    """
    if segment_lengths is None or attention_mask is not None:
        raise ValueError(f"{SEGMENTS} attention scores packed items only; generate with another attn_implementation")
    groups = query_1HTD.shape[1] // key_1KTD.shape[1]
    if groups > 1:
        key_1KTD, value_1KTD = (t.repeat_interleave(groups, dim=1) for t in (key_1KTD, value_1KTD))
    pieces = [t.split(segment_lengths, dim=2) for t in (query_1HTD, key_1KTD, value_1KTD)]
    attended = [_attend(q, k, v, scaling, sliding_window, softcap) for q, k, v in zip(*pieces, strict=True)]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    length = query.shape[2]
    windowed = window is not None and length > window
    if softcap is None and not windowed:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    position = torch.arange(length, device=query.device)
    behind = position[:, None] - position[None, :]
    visible = (behind >= 0) & (behind < (window if window is not None else length))
    if softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scaling)
    logits = query @ key.transpose(-1, -2) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    logits = torch.tanh(logits / softcap) * softcap
    weights = logits.masked_fill(~visible, float("-inf")).float().softmax(-1).to(query.dtype)
    return weights @ value


AttentionInterface.register(SEGMENTS, segment_attention)

"""Attention over packed items: each segment of a packed row attends to itself alone.

Legend: H query heads, K key heads, T tokens of all segments end to end, D head size; a block is n segments of at most
L tokens.

A model is loaded with `attn_implementation=SEGMENTS`; its forward is then called with `segment_lengths`, a tuple of
ints that sums to T. They travel as an argument, not as a global, because a checkpointed layer runs its forward again
in the backward pass, when another batch may have been set in between.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

SEGMENTS = "jpo_segments"
NO_ATTENTION_FUNCTION = (
    "this model type does not take an attention function, so packed items would see each other; use a model type that "
    "supports transformers' AttentionInterface"
)

# On the CPU, the backward pass of a fused attention call costs about four times its products for short segments, and a
# packed row is many short segments: those of like length are one product of a block. Longer ones gain nothing from it.
LONGEST_IN_BLOCK = 256
SHORTEST_SHARE = 0.7
"""A segment joins a block if it is at least this share of the block's longest: the rest is computed for nothing."""


class Branches(NamedTuple):
    """Where items share their instruction, its tokens are in the row once: everything but attention computes them once.
    Attention spreads the row out to whole segments, S tokens, and takes each token's result from one of its places."""

    spread_S: torch.Tensor
    """Where in the row each token of each segment is."""
    place_T: torch.Tensor
    """A place among the segments' tokens for each token of the row."""


class Block(NamedTuple):
    rows: np.ndarray
    """Where the tokens of its segments are in the packed row."""
    cells: np.ndarray
    """Where they are in the block, (n * L)."""
    num_segments: int
    length: int


def segment_attention(  # noqa: PLR0913 (the signature is transformers' attention interface)
    module: torch.nn.Module,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    segment_lengths: tuple[int, ...] | None = None,
    branches: Branches | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each segment, as (1, T, H, D). Dropout is never applied: scores must be repeatable.

    Raises ValueError without segment lengths or with a mask: both mean that a caller has not packed its items. Also
    for attention sinks, which would be left out in silence.
    """
    if s_aux is not None:
        raise ValueError(f"{type(module).__name__} uses attention sinks, which packed scoring does not know")
    if segment_lengths is None or attention_mask is not None:
        raise ValueError(f"{SEGMENTS} attention scores packed items only; generate with another attn_implementation")
    if branches is None:
        return _attend_all(query_1HTD, key_1KTD, value_1KTD, segment_lengths, scaling, sliding_window, softcap), None
    query, key, value = (t.index_select(2, branches.spread_S) for t in (query_1HTD, key_1KTD, value_1KTD))
    attended = _attend_all(query, key, value, segment_lengths, scaling, sliding_window, softcap)
    return attended.index_select(1, branches.place_T), None


def _attend_all(
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    segment_lengths: tuple[int, ...],
    scaling: float | None,
    sliding_window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """By the way that is fastest on this device and can express the model's attention."""
    groups = query_1HTD.shape[1] // key_1KTD.shape[1]
    scale = scaling if scaling is not None else query_1HTD.shape[-1] ** -0.5
    if query_1HTD.is_cuda and softcap is None and query_1HTD.dtype in (torch.bfloat16, torch.float16):
        return _attend_varlen(query_1HTD, key_1KTD, value_1KTD, segment_lengths, scale, sliding_window)
    if groups > 1:
        key_1KTD, value_1KTD = (t.repeat_interleave(groups, dim=1) for t in (key_1KTD, value_1KTD))
    if query_1HTD.device.type == "cpu" and softcap is None and (sliding_window or LONGEST_IN_BLOCK) >= LONGEST_IN_BLOCK:
        return _attend_in_blocks(query_1HTD, key_1KTD, value_1KTD, segment_lengths, scale)
    pieces = [t.split(segment_lengths, dim=2) for t in (query_1HTD, key_1KTD, value_1KTD)]
    attended = [_attend(q, k, v, scale, sliding_window, softcap) for q, k, v in zip(*pieces, strict=True)]
    return torch.cat(attended, dim=2).transpose(1, 2)


def _attend_varlen(
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    lengths: tuple[int, ...],
    scale: float,
    window: int | None,
) -> torch.Tensor:
    """All segments in one call of the flash kernel, grouped heads included."""
    query, key, value = (t[0].transpose(0, 1) for t in (query_1HTD, key_1KTD, value_1KTD))
    bounds = _bounds(lengths, query.device)
    attended = varlen_attn(
        query,
        key,
        value,
        bounds,
        bounds,
        max(lengths),
        max(lengths),
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
        num_splits=1,  # else an item's score would depend on what it is packed with
    )
    assert isinstance(attended, torch.Tensor)
    return attended[None]


@lru_cache(maxsize=8)
def _bounds(lengths: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Where segments begin and end; the layers of a model ask for the same one after another."""
    return torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32, device=device)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """One segment, by the fused kernel where it can express the model's attention."""
    length = query.shape[2]
    windowed = window is not None and length > window
    if softcap is None and not windowed:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    position = torch.arange(length, device=query.device)
    behind = position[:, None] - position[None, :]
    visible = (behind >= 0) & (behind < (window if window is not None else length))
    if softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scale)
    logits = query @ key.transpose(-1, -2) * scale
    logits = torch.tanh(logits / softcap) * softcap
    # float32 whatever the model's dtype: transformers' own attention for these models does the same.
    return logits.masked_fill(~visible, float("-inf")).softmax(-1, dtype=torch.float32).to(value.dtype) @ value


def _attend_in_blocks(
    query_1HTD: torch.Tensor, key_1KTD: torch.Tensor, value_1KTD: torch.Tensor, lengths: tuple[int, ...], scale: float
) -> torch.Tensor:
    tokens_THD = [t[0].transpose(0, 1) for t in (query_1HTD, key_1KTD, value_1KTD)]
    blocks, order = make_blocks(lengths)
    attended = []
    for block in blocks:
        query, key, value = (_into_block(t, block) for t in tokens_THD)
        if block.length > LONGEST_IN_BLOCK:
            out_nHLD = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
        else:
            # Logits in float32, as the fused kernel has them: rounded to bfloat16 they cost a score half a nat.
            wide = torch.promote_types(query.dtype, torch.float32)
            logits = query.to(wide) @ key.to(wide).transpose(-1, -2) * scale
            hidden = torch.ones(block.length, block.length, dtype=torch.bool).triu(1)
            out_nHLD = logits.masked_fill(hidden, float("-inf")).softmax(-1).to(value.dtype) @ value
        attended.append(out_nHLD.transpose(1, 2).flatten(0, 1).index_select(0, torch.from_numpy(block.cells)))
    return torch.cat(attended).index_select(0, torch.from_numpy(order))[None]


def _into_block(tokens_THD: torch.Tensor, block: Block) -> torch.Tensor:
    """(n, H, L, D), zero behind the end of a segment: no earlier token sees those, so they change nothing."""
    _, heads, size = tokens_THD.shape
    cells = tokens_THD.new_zeros(block.num_segments * block.length, heads, size)
    rows, places = torch.from_numpy(block.rows), torch.from_numpy(block.cells)
    cells = cells.index_copy(0, places, tokens_THD.index_select(0, rows))
    return cells.view(block.num_segments, block.length, heads, size).transpose(1, 2)


@lru_cache(maxsize=64)
def make_blocks(lengths: tuple[int, ...]) -> tuple[list[Block], np.ndarray]:
    """Segments by length, cut where one is much shorter than the longest of its block, and the way back to the row.

    Arrays, not tensors: what is remembered here outlives the mode it was asked in (planning runs on tensors without
    contents)."""
    starts = np.cumsum([0, *lengths[:-1]])
    blocks: list[Block] = []
    members: list[int] = []
    for segment in sorted(range(len(lengths)), key=lambda s: -lengths[s]):
        # A long segment is a block of its own, so that an item is scored the same way whatever it is packed with.
        if members and (
            lengths[segment] < SHORTEST_SHARE * lengths[members[0]] or lengths[members[0]] > LONGEST_IN_BLOCK
        ):
            blocks.append(_block(members, lengths, starts))
            members = []
        members.append(segment)
    blocks.append(_block(members, lengths, starts))
    return blocks, np.argsort(np.concatenate([block.rows for block in blocks]))


def _block(members: list[int], lengths: tuple[int, ...], starts: np.ndarray) -> Block:
    length = lengths[members[0]]
    rows = np.concatenate([starts[s] + np.arange(lengths[s]) for s in members])
    cells = np.concatenate([i * length + np.arange(lengths[s]) for i, s in enumerate(members)])
    return Block(rows, cells, len(members), length)


AttentionInterface.register(SEGMENTS, segment_attention)

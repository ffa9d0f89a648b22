"""Attention over packed items: each segment of a packed row attends to itself alone.

Legend: T tokens of a row end to end, H query heads, K key heads, D width of a head (exceptions here: elsewhere K are
metric columns, and D is the model's width). A block is n segments of at most L tokens; B cells are those of all blocks.

A model is loaded with `attn_implementation=SEGMENTS`; its forward is then called with `segment_lengths`, a tuple of
ints that sums to T, and `segment_bounds`, where they begin and end. They travel as arguments, not as globals, because a
checkpointed layer runs its forward again in the backward pass, when another batch may have been set in between.
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
HAS_SINKS = "uses attention sinks, which packed scoring does not know; use a model type without them"
SINKS = ".sinks"
"""How the names of their parameters end."""

# On the CPU, the backward pass of a fused attention call costs about four times its products for short segments, and a
# packed row is many short segments: those of like length are one product of a block. Longer ones gain nothing from it.
LONGEST_IN_BLOCK = 256
SHORTEST_SHARE = 0.7
"""A segment joins a block if it is at least this share of the block's longest: the rest is computed for nothing."""


class SharedInstructions(NamedTuple):
    """Where items share their instruction, its tokens are in the row once: everything but attention computes them once.
    Attention spreads the row out to whole segments, S tokens, and takes each token's result from one of its places."""

    spread_S: torch.Tensor
    """Where in the row each token of each segment is."""
    place_T: torch.Tensor
    """A place among the segments' tokens for each token of the row."""


class Blocks(NamedTuple):
    """How a packed row is spread out to blocks, B cells one after another, and read back."""

    shapes: list[tuple[int, int]]
    """Segments and their longest length, (n, L), of each block."""
    spread_B: np.ndarray
    """Which token of the row each cell gets. Behind the end of a segment, any: no earlier token sees it."""
    place_T: np.ndarray
    """The cell of each token of the row."""


def segment_attention(  # noqa: PLR0913 (the signature is transformers' attention interface)
    module: torch.nn.Module,
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    segment_lengths: tuple[int, ...] | None = None,
    segment_bounds: torch.Tensor | None = None,
    shared_instructions: SharedInstructions | None = None,
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
        raise ValueError(f"{type(module).__name__} {HAS_SINKS}")
    if segment_lengths is None or segment_bounds is None or attention_mask is not None:
        raise ValueError(f"{SEGMENTS} attention scores packed items only; generate with another attn_implementation")
    how = (segment_lengths, segment_bounds, scaling, sliding_window, softcap)
    if shared_instructions is None:
        return _attend_all(query_1HTD, key_1KTD, value_1KTD, *how), None
    query, key, value = (t.index_select(2, shared_instructions.spread_S) for t in (query_1HTD, key_1KTD, value_1KTD))
    return _attend_all(query, key, value, *how).index_select(1, shared_instructions.place_T), None


def _attend_all(
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    segment_lengths: tuple[int, ...],
    segment_bounds: torch.Tensor,
    scaling: float | None,
    sliding_window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attention of all segments, (1, T, H, D), by the fastest way that this device and this model's attention allow."""
    groups = query_1HTD.shape[1] // key_1KTD.shape[1]
    scale = scaling if scaling is not None else query_1HTD.shape[-1] ** -0.5
    if softcap is None and query_1HTD.is_cuda and has_varlen(query_1HTD, value_1KTD):
        longest = max(segment_lengths)
        return _attend_varlen(query_1HTD, key_1KTD, value_1KTD, segment_bounds, longest, scale, sliding_window)
    if groups > 1:
        key_1KTD, value_1KTD = (t.repeat_interleave(groups, dim=1) for t in (key_1KTD, value_1KTD))
    if query_1HTD.device.type == "cpu" and softcap is None:
        return _attend_in_blocks(query_1HTD, key_1KTD, value_1KTD, segment_lengths, scale, sliding_window)
    pieces = [t.split(segment_lengths, dim=2) for t in (query_1HTD, key_1KTD, value_1KTD)]
    attended = [_attend(q, k, v, scale, sliding_window, softcap) for q, k, v in zip(*pieces, strict=True)]
    return torch.cat(attended, dim=2).transpose(1, 2)


def has_varlen(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether torch's flash kernel computes this attention: elsewhere it is not built, or refuses."""
    size = query.shape[-1]
    fits = size == value.shape[-1] and size <= 256 and size % 8 == 0 and query.dtype in (torch.bfloat16, torch.float16)
    return fits and torch.version.hip is None and torch.cuda.get_device_capability(query.device) >= (8, 0)


def _attend_varlen(
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    """Attention of all segments, (1, T, H, D), in one call of the flash kernel, grouped heads included."""
    query, key, value = (t[0].transpose(0, 1) for t in (query_1HTD, key_1KTD, value_1KTD))
    attended = varlen_attn(
        query,
        key,
        value,
        bounds,
        bounds,
        longest,
        longest,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
        num_splits=1,  # else an item's score would depend on what it is packed with
    )
    assert isinstance(attended, torch.Tensor)
    return attended[None]


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Attention of one segment, or of several of one length, (n, H, L, D), by the fused kernel where it can express the
    model's attention."""
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
    query_1HTD: torch.Tensor,
    key_1KTD: torch.Tensor,
    value_1KTD: torch.Tensor,
    lengths: tuple[int, ...],
    scale: float,
    window: int | None,
) -> torch.Tensor:
    shapes, spread, place = make_blocks(lengths)
    queries, keys, values = (_spread(t, torch.from_numpy(spread), shapes) for t in (query_1HTD, key_1KTD, value_1KTD))
    attended = []
    for query, key, value in zip(queries, keys, values, strict=True):
        if query.shape[2] > min(LONGEST_IN_BLOCK, window or LONGEST_IN_BLOCK):
            out_nHLD = _attend(query, key, value, scale, window, softcap=None)
        else:
            out_nHLD = _attend_in_block(query, key, value, scale)
        attended.append(out_nHLD.transpose(1, 2).flatten(0, 1))
    return torch.cat(attended).index_select(0, torch.from_numpy(place))[None]


def _spread(tokens_1HTD: torch.Tensor, spread_B: torch.Tensor, shapes: list[tuple[int, int]]) -> list[torch.Tensor]:
    """The tokens of each block, (n, H, L, D)."""
    cells_BHD = tokens_1HTD[0].transpose(0, 1).index_select(0, spread_B)
    blocks = cells_BHD.split([n * length for n, length in shapes])
    return [block.unflatten(0, shape).transpose(1, 2) for block, shape in zip(blocks, shapes, strict=True)]


def _attend_in_block(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention of one block of short segments, (n, H, L, D), by plain products.

    Logits are float32, as the fused kernel has them: rounded to bfloat16 they cost a score half a nat.

    Scaling is done to the queries and the rest in place: a pass over the logits costs as much as their product.
    """
    length = query.shape[2]
    wide = torch.promote_types(query.dtype, torch.float32)
    query, key = (t.to(wide, memory_format=torch.contiguous_format) for t in (query, key))
    unseen = torch.full((length, length), float("-inf"), dtype=wide).triu(1)
    logits = ((query * scale) @ key.transpose(-1, -2)).add_(unseen)
    return logits.softmax(-1).to(value.dtype) @ value


@lru_cache(maxsize=64)
def make_blocks(lengths: tuple[int, ...]) -> Blocks:
    """Blocks of segments of these lengths: longest first, cut where one is much shorter than the longest of its block.

    Arrays, not tensors: what is remembered here outlives the mode it was asked in (planning runs on tensors without
    contents)."""
    groups: list[list[int]] = []
    for segment in sorted(range(len(lengths)), key=lambda s: -lengths[s]):
        longest = lengths[groups[-1][0]] if groups else 0
        # A long segment is a block of its own, so that an item is scored the same way whatever it is packed with.
        if not groups or longest > LONGEST_IN_BLOCK or lengths[segment] < SHORTEST_SHARE * longest:
            groups.append([])
        groups[-1].append(segment)
    starts = np.cumsum([0, *lengths[:-1]])
    spread, place, cells = [], np.empty(sum(lengths), dtype=np.int64), 0
    for members in groups:
        length = lengths[members[0]]
        for segment in members:
            start, tokens = starts[segment], np.arange(lengths[segment])
            spread.append(start + np.minimum(np.arange(length), tokens[-1]))
            place[start + tokens] = cells + tokens
            cells += length
    return Blocks([(len(members), lengths[members[0]]) for members in groups], np.concatenate(spread), place)


AttentionInterface.register(SEGMENTS, segment_attention)

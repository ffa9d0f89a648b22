"""Keys and values of the tokens so far, and the attention that reads them.

Legend: B rows (answers under way), N new tokens of each, W cells of a row, S those that are looked at, H query heads,
K key heads, G query heads of a key head, D width of a head (exceptions here: elsewhere K, G and D are other things).

A cell holds one token of one row. Memory is bounded because the cells are there from the beginning: rows times width.
"""

from typing import Any, NamedTuple

import torch
from torch.nn.functional import embedding_bag, scaled_dot_product_attention
from transformers import AttentionInterface

CACHED = "jpo_cached"


class Cache:
    """Cells of so many rows, for every layer. The last cell of a row is a bin for padding: nothing looks at it."""

    def __init__(self, rows: int, width: int) -> None:
        self.rows, self.width = rows, width
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def layer(self, number: int, like_BKND: torch.Tensor, value_BKND: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Keys and values of a layer, (rows, K, W + 1, D) each, made when they are first asked for."""
        if number not in self.layers:
            shape = (self.rows, like_BKND.shape[1], self.width + 1)
            self.layers[number] = (
                like_BKND.new_zeros(*shape, like_BKND.shape[3]),
                value_BKND.new_zeros(*shape, value_BKND.shape[3]),
            )
        return self.layers[number]

    def copy(self, source: int, target: int, length: int) -> None:
        """Put the first `length` cells of a row in those of another."""
        for pair in self.layers.values():
            for cells in pair:
                cells[target, :, :length] = cells[source, :, :length]

    def begin(self, other: "Cache", rows: slice, length: int) -> None:
        """Put the first `length` cells of the only row of `other` in those of `rows`."""
        for number, pair in other.layers.items():
            mine = self.layer(number, *(cells[:, :, :1] for cells in pair))
            for cells, given in zip(mine, pair, strict=True):
                cells[rows, :, :length] = given[:, :, :length]


class Looked(NamedTuple):
    """What one forward adds to the cache and may look at: rows first to first + B, their cells 0 to S."""

    cache: Cache
    first: int
    cells_BN: torch.Tensor
    """The cell of each new token; the bin for padding."""
    positions_BN: torch.Tensor
    seen: int
    """S."""
    masks: dict[int | None, torch.Tensor]
    """Masks of this forward by sliding window, (B, 1, N, S), made by the first layer that needs one."""

    places: dict[int, torch.Tensor]
    """Where the cells of each query head lie, (B * H, S), by the number of key heads: made by the first layer."""

    def place(self, heads: int, groups: int) -> torch.Tensor:
        """The cells 0 to S of a query head's key head, as rows of all cells of a layer, (rows * K * (W + 1), D)."""
        if heads not in self.places:
            count, width = len(self.cells_BN), self.cache.width + 1
            begins = torch.arange(self.first * heads, (self.first + count) * heads) * width
            places = begins[:, None, None] + torch.arange(self.seen).expand(1, groups, -1)
            self.places[heads] = places.flatten(0, 1)
        return self.places[heads]

    def mask(self, window: int | None) -> torch.Tensor:
        """True where a new token looks at a cell."""
        if window not in self.masks:
            behind_BNS = self.positions_BN[:, :, None] - torch.arange(self.seen, device=self.positions_BN.device)
            visible = behind_BNS >= 0
            self.masks[window] = (visible if window is None else visible & (behind_BNS < window))[:, None]
        return self.masks[window]


def cached_attention(  # noqa: PLR0913 (the signature is transformers' attention interface)
    module: torch.nn.Module,
    query_BHND: torch.Tensor,
    key_BKND: torch.Tensor,
    value_BKND: torch.Tensor,
    attention_mask: torch.Tensor | None,
    looked: Looked | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of new tokens to their row's cells, as (B, N, H, D), after their own keys and values went there.

    Query heads of one key head are taken for more queries of one head: copies of keys and values for each query head
    cost more than the rest of a step. Raises ValueError for attention sinks, and without `looked`.
    """
    if s_aux is not None:
        raise ValueError(f"{type(module).__name__} uses attention sinks, which generation here does not know; serve it")
    if looked is None or attention_mask is not None:
        raise ValueError(
            f"{CACHED} attention reads its own cache only; load the model with another attn_implementation"
        )
    rows, count = slice(looked.first, looked.first + len(query_BHND)), query_BHND.shape[2]
    seen = looked.seen
    keys, values = looked.cache.layer(int(module.layer_idx), key_BKND, value_BKND)  # type: ignore[arg-type]
    which_B1 = torch.arange(rows.start, rows.stop, device=query_BHND.device)[:, None]
    keys[which_B1, :, looked.cells_BN] = key_BKND.transpose(1, 2)
    values[which_B1, :, looked.cells_BN] = value_BKND.transpose(1, 2)
    heads = key_BKND.shape[1]
    query = query_BHND.unflatten(1, (heads, -1)).flatten(2, 3)
    mask = looked.mask(sliding_window)
    groups = query.shape[2] // count
    if groups > 1:
        mask = mask[:, :, None].expand(-1, -1, groups, -1, -1).flatten(2, 3)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    key, value = keys[rows, :, :seen], values[rows, :, :seen]
    if softcap is None and count == 1 and query.device.type == "cpu" and query.dtype == torch.float32:
        place = looked.place(heads, groups)
        out = _of_one_token(query * scale, key, values, looked.mask(sliding_window), place)
    elif softcap is None:
        out = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    else:
        logits = torch.tanh(query @ key.transpose(-1, -2) * scale / softcap) * softcap
        out = logits.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32).to(value.dtype) @ value
    return out.unflatten(2, (groups, count)).flatten(1, 2).transpose(1, 2), None


def _of_one_token(
    query_BKGD: torch.Tensor, key_BKSD: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, places: torch.Tensor
) -> torch.Tensor:
    """(B, K, G, D). The sum of values is a bag of embeddings with a weight each: its kernel reads them as they lie and
    takes two thirds of the time of a batch of products with so few queries (SmolLM2-135M, float32)."""
    logits = query_BKGD @ key_BKSD.transpose(-1, -2)
    weights = logits.masked_fill_(~mask, float("-inf")).softmax(-1)
    out = embedding_bag(places, values.flatten(0, 2), mode="sum", per_sample_weights=weights.flatten(0, 2))
    return out.view(*query_BKGD.shape[:3], -1)


AttentionInterface.register(CACHED, cached_attention)

"""Items to scores: one packed engine forward, then a float64 sum per item.

Legend: n items of this rank, T their tokens end to end, R rows that are scored: those that predict a token that counts
(T - n without skips), D width. A score is two numbers, the log-probs of the instruction's and of the response's tokens:
`scores_n2[i, INSTRUCTION]`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.model.attention import HAS_SINKS, NO_ATTENTION_FUNCTION, SEGMENTS, SINKS, SharedInstructions
from jpo_dist.model.head import replace_head_forward
from jpo_dist.model.head_shape import shape_of
from jpo_dist.records.comparisons import INSTRUCTION, RESPONSE

ATTENTION_KINDS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class Packed:
    """n items end to end in one row, ready for a forward. n = 0 is the filler of a rank that has no item."""

    ids_1T: torch.Tensor
    positions_1T: torch.Tensor
    rows_R: torch.Tensor
    """Positions that predict a scored token of their own item: never the last of a segment."""
    targets_R: torch.Tensor
    slots_R: torch.Tensor
    """2 * item + part: where the log-prob of each row is added up."""
    segment_lengths: tuple[int, ...]
    segment_bounds: torch.Tensor
    """Where segments begin and end, in int32: for a GPU, made here since a layer would have to wait for it."""
    num_items: int
    shared_instructions: SharedInstructions | None = None
    """How instructions that several items have are computed once; None: every item is there whole."""


def pack(
    tokens: TokenizedItems,
    items_n: np.ndarray,
    device: torch.device,
    skips_n: np.ndarray | None = None,
    instructions_n: np.ndarray | None = None,
) -> Packed:
    """Items end to end in one row, without padding. The first `skips_n` tokens of an item are computed and not scored.
    Items with one number in `instructions_n` have the same instruction, which is in the row once.

    An empty `items_n` gives two tokens that count for nothing: under ZeRO-3 every rank has to take part in every
    forward, or all ranks wait for ever.
    """
    pieces = [tokens.ids(int(item)) for item in items_n] or [np.zeros(2, dtype=np.int32)]
    lengths = np.array([len(piece) for piece in pieces])
    ids = np.concatenate(pieces).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    segment = np.repeat(np.arange(len(pieces)), lengths)
    positions = np.arange(len(ids)) - starts[segment]
    scored = positions < lengths[segment] - 1
    if skips_n is not None and len(items_n):
        scored &= positions + 1 >= skips_n[segment]
    rows = np.flatnonzero(scored)
    # Target t of row t - 1 belongs to the response from the boundary on; EOS, the last target, is part of it.
    boundaries_n = tokens.instruction_lengths_N[items_n] if len(items_n) else np.zeros(1, dtype=np.int64)
    part = np.where(positions + 1 >= boundaries_n[segment], RESPONSE, INSTRUCTION)
    here = whole = np.arange(len(ids))  # where each token of each item is in the row, and which tokens the row has
    if instructions_n is not None and len(items_n):
        _, first, which_n = np.unique(instructions_n, return_index=True, return_inverse=True)
        first_n = first[which_n]  # for each item, the first one that has its instruction
        doubled = (first_n[segment] != segment) & (positions < boundaries_n[segment])
        whole = np.flatnonzero(~doubled)
        here = (np.cumsum(~doubled) - 1)[np.where(doubled, starts[first_n[segment]] + positions, here)]
    shared = SharedInstructions(move(here, device), move(whole, device)) if len(whole) < len(ids) else None
    return Packed(
        ids_1T=move(ids[whole], device)[None],
        positions_1T=move(positions[whole], device)[None],
        rows_R=move(here[rows], device),
        targets_R=move(ids[rows + 1], device),
        slots_R=move((2 * segment + part)[rows], device),
        segment_lengths=tuple(int(n) for n in lengths),
        segment_bounds=move(np.cumsum([0, *lengths], dtype=np.int32), device),
        num_items=len(items_n),
        shared_instructions=shared,
    )


def move(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """`array` on the device, without waiting for a GPU. From memory that is not pinned the copy would wait: it begins
    when the work before it is done."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Scorer(nn.Module):
    """A causal language model whose forward gives the log-prob of every predicted token of packed items.

    Raises ValueError for a model whose attention cannot be kept inside the items, or whose logits are more than what
    its head makes of its last hidden state.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        core: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
        if not core._supports_attention_backend or core.config._attn_implementation != SEGMENTS:
            raise ValueError(f"model type {core.config.model_type!r}: {NO_ATTENTION_FUNCTION}")
        kinds = set(getattr(core.config.get_text_config(), "layer_types", None) or ()) - ATTENTION_KINDS
        if kinds:
            raise ValueError(
                f"model type {core.config.model_type!r} has {', '.join(sorted(kinds))} layers, which mix packed items; "
                f"only {' and '.join(sorted(ATTENTION_KINDS))} layers keep them apart"
            )
        if any(name.endswith(SINKS) for name, _ in core.named_parameters()):
            raise ValueError(f"model type {core.config.model_type!r} {HAS_SINKS}")
        self.model = model
        self._decoder = (core.base_model,)  # in tuples: nn.Module would register them, and save them, a second time
        self._head = (core.get_output_embeddings(),)
        replace_head_forward(self._head[0], shape_of(core))

    def forward(self, batch: Packed) -> torch.Tensor:
        """Log-probs of the R targets in nats, (R,), float32 or better."""
        hidden_1TD = self._decoder[0](
            input_ids=batch.ids_1T,
            position_ids=batch.positions_1T,
            segment_lengths=batch.segment_lengths,
            segment_bounds=batch.segment_bounds,
            shared_instructions=batch.shared_instructions,
            use_cache=False,
        ).last_hidden_state
        logps_R: torch.Tensor = self._head[0](hidden_1TD[0].index_select(0, batch.rows_R), batch.targets_R)
        return logps_R

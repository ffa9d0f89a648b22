"""What items have in common, and so need not be computed twice.

The leading tokens of both sides of a comparison cancel in its margin, in value and in gradient: they need no score. A
whole instruction that several items have needs to be computed once only.

Legend: N items, C comparisons.
"""

from collections.abc import Iterator

import numpy as np

from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.records.columns.pages import let_go

AT_A_TIME = 65536
"""Comparisons that are looked at together, at most."""
TOKENS_AT_A_TIME = 1 << 18
"""Instruction tokens that are looked at together, unless one comparison has more: each takes 60 bytes meanwhile."""


def shared_prefixes(tokens: TokenizedItems, winners_C: np.ndarray, losers_C: np.ndarray) -> np.ndarray:
    """Length of the instruction tokens (BOS and template among them) that winner and loser begin with, (C,).

    Token ids are compared, not text: a text prefix can end inside a token. Responses are left alone, so that log-probs
    of whole responses stay known.
    """
    shared_C = np.zeros(len(winners_C), dtype=np.int64)
    most_C = np.minimum(tokens.instruction_lengths_N[winners_C], tokens.instruction_lengths_N[losers_C])
    for part in _parts(most_C):
        winners, losers, most = winners_C[part], losers_C[part], most_C[part]
        ends = np.cumsum(most)
        offset = np.arange(ends[-1]) - np.repeat(ends - most, most)
        first, second = (np.repeat(tokens.offsets[rows], most) + offset for rows in (winners, losers))
        parted = np.flatnonzero(tokens.ids_T[first] != tokens.ids_T[second])
        # The first parting place of each comparison, where it has one before its instruction ends.
        owner = np.searchsorted(ends, parted, side="right")
        where, first_of = np.unique(owner, return_index=True)
        shared = most.copy()
        shared[where] = offset[parted[first_of]]
        shared_C[part] = shared
        let_go()
    return shared_C


def _parts(tokens_C: np.ndarray) -> Iterator[slice]:
    """Comparisons with `tokens_C` tokens each, in parts that memory has room for."""
    ends_C, start = np.cumsum(tokens_C), 0
    while start < len(ends_C):
        before = int(ends_C[start - 1]) if start else 0
        fits = int(np.searchsorted(ends_C, before + TOKENS_AT_A_TIME, side="right"))
        end = min(max(fits, start + 1), start + AT_A_TIME)
        yield slice(start, end)
        start = end


def shared_instructions(tokens: TokenizedItems) -> np.ndarray:
    """(number, length) of each item's instruction, (N, 2): equal tokens, equal number."""
    numbers: dict[bytes, int] = {}
    lengths = tokens.instruction_lengths_N
    found = [numbers.setdefault(tokens.ids(row)[: lengths[row]].tobytes(), len(numbers)) for row in range(len(tokens))]
    return np.stack([np.array(found, dtype=np.int64), lengths], axis=1)

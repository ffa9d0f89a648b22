"""Numbers for what is equal: what a dictionary from text to row does, in arrays of 50 bytes an entry instead of 250.

Legend: N entries, K keys of a call, L places of the table.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from jpo_dist.records.columns.pages import chunks

_FULL = 0.5
"""Share of the table's places that may be taken; with more, a key is looked for in many places."""
PLACED_AT_ONCE = 1 << 18
"""Keys that are placed at once: what bounds the memory of doing it for all, when the table grows."""


class Growing:
    """An array that grows at its end."""

    def __init__(self, dtype: str, width: int | None = None) -> None:
        self._values = np.empty(1024 if width is None else (1024, width), dtype=dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> np.ndarray:
        """Everything so far."""
        return self._values[: self._count]

    def append(self, new: np.ndarray) -> None:
        """Add entries at the end."""
        end = self._count + len(new)
        if end > len(self._values):
            room = max(end, len(self._values) * 3 // 2)
            grown = np.empty((room, *self._values.shape[1:]), dtype=self._values.dtype)
            grown[: self._count] = self.values
            self._values = grown
        self._values[self._count : end] = new
        self._count = end


class Numbering:
    """Numbers for keys of 128 bits, from 0, in the order in which the keys first come.

    The keys must be digests: their low bits decide where in the table they are looked for.
    """

    def __init__(self) -> None:
        self._keys_N2 = Growing("<u8", 2)
        self._places_L = _no_places(2048)

    def __len__(self) -> int:
        return len(self._keys_N2)

    @property
    def keys_N2(self) -> np.ndarray:
        """All keys in the order of their numbers."""
        return self._keys_N2.values

    def of(self, keys_K2: np.ndarray) -> np.ndarray:
        """The number of each key, (K,). A key that has none yet gets the next one: those from the former `len` on."""
        found_K = self._look_up(keys_K2)
        missing = np.flatnonzero(found_K < 0)
        if len(missing):
            before = len(self)
            found_K[missing] = before + self._add(keys_K2[missing])
        return found_K

    def _look_up(self, keys_K2: np.ndarray) -> np.ndarray:
        mask, known_N2 = len(self._places_L) - 1, self.keys_N2
        found_K = np.full(len(keys_K2), -1, dtype=np.int64)
        at_K = (keys_K2[:, 0] & np.uint64(mask)).astype(np.int64)
        left = np.arange(len(keys_K2))
        while len(left):
            numbers = self._places_L[at_K[left]]
            left, numbers = left[numbers >= 0], numbers[numbers >= 0]
            same = (known_N2[numbers] == keys_K2[left]).all(axis=1)
            found_K[left[same]] = numbers[same]
            left = left[~same]
            at_K[left] = (at_K[left] + 1) & mask
        return found_K

    def _add(self, keys_K2: np.ndarray) -> np.ndarray:
        """Keep keys that are not there yet, perhaps several times; returns their places among the new ones, (K,)."""
        order = np.lexsort((keys_K2[:, 1], keys_K2[:, 0]))  # stable: of equal keys, the first comes first
        ordered = keys_K2[order]
        starts = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
        group_K = np.empty(len(order), dtype=np.int64)
        group_K[order] = np.cumsum(starts) - 1
        by_first = np.argsort(order[starts])
        place = np.empty(len(by_first), dtype=np.int64)
        place[by_first] = np.arange(len(by_first))
        self._append(ordered[starts][by_first])
        return place[group_K]

    def _append(self, new: np.ndarray) -> None:
        first = len(self)
        self._keys_N2.append(new)
        size = len(self._places_L)
        while len(self) > _FULL * size:
            size *= 2
        if size > len(self._places_L):
            self._places_L, first = _no_places(size), 0
        for start in range(first, len(self), PLACED_AT_ONCE):
            self._place(start, min(start + PLACED_AT_ONCE, len(self)))

    def _place(self, start: int, end: int) -> None:
        """Write the numbers from `start` on, before `end`, where their keys are looked for."""
        size = len(self._places_L)
        numbers = np.arange(start, end)
        at = (self.keys_N2[start:end, 0] & np.uint64(size - 1)).astype(np.int64)
        while len(numbers):
            free = self._places_L[at] < 0
            self._places_L[at[free]] = numbers[free]  # of several that want one place, one gets it
            left = self._places_L[at] != numbers
            numbers, at = numbers[left], (at[left] + 1) & (size - 1)


def _no_places(size: int) -> np.ndarray:
    return np.full(size, -1, dtype=np.int32 if size <= 1 << 31 else np.int64)


def as_keys(digests: Sequence[bytes]) -> np.ndarray:
    """Digests of 16 bytes each as two numbers of 64 bits, (K, 2)."""
    if not digests:  # NumPy takes an empty buffer for a mistake
        return np.empty((0, 2), dtype="<u8")
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


def first_places(codes_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different codes in the order in which they first come, and where each of them first is."""
    if len(codes_K) and codes_K.min() >= 0 and codes_K.max() < 4 * len(codes_K):  # rows: no sort, half of its memory
        places_K = np.arange(len(codes_K))
        first = np.empty(int(codes_K.max()) + 1, dtype=np.int64)
        first[codes_K[::-1]] = places_K[::-1]  # of several the last one stays: the first place of a code
        places = np.flatnonzero(first[codes_K] == places_K)
        return codes_K[places], places
    found, first = np.unique(codes_K, return_index=True)
    order = np.argsort(first)
    return found[order], first[order]


def renumbered(codes_K: np.ndarray) -> np.ndarray:
    """Numbers from 0 in order of first appearance, equal where the codes are, (K,)."""
    _, first, back_K = np.unique(codes_K, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[back_K]


class TextNumbering:
    """Numbers for texts or bytes, from 0 in order of first appearance; the texts themselves are not kept."""

    def __init__(self) -> None:
        self._numbering = Numbering()

    def __len__(self) -> int:
        return len(self._numbering)

    def of(self, column: pa.Array) -> np.ndarray:
        """The number of each text of a column without nulls, (K,)."""
        encoded = column.cast(pa.large_binary()).dictionary_encode()
        keys = as_keys([hashlib.blake2b(value, digest_size=16).digest() for value in encoded.dictionary.to_pylist()])
        indices: np.ndarray = encoded.indices.to_numpy()
        return self._numbering.of(keys)[indices]


def numbered(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each text of a column without nulls, equal for equal texts, from 0 in order of appearance."""
    numbering = TextNumbering()
    batches = chunks(pa.table([column], ["text"]))
    return np.concatenate([np.zeros(0, np.int64), *(numbering.of(batch.column(0)) for batch in batches)])

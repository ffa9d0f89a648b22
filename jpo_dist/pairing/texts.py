"""Texts that are made only when somebody looks: most policies look at few instructions, or at none.

Legend: N texts, K of a call.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import numpy as np

_AT_ONCE = 8192


class Texts(Sequence[str]):
    """N texts, each named by a row number; `make` returns those of some rows."""

    def __init__(self, make: Callable[[np.ndarray], list[str]], rows_N: np.ndarray) -> None:
        self._make, self.rows_N = make, rows_N

    def __len__(self) -> int:
        return len(self.rows_N)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return self._make(self.rows_N[at])
        return self._make(self.rows_N[[at]])[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def at(self, places_K: np.ndarray) -> "Texts":
        """The texts of some places, in their order."""
        return Texts(self._make, self.rows_N[places_K])


def at(texts: Sequence[str], places_K: np.ndarray) -> Sequence[str]:
    """The texts of some places, (K,)."""
    return texts.at(places_K) if isinstance(texts, Texts) else [texts[place] for place in places_K]

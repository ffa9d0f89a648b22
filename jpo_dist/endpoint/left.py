"""What a run that came to its end has left: requests without an answer that may get one when they are asked again."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

MOST_REASONS = 3
"""As many are told."""


class Left(NamedTuple):
    """Requests to which no try brought an answer, for reasons that pass: timeouts, lost connections, broken replies,
    429 and 5xx. What a server refuses for good (another 4xx, such as a prompt that is too long) is not among them."""

    of: int
    """All requests."""
    reasons: dict[str, int]
    """How many of them are left, by what the last try met."""

    @classmethod
    def by(cls, reasons: Iterable[str], of: int) -> "Left":
        """From the reason of each that is left."""
        return cls(of, dict(sorted(Counter(reasons).items())))

    @classmethod
    def read(cls, kept: dict[str, Any] | None) -> "Left":
        """From `as_dict`; None: nothing is left."""
        return cls(kept["of"], kept["reasons"]) if kept else NOTHING

    def as_dict(self) -> dict[str, Any] | None:
        """For a file of the run; None where nothing is left."""
        return self._asdict() if self.reasons else None

    @property
    def requests(self) -> int:
        """How many are left."""
        return sum(self.reasons.values())

    @property
    def share(self) -> float:
        """They as a share of all."""
        return self.requests / self.of if self.of else 0.0

    def __str__(self) -> str:
        """In words, the most frequent reasons with them.

        >>> str(Left(8, {"HTTP 503 (7 tries)": 2, "timeout (7 tries)": 1}))
        '3 of 8 requests have no answer (2 HTTP 503 (7 tries); 1 timeout (7 tries))'
        """
        told = Counter(self.reasons).most_common(MOST_REASONS)
        rest = self.requests - sum(count for _, count in told)
        words = [f"{count} {reason}" for reason, count in told] + ([f"{rest} for other reasons"] if rest else [])
        return f"{self.requests} of {self.of} requests have no answer ({'; '.join(words)})"


NOTHING = Left(0, {})

"""A judged candidate: its outcome, and the order in which its pair was shown."""

import hashlib
from typing import Literal, NamedTuple

from jpo_dist.records.comparisons import Comparison, Item
from jpo_dist.records.group_column import Groups

NOT_ASKED, UNPARSABLE = "-", "?"
Outcome = Literal["decided", "tie", "unparsable", "failed", "not asked"]
FAILED = "!"


class Candidate(NamedTuple):
    """Two items to compare. Which of them stands first means nothing."""

    first: Item
    second: Item
    source: str
    groups: Groups = ()
    """What its file's columns say of it, such as ("country", "DE"); its verdict keeps them."""
    split: str | None = None
    """That of both items, where the candidates are split; its verdict keeps it."""

    @property
    def protocol(self) -> str:
        return "conditional" if self.first.instruction == self.second.instruction else "joint"


class Judged(NamedTuple):
    """What became of a candidate. Its two items, put in an order by their content, are called x and y."""

    candidate: Candidate
    outcome: Outcome
    comparison: Comparison | None
    """None: no verdict. A tie has one, with x as its `winner`."""
    letters: str = ""
    """A model's replies to (x, y) and to (y, x): `a` the first shown, `b` the second, `?` no label after all tries,
    `!` no reply, `-` not asked. `ab` and `ba` are decided, `aa` and `bb` ties. Empty for judges that give scores."""
    reason: str = ""
    """Why there is no verdict, where there is none."""

    @property
    def protocol(self) -> str:
        return self.candidate.protocol


def outcome_of(letters: str) -> Outcome:
    """The outcome of a model's two replies, see `Judged.letters`.

    >>> [outcome_of(letters) for letters in ("ab", "bb", "a?", "!b", "?-")]
    ['decided', 'tie', 'unparsable', 'failed', 'not asked']
    """
    if FAILED in letters:
        return "failed"
    if NOT_ASKED in letters:
        return "not asked"
    if UNPARSABLE in letters:
        return "unparsable"
    return "tie" if letters[0] == letters[1] else "decided"


def in_shown_order(first: Item, second: Item) -> tuple[Item, Item]:
    """The two items in the order in which a judge and a person see them first; it depends on their content only.

    Sources name the winner first: the order must not carry that label into questions, tasks or the records of ties.
    Stored answers of a judge are found by the questions' bytes, so the rule must not change.
    """
    low, high = sorted((first, second), key=lambda item: item.id)
    # A bit of both ids: by one id alone an item would stand first in all of its comparisons, or in none.
    flip = hashlib.sha256((low.id + high.id).encode()).digest()[0] & 1
    return (high, low) if flip else (low, high)

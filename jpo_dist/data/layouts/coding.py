"""Whether the labels of a table may be coded otherwise than its layout has it: from 0 where that counts from 1, as
words where it has numbers, from 1 to 7 where it goes from -3 to 3.

Of a label that two codings share, no row alone tells which of them it is of. What the first rows say together does, or
people are told which one was taken.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jpo_dist.data.layouts.layout import Layout
from jpo_dist.data.layouts.responses import Thumb
from jpo_dist.data.layouts.values import is_number, one_of, optional
from jpo_dist.data.layouts.verdicts import Labels, Nearer, Sign
from jpo_dist.data.row_values import Row

ENOUGH = 20
"""Rows of which some would name each side if the layout's coding were theirs."""
_SHOWN = 5


class Doubt(NamedTuple):
    """What speaks against the coding of a layout, for people: a sentence without the file, or nothing."""

    refusal: str = ""
    note: str = ""


def doubt(layout: Layout, rows: Sequence[Row]) -> Doubt:
    """What the labels of these rows, the first of a table, say against the layout that its columns name."""
    verdict = layout.verdict
    if not isinstance(verdict, Labels | Nearer | Sign | Thumb):
        return Doubt()
    seen = Counter(value for row in rows if isinstance(value := optional(row, verdict.path), str | bool | int | float))
    if not seen:
        return Doubt()
    if isinstance(verdict, Sign):
        return _of_sign(layout, verdict, seen) if layout.is_shared else Doubt()
    return _of_labels(layout, verdict, seen)


class _Coding(NamedTuple):
    """Values that name a side, and those that mean a tie."""

    sides: frozenset[Any]
    ties: frozenset[Any]

    @property
    def all(self) -> frozenset[Any]:
        return self.sides | self.ties

    def moved(self, by: int) -> "_Coding":
        return _Coding(frozenset(v + by for v in self.sides), frozenset(v + by for v in self.ties))


def _coding(verdict: Labels | Nearer | Thumb) -> _Coding:
    if isinstance(verdict, Labels):
        return _Coding(frozenset((*verdict.a, *verdict.b)), frozenset(verdict.tie))
    if isinstance(verdict, Nearer):
        return _Coding(frozenset((verdict.a, verdict.b)), frozenset(verdict.tie))
    return _Coding(frozenset((*(verdict.yes or (1,)), *(verdict.no or (0,)))), frozenset())


def _of_labels(layout: Layout, verdict: Labels | Nearer | Thumb, seen: Counter[Any]) -> Doubt:
    known = _coding(verdict)
    read = {value for value in seen if _is_read(verdict, known, value)}
    numbers = {value for value in seen if is_number(value)}
    fits = [one for one in _other(known, verdict) if numbers == set(seen) and numbers <= one.all]
    if (fits and read < numbers) or not read or _names_no_side(known, read, seen):
        return Doubt(refusal=_sentence(layout, verdict.path, seen))
    if not (fits and layout.is_shared) or known.sides <= numbers:
        return Doubt()
    if len(numbers) > 1 and seen.total() >= ENOUGH and any(one.sides <= numbers for one in fits):
        return Doubt(refusal=_sentence(layout, verdict.path, seen))
    return Doubt(note=_note(layout, verdict.path, seen))


def _names_no_side(known: _Coding, read: set[Any], seen: Counter[Any]) -> bool:
    """Whether all that the layout knows of the values are ties, and most of them it does not know: read with
    on_bad_row=skip, such a table would be its ties alone."""
    others = sum(seen[value] for value in seen if value not in read and value != "")
    return read <= known.ties and others >= sum(seen[value] for value in read)


def _is_read(verdict: Labels | Nearer | Thumb, known: _Coding, value: Any) -> bool:
    """Whether the layout knows a value; True is not 1 but to thumbs."""
    if isinstance(value, bool) and not isinstance(verdict, Thumb):
        return any(value is one for one in known.all)
    is_between = isinstance(verdict, Nearer) and is_number(value) and verdict.a <= value <= verdict.b
    return value in known.all or is_between


def _other(known: _Coding, verdict: Labels | Nearer | Thumb) -> tuple[_Coding, ...]:
    """The codings that one of numbers is taken for: from 0 where it counts from 1, or the other way; thumbs as 1 and
    -1, too."""
    if not all(is_number(value) for value in known.all):
        return ()
    if isinstance(verdict, Thumb):
        return known.moved(1), _Coding(frozenset((1, -1)), frozenset())
    return (known.moved(1 if min(known.sides) == 0 else -1),)


def _of_sign(layout: Layout, verdict: Sign, seen: Counter[Any]) -> Doubt:
    """Numbers beyond those of the layout's data set, or none of one side."""
    numbers = [value for value in seen if is_number(value)]
    if not numbers or min(numbers) < 0 or max(numbers) == 0:
        return Doubt()
    if verdict.most is not None and max(numbers) > verdict.most:
        return Doubt(refusal=_sentence(layout, verdict.path, seen, f", from {-verdict.most:g} to {verdict.most:g}"))
    if len(numbers) > 1 and seen.total() >= ENOUGH:
        return Doubt(refusal=_sentence(layout, verdict.path, seen))
    return Doubt(note=_note(layout, verdict.path, seen))


def _shown(values: Iterable[Any]) -> str:
    """`0 and 1`, `A, B and tie`, or the first few of many."""
    texts = sorted(f"{value:g}" if is_number(value) else str(value)[:20] for value in values)
    return one_of(texts[:_SHOWN]).replace(" or ", " and ") + (", …" if len(texts) > _SHOWN else "")


def _sentence(layout: Layout, path: str, seen: Counter[Any], reach: str = "") -> str:
    few = f"{seen.total()} rows" if seen.total() > 1 else "row"
    return (
        f"its column {path} says {_shown(seen)} in the first {few}, and layout {layout.name} means another coding "
        f"({layout.means}{reach}): say what the values mean in a source of jpo data build, {layout.in_own_words}; "
        f"where they mean what {layout.name} does, write layout: {layout.name} there"
    )


def _note(layout: Layout, path: str, seen: Counter[Any]) -> str:
    rows = f"{seen.total()} rows" if seen.total() > 1 else "one row"
    return (
        f"{path} says {_shown(seen)} and nothing else in {rows}, and is read as {layout.name} has it ({layout.means}): "
        f"where it is coded otherwise, say so in a source of jpo data build, {layout.in_own_words}"
    )

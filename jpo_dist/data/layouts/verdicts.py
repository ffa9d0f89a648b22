"""Which of two responses is better, as data say it: by a label, by a number, by two scores, by flags, by votes.

Each kind knows the columns that it reads, and says for people which side it means.
"""

from typing import Any, NamedTuple

from jpo_dist.data import row_values
from jpo_dist.data.layouts.values import column_of, one_of, value_at
from jpo_dist.data.messages.written import anything_in
from jpo_dist.data.row_values import BadField, Row

FIRST, SECOND, TIE = 0, 1, 2


class Always(NamedTuple):
    """The columns themselves say it: chosen and rejected."""

    side: int = FIRST

    def of(self, row: Row) -> int:
        return self.side

    @property
    def paths(self) -> tuple[str, ...]:
        return ()

    @property
    def is_number(self) -> bool:
        return False

    def means(self, a: str, b: str) -> str:
        return f"{(a, b)[self.side]} is better"


class Labels(NamedTuple):
    """A value that names the better side, or neither."""

    path: str
    a: tuple[Any, ...]
    b: tuple[Any, ...]
    tie: tuple[Any, ...] = ()

    def of(self, row: Row) -> int:
        return _side(value_at(row, self.path), self.path, (self.a, self.b, self.tie))

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def is_number(self) -> bool:
        return any(isinstance(value, bool | int | float) for value in (*self.a, *self.b))

    def means(self, a: str, b: str) -> str:
        sides = ((self.a, f"{a} is better"), (self.b, f"{b} is better"), (self.tie, "a tie"))
        return f"{self.path}: " + "; ".join(f"{one_of(values)}: {said}" for values, said in sides if values)


class Sign(NamedTuple):
    """A number whose sign names the better side; 0, and what is no farther from it than `tie_within`, is a tie."""

    path: str
    negative: int = FIRST
    tie_within: float = 0.0
    most: float | None = None
    """How far from 0 the numbers of a public data set go; None: as far as they like."""

    def of(self, row: Row) -> int:
        value = row_values.number(value_at(row, self.path), self.path)
        if abs(value) <= self.tie_within:
            return TIE
        return self.negative if value < 0 else 1 - self.negative

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def is_number(self) -> bool:
        return True

    def means(self, a: str, b: str) -> str:
        below, above = (a, b) if self.negative == FIRST else (b, a)
        zero = f"within {self.tie_within:g} of 0" if self.tie_within else "0"
        return f"{self.path}: below 0: {below} is better; above: {above}; {zero}: a tie"


class Nearer(NamedTuple):
    """A number between two, which names the side that it is nearer to; the middle is a tie, and so are those of
    `tie`."""

    path: str
    a: float
    b: float
    tie: tuple[float, ...] = ()

    def of(self, row: Row) -> int:
        value = row_values.number(value_at(row, self.path), self.path)
        if value in self.tie or value == (self.a + self.b) / 2:
            return TIE
        if not min(self.a, self.b) <= value <= max(self.a, self.b):
            raise BadField(self.path, f"not from {self.a:g} to {self.b:g}")
        return FIRST if abs(value - self.a) < abs(value - self.b) else SECOND

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def is_number(self) -> bool:
        return True

    def means(self, a: str, b: str) -> str:
        ties = one_of((*(f"{one:g}" for one in self.tie), f"{(self.a + self.b) / 2:g}"))
        return f"{self.path}: nearer to {self.a:g}: {a} is better; to {self.b:g}: {b} is better; {ties}: a tie"


class Better(NamedTuple):
    """A score of each side. Equal ones, and those no farther apart than `tie_within`, are a tie."""

    a: str
    b: str
    high_wins: bool = True
    tie_within: float = 0.0

    def of(self, row: Row) -> int:
        first, second = (row_values.number(value_at(row, path), path) for path in (self.a, self.b))
        if abs(first - second) <= self.tie_within:
            return TIE
        return FIRST if (first > second) == self.high_wins else SECOND

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.a, self.b)

    @property
    def is_number(self) -> bool:
        return True

    def means(self, a: str, b: str) -> str:
        order = "higher" if self.high_wins else "lower"
        equal = f"no more than {self.tie_within:g} apart" if self.tie_within else "equal"
        return f"{self.a} and {self.b}: the {order} is better; {equal}: a tie"


class Confirmed(NamedTuple):
    """The columns say which is better, and a score of each side confirms it: equal ones make a tie, others the wrong
    way round a bad row."""

    a: str
    b: str

    def of(self, row: Row) -> int:
        high, low = (row_values.number(value_at(row, path), path) for path in (self.a, self.b))
        if high < low:
            raise BadField(self.a, f"less than {self.b}")
        return TIE if high == low else FIRST

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.a, self.b)

    @property
    def is_number(self) -> bool:
        return True

    def means(self, a: str, b: str) -> str:
        return f"{a} is better; {self.a} equal to {self.b}: a tie"


class Flags(NamedTuple):
    """A flag of each side and one of a tie, of which one is set."""

    a: str
    b: str
    tie: str

    def of(self, row: Row) -> int:
        flags = [row_values.thumb(value_at(row, path), path) for path in self.paths]
        if sum(flags) != 1:
            raise BadField(self.a, f"not one of {', '.join(self.paths)} is set")
        return flags.index(1.0)

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.a, self.b, self.tie)

    @property
    def is_number(self) -> bool:
        return True

    def means(self, a: str, b: str) -> str:
        return f"{self.a}: {a} is better; {self.b}: {b} is better; {self.tie}: a tie"


class NameOf(NamedTuple):
    """The name of the better side's model, or a flag that says that both are equal."""

    path: str
    a: str
    b: str
    """Where the names of the two models stand."""
    tie: str

    def of(self, row: Row) -> int:
        said, *names = (value_at(row, path) for path in (self.path, self.a, self.b))
        if (said is None or said == "") and row_values.thumb(value_at(row, self.tie), self.tie):
            return TIE
        if names[0] == names[1] or said not in names:
            raise BadField(self.path, f"not one of {self.a} and {self.b}, or both are the same")
        return names.index(said)

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path, self.a, self.b, self.tie)

    @property
    def is_number(self) -> bool:
        return False

    def means(self, a: str, b: str) -> str:
        return f"{self.path}: the name in {self.a}: {a} is better; that in {self.b}: {b} is better; {self.tie}: a tie"


class Votes(NamedTuple):
    """What several people said, each by a value that names a side: most votes decide, and where none has the most it is
    a tie. Null is no vote."""

    paths: tuple[str, ...]
    """Where votes stand: one, or a list of objects with one in each."""
    a: tuple[Any, ...]
    b: tuple[Any, ...]
    tie: tuple[Any, ...]
    key: str | None = None
    """Where in each object of a list the vote stands."""

    def of(self, row: Row) -> int:
        counts = [0, 0, 0]
        for path in self.paths:
            for n, value in enumerate(self._at(row, path)):
                at = path if self.key is None else f"{path}[{n}].{self.key}"
                if value is not None:
                    counts[_side(value, at, (self.a, self.b, self.tie))] += 1
        if not any(counts):
            raise BadField(self.paths[0], "no vote")
        return counts.index(max(counts)) if counts.count(max(counts)) == 1 else TIE

    def _at(self, row: Row, path: str) -> list[Any]:
        """The votes at one path."""
        found = value_at(row, path)
        if self.key is None:
            return [found]
        found = anything_in(found)
        if found is not None and not isinstance(found, list):
            raise BadField(path, "not a list")
        return [value_at(one, self.key) if isinstance(one, dict) else one for one in found or ()]

    @property
    def is_number(self) -> bool:
        return any(isinstance(value, int | float) for value in (*self.a, *self.b))

    def means(self, a: str, b: str) -> str:
        sides = ((self.a, f"{a} is better"), (self.b, f"{b} is better"), (self.tie, "a tie"))
        said = "; ".join(f"{one_of(values)}: {meaning}" for values, meaning in sides)
        votes = ", ".join(self.paths) + (f" ({self.key})" if self.key else "")
        return f"{votes}: {said}; most votes decide, and none with the most: a tie"


Verdict = Always | Labels | Sign | Nearer | Better | Confirmed | Flags | NameOf | Votes


def columns(verdict: Verdict) -> tuple[str, ...]:
    """The columns that a verdict reads."""
    return tuple(dict.fromkeys(column_of(path) for path in verdict.paths))


def numbers(verdict: Verdict) -> frozenset[str]:
    """Those of them that hold numbers."""
    return frozenset(columns(verdict) if verdict.is_number else ())


def _side(value: Any, field: str, sides: tuple[tuple[Any, ...], ...]) -> int:
    """FIRST, SECOND or TIE, by the values that mean them. Raises BadField."""
    for side, values in enumerate(sides):
        if any(_same(value, named) for named in values):
            return side
    raise BadField(field, f"not {one_of(value for values in sides for value in values)}")


def _same(value: Any, named: Any) -> bool:
    """Equal, but True is not 1: whoever writes both means two things."""
    return value == named and isinstance(value, bool) == isinstance(named, bool)

"""What a layout is, and what one row of it says.

A layout is data: the columns it is found by, where in a row everything stands, and which side a label means. Its `read`
is one of the forms (pairs, one, several) with that data, or a function of its own where data is not enough (trees).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jpo_dist.data.file_formats import Rows
from jpo_dist.data.row_values import BadField, Row
from jpo_dist.records.comparisons import Comparison, Rating

Kind = Literal["pairs", "responses", "candidates"]
Turns = Literal["last", "all"]


class Names(NamedTuple):
    """What is to be known of a row beside its text: where it stands, its scales, and which of several scores counts."""

    source: str
    """FILE:LINE, for people: files of several folders may have it in common."""
    scale: str
    """That of scores, which compare with others of their source."""
    ranking: str
    """That of places, which compare within the row: TABLE:LINE, and no other row has it."""
    score: tuple[str, ...] = ()
    """Keys of a completion whose mean is its score; none: the first there is of SCORE_FIELDS."""
    turns: Turns = "last"
    """Which of the assistant's turns in a conversation are responses."""


class Reading(NamedTuple):
    """What one row says. In layouts of responses, `ratings` + `bad` + `left_out` are all its responses."""

    comparison: Comparison | None = None
    ratings: tuple[Rating, ...] = ()
    bad: tuple[BadField, ...] = ()
    left_out: tuple[BadField, ...] = ()
    """What is read and cannot be used, though nothing is wrong with the row: counted and named, never an error."""
    comparisons: tuple[Comparison, ...] = ()
    """What a row of responses says of two of them by itself, where it gives them no scores: the best one against each
    of the others."""


@dataclass(frozen=True, eq=False)
class Layout:
    """A layout: the `columns` that must all be there for it to be found, and how its rows are read."""

    name: str
    kind: Kind
    columns: tuple[str, ...]
    read: Callable[[Row, Names], Reading]
    asks: tuple[str, ...] = ()
    """Columns that are an instruction, text or messages: other columns may add to them. Of two, one for each side."""
    wholes: tuple[str, ...] = ()
    """Columns that are conversations with their responses."""
    keys: frozenset[str] = frozenset()
    """What is read of each of several responses that are objects; none: its own reading knows."""
    also: tuple[str, ...] = ()
    """Columns that are read where they are there, beside `weight` and `confidence`."""
    glances: frozenset[str] = frozenset()
    """Those of `also` of which it matters that they are there, and not what they say."""
    carries_nothing: frozenset[str] = frozenset()
    """Columns that data of this layout are known to have, and that say nothing of an item or a comparison: ids, names
    of models, scores of another kind, copies of what is read."""
    numbers: frozenset[str] = frozenset()
    """Columns that hold numbers, so that their cells in a CSV file are not text."""
    fits: Callable[[Row], bool] | None = None
    """Whether a row is of this layout, where its columns may mean something else as well. None: the columns tell."""
    unroll: Callable[[Callable[[], Rows]], Rows] | None = None
    """From the rows of a table to the rows that `read` takes, one for one: for rows that refer to each other."""
    public: str = ""
    """Public data sets and tools that write it."""
    means: str = ""
    """Which side its label means, for people."""
    verdict: Any = None
    """How it says that (a Verdict or a Thumb), where its values can be coded otherwise in other data."""
    in_own_words: str = ""
    """How a source of `jpo data build` says the same of its columns, the values of the label left open."""
    is_shared: bool = False
    """Whether other data have these very columns, too: what their label means may then differ."""
    example: tuple[Row, ...] = ()
    """One row of it; of rows that refer to each other, a few."""

    @property
    def reads(self) -> frozenset[str]:
        """Every column that its reading looks at."""
        return frozenset(self.columns) | frozenset(self.also) | WEIGHTS


CARRY_NOTHING = frozenset(
    {"id", "_id", "idx", "index", "uid", "uuid", "hash", "prompt_id", "question_id", "conversation_id", "row_id",
     "source", "dataset", "subset", "split", "category", "domain", "task", "topic", "tags", "language", "lang",
     "model", "models", "model_name", "chosen_model", "rejected_model", "chosen-model", "rejected-model",
     "date", "created", "created_at", "timestamp", "tstamp", "license", "num_turns", "turns", "length", "tokens"}
)  # fmt: skip
"""Columns that say nothing of an item in data of any layout: ids, names of models and sources, times, counts."""
WEIGHTS = frozenset({"weight", "confidence"})
"""Read in every layout of pairs, where they are there."""

"""Layouts as data: in which columns of a row an instruction, responses and a verdict stand, and what a label means.

Stations: layout (what one is) -> values, verdicts (at a place in a row) -> pairs, responses (forms of rows) -> own
(plain layouts), public/ (public data sets) -> detect (which of them a row is of, and refusals of files that are of
none); config is a layout in YAML, coding doubts what a label is taken to mean, page tells people of all.
May import row_values, messages and file_formats of data, and records.
"""

from jpo_dist.data.layouts.detect import (
    COLUMNS,
    LAYOUTS,
    NAMES,
    ROWS_TO_DETECT,
    in_own_words,
    keys_of,
    lacking,
    layout_of,
    nearest,
    read_row,
    refuse_absent,
    refuse_by_column,
    refuse_rows_inside,
)
from jpo_dist.data.layouts.layout import CARRY_NOTHING, WEIGHTS, Layout, Names, Reading, Turns
from jpo_dist.data.layouts.own import CONVERSATIONS
from jpo_dist.data.layouts.responses import mean_score

RATING_COLUMNS = frozenset({"score", "helpfulness", "label"})
"""Each rates the only response of its row."""
THUMBS = frozenset({"thumbs", "kto-messages", "kto-alpaca"})
"""Names of the layouts whose scores are 1 for what is liked and 0 for what is not."""
RANKINGS = frozenset({"responses", "alpaca-list"})
"""Names of the layouts that may hold a list of texts, best first."""
UNRATED = frozenset({"unscored", "conversation"})
"""Names of the layouts of responses that nobody has rated."""
TRANSCRIPTS = frozenset({"nectar"})
"""Names of the layouts that read a prompt of the HH kind as turns."""

__all__ = [
    "CARRY_NOTHING",
    "COLUMNS",
    "CONVERSATIONS",
    "LAYOUTS",
    "NAMES",
    "RANKINGS",
    "RATING_COLUMNS",
    "ROWS_TO_DETECT",
    "THUMBS",
    "TRANSCRIPTS",
    "UNRATED",
    "WEIGHTS",
    "Layout",
    "Names",
    "Reading",
    "Turns",
    "in_own_words",
    "keys_of",
    "lacking",
    "layout_of",
    "mean_score",
    "nearest",
    "read_row",
    "refuse_absent",
    "refuse_by_column",
    "refuse_rows_inside",
]

"""What becomes of each column of a table, and of each key of its messages: read, known to carry nothing, or named.

Where an instruction may be in a column that nobody reads, the table is refused.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jpo_dist.data.config import SourceConfig
from jpo_dist.data.layouts import CARRY_NOTHING, RANKINGS, TRANSCRIPTS, UNRATED, WEIGHTS, Layout, layout_of
from jpo_dist.data.messages import context, instruction, tools, transcripts, turns
from jpo_dist.data.messages.columns import (
    SHOWN,
    below,
    example_of,
    is_verdict,
    judges_itself,
    note_on_transcripts,
    opposed,
)
from jpo_dist.data.read_report import TableColumns
from jpo_dist.data.row_values import BadField, Row

MESSAGE_KEYS = frozenset(
    (*turns.ROLE_KEYS, *turns.CONTENT_KEYS, *tools.TOOL_LISTS, *tools.CALL_KEYS, *tools.REASONING_KEYS)
) | {*tools.RESULT_KEYS, *tools.MEDIA_KEYS}
_ROLE_KEYS = frozenset(turns.ROLE_KEYS)
_NOTHING = re.compile(
    r"""(.*_)? (ids?|idx|index|uuid|uid|hash|sha|md5|key|row|number|turn|models?|model_name|generator|engine|source|
    sources|origin|dataset|data_source|subset|split|url|link|license|version|domain|category|categories|subject|topic|
    topics|task|task_type|type|kind|tags?|lang|language|languages|locale|country|date|time|timestamp|tstamp|created|
    created_at|updated|updated_at|creation_time|author|username|annotators?|worker|judge|status|seed|temperature|
    difficulty|level|scores?|ratings?|ranks?|rewards?|margins?|logps?|votes?|ups|likes|ratio|length|len|tokens|count|
    order|winner|preference|quality) (_.*)?""",
    re.VERBOSE,
)
_FEW_WORDS = 5


class Account:
    """An account of one table, which fills while its rows are read."""

    def __init__(
        self, file: str, layout: Layout | None, source: SourceConfig, rows: list[dict[str, Any]], renamed: Sequence[Row]
    ) -> None:
        """`rows`: the first of the table, as they are; `renamed`: under the names that layouts know.

        Raises ValueError for a table whose instructions would be lost."""
        self.file, self.layout, self.source = file, layout, source
        self.ours = {their: ours for ours, their in source.columns.items()}
        questions = {*instruction.QUESTIONS, *instruction.COPIES}
        self.decided = source.layout != "auto" or not questions.isdisjoint(source.columns)
        self.taken: dict[str, str] = {}
        self.seen: dict[str, str] = {}
        """An example of the text of each column, "" where there is none."""
        self.keys: dict[str, str] = {}
        self.cut, self.is_cut = "", False
        self.rating: set[str] = set()
        """Columns with a number that may rate a response, where the layout reads none."""
        self.watched: list[str] = []
        self.opposed: list[tuple[str, str]] = []
        """Columns with scores of `chosen` and of `rejected` that the layout does not read."""
        self.against: Counter[str] = Counter()
        """How many rows have a score of `chosen` below that of `rejected`."""
        self.places: context.Places | None = None
        if layout is not None:
            self.places = context.Places(layout.columns, layout.reads, layout.asks, layout.wholes)
            self._look(layout, rows, renamed)
            self.watched = [source.columns.get(ours, ours) for ours in (layout.reads - WEIGHTS) | self.instructs]

    def _look(self, layout: Layout, rows: list[dict[str, Any]], renamed: Sequence[Row]) -> None:
        for row in rows:
            self._look_at_columns(layout, row)
        if layout.kind == "pairs":
            self.opposed = opposed([name for name in self.seen if self.ours.get(name, name) not in layout.reads])
        lost: list[instruction.Lost] = []
        for known in renamed:
            try:
                self.filled(known)
            except instruction.Lost as error:
                lost.append(error)
            except BadField:
                pass  # the row is bad, and named as such when it is read
        if 2 * len(lost) > len(renamed):
            raise ValueError(f"{self.file}: {lost[0]}; {_fix(lost[0].field)}")
        self._look_for_scores(layout, renamed)
        if layout.name not in TRANSCRIPTS:
            whole = [row for row in renamed if "response" in layout.columns or "response" not in row]
            self.cut = note_on_transcripts(layout.asks, whole)
        if "prompt" not in layout.columns and (
            layout.asks == ("prompt",) or set(layout.wholes) == set(instruction.SIDES)
        ):
            self._look_for_instruction(layout, renamed)

    def _look_at_columns(self, layout: Layout, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if not self.seen.get(name):
                self.seen[name] = example_of(value)
            rates = is_verdict(name) or isinstance(value, bool)
            if layout.name in UNRATED and rates and isinstance(value, bool | int | float):
                self.rating.add(name)

    def _look_for_scores(self, layout: Layout, rows: Sequence[Row]) -> None:
        """Raises ValueError where texts would be taken for a ranking, best first, though a column has a number for each
        of them: their order would then say what nobody has said."""
        if layout.name not in RANKINGS or self.source.layout != "auto" or self.source.scores:
            return
        column = layout.columns[-1]
        for row in rows:
            found = row.get(column)
            if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
                continue
            for name, value in row.items():
                if name not in layout.reads and is_verdict(name) and _is_numbers(value, len(found)):
                    raise ValueError(
                        f"{self.file}: {column} would be a ranking, best first, and its column {name} has a number for "
                        f"each ({value}): say what they mean in a source of jpo data build, layout: {{instruction: "
                        f"{layout.columns[0]}, responses: {column}, scores: {name}, better: higher}} or better: lower, "
                        f"or layout: {layout.name} where the order is the ranking; or take {name} out"
                    )

    def _look_for_instruction(self, layout: Layout, rows: Sequence[Row]) -> None:
        """Raises ValueError where the common beginning of two texts would be taken for the instruction, though a column
        may hold it. Transcripts and messages have their instruction in them."""
        bare = [row for row in rows if "prompt" not in row and context.is_bare(row)]
        bare = [row for row in bare if not layout.asks or context.stands_in(row) is None]
        others = dict.fromkeys(name for row in bare for name in row if name not in layout.reads)
        for name in others if self.source.layout == "auto" else ():
            if any(may_instruct(name, row.get(name)) for row in bare):
                their = self.source.columns.get(name, name)
                raise ValueError(
                    f"{self.file}: chosen and rejected have no prompt beside them, and its column {their} may hold it "
                    f"({self.seen[their]}): rename it to prompt, or write columns: {{prompt: {their}}} in a source of "
                    "jpo data build; where it holds something else, write layout: implicit there, or take it out"
                )
        self.cut = _cut(bare)
        self.is_cut = bool(self.cut)

    def filled(self, row: Row) -> Row:
        """The row with its whole instruction. Raises BadField."""
        if self.places is None:
            return row
        found = context.filled(row, self.places, self.decided)
        for name, what in found.taken.items():
            if self.taken.get(name, "empty") == "empty":
                self.taken[name] = what
        return found.row

    def see(self, row: Mapping[str, Any]) -> None:
        """Note the columns of a raw row that none of the first had, and keys of its messages that are not read.

        Raises BadField for a new column that may hold the instruction where it is taken from two texts."""
        if not row.keys() <= self.seen.keys():
            for name in row.keys() - self.seen.keys():
                self.seen[name] = example_of(row[name])
                if self.is_cut and may_instruct(name, row[name]) and self.source.layout == "auto":
                    del self.seen[name]
                    raise BadField(name, "may hold the instruction")
        for names in self.opposed:
            self.against[names[0]] += below(row, names)
        for name in self.watched:
            value = row.get(name)
            if isinstance(value, list) and all(isinstance(one, dict) and one.keys() <= MESSAGE_KEYS for one in value):
                continue  # nearly all lists are so
            if isinstance(value, list | dict) or (isinstance(value, str) and value[:1] in ("[", "{")):
                self._see_keys(name, value)

    def _see_keys(self, column: str, value: Any) -> None:
        try:
            found = turns.listed(value, "") or ()
        except BadField:
            return
        for one in found:
            if not isinstance(one, dict):
                continue
            known = MESSAGE_KEYS
            if _ROLE_KEYS.isdisjoint(one):  # one of several responses
                if self.layout is None or not self.layout.keys:
                    continue
                known = self.layout.keys.union(self.source.scores)
            for key in one.keys() - known:
                name = f"{column}[].{key}"
                if key in instruction.SYSTEMS and not instruction.is_blank(one[key]) and not self.decided:
                    reason = (
                        "a system prompt of that response alone: give it a row with this system prompt, or take it out"
                    )
                    raise instruction.Lost(name, reason)
                self.keys[name] = self.keys.get(name) or example_of(one[key])

    @property
    def instructs(self) -> set[str]:
        """Columns that are the instruction in the first rows, though the layout does not name them."""
        return {name for name, what in self.taken.items() if what == instruction.INSTRUCTS}

    def done(self) -> list[TableColumns]:
        """The account; nothing for a table without any row."""
        if self.layout is None:
            return []
        read, nothing, unread = dict[str, str](), list[str](), dict[str, str]()
        wanted = {self.source.columns.get(ours, ours) for ours in self.layout.reads}
        wanted.update(self.source.groups)
        for name, example in self.seen.items():
            what = self.taken.get(self.ours.get(name, name))
            if name in wanted or name in self.source.scores or name in self.ours:
                read[name] = ""
            elif what and what != "empty":
                read[name] = what
            elif name in self.rating - self.layout.carries_nothing:
                unread[name] = "may rate the response: say so by score or layout in a source of jpo data build"
            elif not example and name not in self.layout.carries_nothing and judges_itself(name):
                unread[name] = "a judgement of its own, which nothing here follows"
            elif not example or name in self.layout.carries_nothing or carries_nothing(name, example):
                nothing.append(name)
            else:
                unread[name] = example
        for name, example in self.keys.items():
            key = name.rpartition(".")[2]
            if not example or carries_nothing(key, example):
                nothing.append(name)
            else:
                unread[name] = example
        against = {name: count for name, count in self.against.items() if count}
        return [TableColumns(self.file, self.layout.name, read, tuple(nothing), unread, self.cut, against)]


def stand_in(row: Row) -> set[str]:
    """`prompt` where other columns are the instruction and no layout reads all of them; else nothing."""
    base, found = context.stands_in(row), layout_of(row)
    covered = found is not None and base in found.reads and instruction.NAMES & row.keys() <= found.reads
    return set() if base is None or covered else {"prompt"}


def _fix(name: str) -> str:
    """What to do about a column that would be lost."""
    if name in (*instruction.QUESTIONS, *instruction.COPIES):
        named = f"name the instruction in a source of jpo data build, such as columns: {{prompt: {name}}}"
        return f"take one of the two columns out of the file, or {named}"
    if name in instruction.MEDIA:
        return "take the rows that have some out of the file"
    if name in instruction.ALIKE:
        return (
            f"it may be {instruction.ALIKE[name]}, or put it into the prompt; where it is something else, name the "
            "layout in a source of jpo data build, or take the column out of the file"
        )
    if name in instruction.APART:
        return "write it into the response, as the model writes it, or take the column out of the file"
    return "put it into the messages or the prompt, or take the column out of the file"


def carries_nothing(name: str, example: str) -> bool:
    """Whether a column is known by its name to be about the row, as ids and scores are, and its text may be so."""
    known = name in CARRY_NOTHING or _NOTHING.fullmatch(re.sub(r"[-. ]", "_", name.lower()))
    return bool(known) and len(example.split()) <= _FEW_WORDS


def may_instruct(name: str, value: Any) -> bool:
    """Whether a value may be an instruction: several words, under a name that is not known to carry none."""
    example = example_of(value)
    many = len(example.split()) > 1 or any(ord(letter) >= 0x2E80 for letter in example)
    return (many or name in instruction.NAMES) and bool(example) and not carries_nothing(name, example)


def _is_numbers(value: Any, length: int) -> bool:
    is_list = isinstance(value, list) and len(value) == length
    return is_list and all(isinstance(one, bool | int | float) for one in value)


def _cut(rows: Sequence[Row]) -> str:
    """Where the common beginning ends in the first row that has one, for people."""
    for row in rows:
        if isinstance(row.get("chosen"), str) and isinstance(row.get("rejected"), str):
            try:
                winner, loser = transcripts.two_texts(row["chosen"], row["rejected"])
            except BadField:
                continue
            before = winner.instruction[0].content
            ends = (side.response[:SHOWN] for side in (winner, loser))
            shown = [json.dumps(part, ensure_ascii=False) for part in (before[-SHOWN:], *ends)]
            return f"the instruction is what both texts begin with: {shown[0]}, then {shown[1]} or {shown[2]}"
    return ""

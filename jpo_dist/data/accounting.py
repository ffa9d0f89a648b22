"""What becomes of each column of a table, and of each key of its messages: read, known to carry nothing, or named.

Where an instruction may be in a column that nobody reads, the table is refused.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jpo_dist.data.config import SourceConfig
from jpo_dist.data.layouts import (
    CARRY_NOTHING,
    RANKINGS,
    TRANSCRIPTS,
    UNRATED,
    WEIGHTS,
    Layout,
    Names,
    Reading,
    layout_of,
    objects,
)
from jpo_dist.data.layouts.coding import doubt
from jpo_dist.data.layouts.values import entries, is_none
from jpo_dist.data.messages import beside, context, instruction, turns
from jpo_dist.data.messages.columns import carries_nothing, example_of, may_instruct
from jpo_dist.data.messages.notes import cut_of, notes_on, spelled_nulls, template_notes, unfinished
from jpo_dist.data.read_report import TableColumns
from jpo_dist.data.row_values import BadField, Row

UNNAMED = "a column without a name"
_ROLE_KEYS = frozenset(turns.ROLE_KEYS)


class Account:
    """An account of one table, which fills while its rows are read."""

    def __init__(
        self,
        file: str,
        layout: Layout | None,
        source: SourceConfig,
        rows: list[dict[str, Any]],
        renamed: Sequence[Row],
        empty: frozenset[str] = frozenset(),
    ) -> None:
        """`rows`: the first of the table, as they are; `renamed`: under the names that layouts know; `empty`: columns
        of the table that count as absent where nothing is in them.

        Raises ValueError for a table whose instructions would be lost."""
        self.file, self.layout, self.source, self.empty = file, layout, source, empty
        self.ours = {their: ours for ours, their in source.columns.items()}
        questions = {*instruction.QUESTIONS, *instruction.COPIES}
        self.decided = source.layout != "auto" or not questions.isdisjoint(source.columns)
        self.taken: dict[str, str] = {}
        self.seen: dict[str, str] = {}
        """An example of the text of each column, "" where there is none."""
        self.keys: dict[str, str] = {}
        self.notes, self.is_cut = list[str](), False
        self.judging: dict[str, str] = {}
        """Columns that may judge responses and that the layout does not read, with what to say of them."""
        self.watched = frozenset[str]()
        """Columns whose keys are looked at in each row."""
        self.opposed: list[tuple[str, str]] = []
        """Columns with scores or places of `chosen` and of `rejected` that the layout does not read."""
        self.against: Counter[str] = Counter()
        """In how many rows `rejected` has the better one."""
        self.signs: dict[str, Counter[int]] = {}
        """Of columns that say by their sign which response is better, how many are below and above 0."""
        self.places: context.Places | None = None
        if layout is not None:
            self.places = context.Places(layout.columns, layout.reads, layout.asks, layout.wholes)
            self._look(layout, rows, renamed)
            read = (layout.reads - WEIGHTS) | self.instructs
            self.watched = frozenset(source.columns.get(ours, ours) for ours in read)

    def _look(self, layout: Layout, rows: list[dict[str, Any]], renamed: Sequence[Row]) -> None:
        for row in rows:
            self._look_at_columns(layout, row)
        if layout.kind == "pairs":
            self.opposed = beside.opposed([name for name in self.seen if self.ours.get(name, name) not in layout.reads])
        lost: list[instruction.Lost] = []
        for known in renamed:
            try:
                self.filled(known)
            except instruction.Lost as error:
                lost.append(error)
            except BadField:
                pass  # the row is bad, and named as such when it is read
        if 2 * len(lost) > len(renamed):
            raise ValueError(f"{self.file}: {lost[0]}; {instruction.fix(lost[0].field)}")
        if why := objects.refusal(layout, renamed, self.source.scores):
            raise ValueError(f"{self.file}: {why}")
        self._look_for_other_coding(layout, renamed)
        self._look_for_scores(layout, renamed)
        self.notes += template_notes(renamed)
        self.notes += unfinished(layout.asks, renamed) + beside.notes_of_signs(self.signs)
        if layout.name not in TRANSCRIPTS:
            whole = [row for row in renamed if "response" in layout.columns or "response" not in row]
            around = [name for name in instruction.TEXTS if self.taken.get(name, "empty") != "empty"]
            self.notes += notes_on(layout.asks, (*layout.asks, *around, *layout.columns), whole, self._texts_of)
            self.notes += spelled_nulls((*layout.asks, *around, *layout.columns), renamed)
        if "prompt" not in layout.columns and (
            layout.asks == ("prompt",) or set(layout.wholes) == set(instruction.SIDES)
        ):
            self._look_for_instruction(layout, renamed)

    def _texts_of(self, row: Row) -> list[str]:
        """The texts that a row is read to, none where it cannot be read."""
        try:
            found = self.layout.read(self.filled(row), Names("", "", "")) if self.layout else Reading()
        except BadField:
            return []
        pairs = (found.comparison, *found.comparisons) if found.comparison else found.comparisons
        items = [item for pair in pairs for item in (pair.winner, pair.loser)] + [one.item for one in found.ratings]
        return [text for item in items for text in (item.response, *(turn.content for turn in item.instruction))]

    def _look_at_columns(self, layout: Layout, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if not self.seen.get(name):
                self.seen[name] = example_of(value)
            if layout.reads.isdisjoint((name, self.ours.get(name, name))) and name not in layout.carries_nothing:
                self._look_for_verdict(layout, name, value)

    def _look_for_verdict(self, layout: Layout, name: str, value: Any) -> None:
        if layout.name in UNRATED and beside.rates_alone(name, value):
            self.judging[name] = "may rate the response: say so by score or layout in a source of jpo data build"
        elif layout.kind == "pairs" and self.source.layout == "auto":
            if said := beside.settles(name, value):
                self.judging[name] = f"{said}: say so by layout in a source of jpo data build"
            if sign := beside.signed(name, value):
                self.signs.setdefault(name, Counter())[sign] += 1

    def _look_for_other_coding(self, layout: Layout, rows: Sequence[Row]) -> None:
        """Raises ValueError where the labels of a table are of another coding than its layout's, and notes where they
        may be. Whoever names the layout has decided."""
        if self.source.layout != "auto":
            return
        refusal, note = doubt(layout, rows)
        if refusal:
            raise ValueError(f"{self.file}: {refusal}")
        self.notes += [note] if note else []

    def _look_for_scores(self, layout: Layout, rows: Sequence[Row]) -> None:
        """Raises ValueError where texts would be taken for a ranking, best first, though a column has a number for each
        of them: their order would then say what nobody has said."""
        if layout.name not in RANKINGS or self.source.layout != "auto" or self.source.scores:
            return
        column = layout.columns[-1]
        texts = [(row, found) for row in rows if isinstance(found := entries(row.get(column)), list)]
        texts = [(row, found) for row, found in texts if all(isinstance(one, str) for one in found)]
        for row, found in texts:
            for name in row.keys() - layout.reads:
                value = entries(row[name])
                if beside.ranks_otherwise(name, value, found):
                    raise ValueError(self._other_ranking(layout, name, value))
                if beside.numbers_beside(name, value, len(found)):
                    self.judging[name] = "a number for each response, which nothing here follows"
        if texts:
            self.notes.append(f"{column} are texts without scores, and are taken for a ranking, best first")

    def _other_ranking(self, layout: Layout, name: str, value: Any) -> str:
        asked, column = layout.columns[0], layout.columns[-1]
        says, fix = f"says which is best ({value})", f"put the best of {column} first and take {name} out"
        if isinstance(value, list) and not any(isinstance(one, dict | list) for one in value):
            said = f"{{instruction: {asked}, responses: {column}, scores: {name}, better: higher}}"
            says = f"has a number for each ({value})"
            fix = f"say what they mean in a source of jpo data build, layout: {said} or better: lower"
            if all(isinstance(one, bool) for one in value):
                of_steps = "they judge the steps of one response, as in data for process rewards"
                fix += f" (not where {of_steps}, and {column} are no responses)"
        return (
            f"{self.file}: {column} would be a ranking, best first, and its column {name} {says}: {fix}, or write "
            f"layout: {layout.name} where the order is the ranking; or take {name} out"
        )

    def _look_for_instruction(self, layout: Layout, rows: Sequence[Row]) -> None:
        """Raises ValueError where the common beginning of two texts would be taken for the instruction, though a column
        may hold it. Transcripts and messages have their instruction in them."""
        bare = [row for row in rows if "prompt" not in row and context.is_bare(row)]
        bare = [row for row in bare if not layout.asks or context.stands_in(row) is None]
        others = dict.fromkeys(name for row in bare for name in row if name not in layout.reads)
        for name in others if self.source.layout == "auto" else ():
            if any(may_instruct(name, row.get(name), CARRY_NOTHING) for row in bare):
                their = self.source.columns.get(name, name)
                raise ValueError(
                    f"{self.file}: chosen and rejected have no prompt beside them, and its column {their} may hold it "
                    f"({self.seen[their]}): rename it to prompt, or write columns: {{prompt: {their}}} in a source of "
                    "jpo data build; where it holds something else, write layout: implicit there, or take it out"
                )
        cut = cut_of(bare)
        self.is_cut = bool(cut)
        self.notes += [cut] if cut else []

    def present(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row without the columns that count as absent."""
        return {name: value for name, value in row.items() if name not in self.empty or not is_none(value)}

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
                if self.is_cut and may_instruct(name, row[name], CARRY_NOTHING) and self.source.layout == "auto":
                    del self.seen[name]
                    raise BadField(name, "may hold the instruction")
        for names in self.opposed:
            self.against[names[0]] += beside.contradicts(row, names)
        for name, value in row.items():
            if isinstance(value, str):
                may_have_keys = value.startswith(("[", "{"))
            else:
                may_have_keys = isinstance(value, dict) or (isinstance(value, list) and not turns.are_plain(value))
            if may_have_keys and name in self.watched:
                self._see_keys(name, value)

    def _see_keys(self, column: str, value: Any) -> None:
        try:
            found = turns.listed(value, "") or ()
        except BadField:
            return
        for one in found:
            if not isinstance(one, dict) or self.layout is None:
                continue
            if not _ROLE_KEYS.isdisjoint(one):
                known = turns.keys_read(one).union(self.layout.keys if self.layout.columns[-1:] == (column,) else ())
            elif self.layout.keys:  # one of several responses
                known = self.layout.keys.union(self.source.scores)
            else:
                continue
            for key in (key for key in one if key not in known):
                name = f"{column}[].{key}"
                if key in instruction.SYSTEMS and not instruction.is_blank(one[key]) and not self.decided:
                    reason = (
                        "a system prompt of that response alone: give it a row with this system prompt, or take it out"
                    )
                    raise instruction.Lost(name, reason)
                self.keys[name] = self.keys.get(name) or example_of(one[key])
                if beside.is_not_learned(key, one[key]):
                    self.judging[name] = "says that a turn is not to be learned from, and is not followed"

    @property
    def instructs(self) -> set[str]:
        """Columns that are the instruction in the first rows, though the layout does not name them."""
        return {name for name, what in self.taken.items() if what == instruction.INSTRUCTS}

    def _unread(self, place: str, name: str, example: str, known: frozenset[str] = frozenset()) -> str:
        """What to say of a column or key that is not read; "" where it carries nothing."""
        if place in self.judging:
            return self.judging[place]
        if name in known or carries_nothing(name, example, CARRY_NOTHING):
            return ""
        judges = not example and place == name and beside.judges_itself(name)
        return "a judgement of its own, which nothing here follows" if judges else example

    def done(self) -> list[TableColumns]:
        """The account; nothing for a table without any row."""
        if self.layout is None:
            return []
        read, nothing, unread = dict[str, str](), list[str](), dict[str, str]()
        wanted = {self.source.columns.get(ours, ours) for ours in self.layout.reads - self.layout.glances}
        wanted.update(self.source.groups)
        for name, example in self.seen.items():
            what = self.taken.get(self.ours.get(name, name))
            if name in wanted or name in self.source.scores or name in self.ours:
                read[name] = ""
            elif what and what != "empty":
                read[name] = what
            elif said := self._unread(name, name, example, self.layout.carries_nothing):
                unread[name] = said
            else:
                nothing.append(name or UNNAMED)
        for name, example in self.keys.items():
            if said := self._unread(name, name.rpartition(".")[2], example):
                unread[name] = said
            else:
                nothing.append(name)
        against = {name: count for name, count in self.against.items() if count}
        return [TableColumns(self.file, self.layout.name, read, tuple(nothing), unread, "; ".join(self.notes), against)]


def stand_in(row: Row) -> set[str]:
    """`prompt` where other columns are the instruction and no layout reads all of them; else nothing."""
    base, found = context.stands_in(row), layout_of(row)
    covered = found is not None and base in found.reads and instruction.NAMES & row.keys() <= found.reads
    return set() if base is None or covered else {"prompt"}

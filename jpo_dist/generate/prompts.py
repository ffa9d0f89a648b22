"""Instructions to answer, each once, from data of any layout or from the prompt file of a benchmark."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jpo_dist.config.base import ROW_MIB
from jpo_dist.data.collected import Preferences
from jpo_dist.data.config import SourceConfig
from jpo_dist.data.file_formats import Columns
from jpo_dist.data.layouts import layout_of
from jpo_dist.data.locate import ASKED, Table, open_place
from jpo_dist.data.messages.context import Places, filled
from jpo_dist.data.messages.instruction import Lost, fix
from jpo_dist.data.messages.turns import prompt
from jpo_dist.data.read import collect
from jpo_dist.data.read_report import BadRow, BadRowError
from jpo_dist.data.row_values import BadField, sequence, text
from jpo_dist.files import replace
from jpo_dist.records.comparisons import ComparisonSet, Item, Message
from jpo_dist.records.text import as_prompt

ALPACA_EVAL, IFEVAL, MT_BENCH = "alpaca-eval", "ifeval", "mt-bench"


class Prompt(NamedTuple):
    """An instruction that is asked, with the turns that follow its answer, and the benchmark rows it came from."""

    turns: tuple[Message, ...]
    follow_ups: tuple[str, ...] = ()
    """What the user says after the answer, and after the answer to that (MT-Bench)."""
    rows: tuple[dict[str, Any], ...] = ()
    """Of each row of a benchmark's prompt file: {"of": its format, and what its answers must name}."""

    @property
    def id(self) -> str:
        return Item(self.turns, "").instruction_id


class Read(NamedTuple):
    """Prompts in order of first appearance, and counts: rows == prompts + repeated + skipped, rows of instructions."""

    prompts: list[Prompt]
    report: dict[str, Any]


class _Found:
    """Prompts so far; equal ones collapse."""

    def __init__(self) -> None:
        self.rows: dict[tuple[tuple[Message, ...], tuple[str, ...]], list[dict[str, Any]]] = {}
        self.seen, self.skipped = 0, Counter[str]()
        self.bad: list[BadRow] = []
        self.taken: dict[str, str] = {}

    def add(
        self, turns: tuple[Message, ...], follow_ups: tuple[str, ...] = (), row: dict[str, Any] | None = None
    ) -> None:
        self.seen += 1
        self.rows.setdefault((turns, follow_ups), []).extend([row] if row else [])


def read_prompts(where: str | list[str], on_bad_row: Literal["error", "skip"], max_row_mib: int = ROW_MIB) -> Read:
    """All instructions of `where` (see jpo_dist.data.read.read), and of benchmark files.

    Raises BadRowError (with on_bad_row="error"), FileNotFoundError, and ValueError when there is no instruction.
    """
    found, ignored, columns = _Found(), list[str](), Columns(None, frozenset(), max_row_mib)
    for name in [where] if isinstance(where, str) else where:
        for place in open_place(name, ignored):
            reader = None if isinstance(place, ComparisonSet) else _reader(place, columns)
            if reader is None:
                source = SourceConfig(path=name, max_row_mib=max_row_mib)
                _from_preferences(place, source, on_bad_row, found)
            else:
                assert isinstance(place, Table)
                _from_rows(place, reader, columns, on_bad_row, found)
    if not found.rows:
        raise ValueError(f"instructions ({where}): no instruction there; name files that have some")
    prompts = [Prompt(turns, more, tuple(rows)) for (turns, more), rows in found.rows.items()]
    skipped = sum(found.skipped.values())
    report = {
        "rows": found.seen + skipped,
        "prompts": len(prompts),
        "repeated": found.seen - len(prompts),
        "skipped": dict(found.skipped),
        "bad_rows": [bad._asdict() for bad in found.bad[:20]],
        "ignored": ignored,
        "taken": found.taken,
    }
    return Read(prompts, report)


Reader = Callable[[dict[str, Any], _Found], None]


def _whole(row: dict[str, Any], field: str, found: _Found) -> tuple[Message, ...] | None:
    """The instruction in `field` with what other columns put around it (a system prompt, an input, earlier turns,
    tools), as training reads it; None where they add nothing. Raises Lost for what has no place there."""
    try:
        whole = filled(row, Places((field,), frozenset((field, *_ANSWERS)), (field,)))
    except Lost as lost:
        raise BadField(lost.field, f"{lost.reason}; {fix(lost.field)}") from None
    found.taken |= {name: what for name, what in whole.taken.items() if what not in ("", "empty")}
    return whole.row[field] if whole.row[field] is not row[field] else None


_ANSWERS = ("output", "generator", "reference")
"""Columns of benchmarks that are of an answer."""


def _alpaca_eval(row: dict[str, Any], found: _Found) -> None:
    about = {"dataset": row["dataset"]} if isinstance(row.get("dataset"), str) else {}
    whole = _whole(row, "instruction", found)
    if whole is not None:  # its answers are found by these columns
        about |= {name: row[name] for name in ("instruction", "input") if isinstance(row.get(name), str)}
    found.add(whole or prompt(row["instruction"], "instruction"), row={"of": ALPACA_EVAL, **about})


def _ifeval(row: dict[str, Any], found: _Found) -> None:
    asked = text(row["prompt"], "prompt")
    whole = _whole(row, "prompt", found)
    about = {"prompt": asked} if whole is not None else {}
    found.add(whole or (Message("user", asked),), row={"of": IFEVAL, **about})


def _mt_bench(row: dict[str, Any], found: _Found) -> None:
    first, *more = (text(turn, f"turns[{n}]") for n, turn in enumerate(sequence(row["turns"], "turns")))
    if isinstance(row["question_id"], bool) or not isinstance(row["question_id"], int | str):
        raise BadField("question_id", "not a number or text")
    whole = _whole({**row, "turns": first}, "turns", found)
    about = {"of": MT_BENCH, "question_id": row["question_id"]}
    found.add(whole or (Message("user", first),), tuple(more), about)


def _plain(field: str) -> Reader:
    return lambda row, found: found.add(_whole(row, field, found) or prompt(row[field], field))


BENCHMARKS: list[tuple[set[str], Reader]] = [
    ({"question_id", "turns"}, _mt_bench),
    ({"prompt", "instruction_id_list"}, _ifeval),
    ({"instruction", "output", "generator"}, _alpaca_eval),
    ({"instruction", "output", "dataset"}, _alpaca_eval),
]


def _reader(table: Table, everything: Columns) -> Reader | None:
    """How the rows of this table give instructions; None: as data of a layout. By the columns of its first rows."""
    rows = [row for _, row in islice(table.rows(everything), 100) if isinstance(row, dict)]
    columns = [set(row) for row in rows]
    for needed, reader in BENCHMARKS:
        if any(needed <= names for names in columns):
            return reader
    if any(layout_of(row) for row in rows):
        return None
    for field in ("instruction", "prompt"):
        if any(field in names for names in columns):
            return _plain(field)
    return None


def _from_rows(table: Table, reader: Reader, columns: Columns, on_bad_row: str, found: _Found) -> None:
    bad: list[BadRow] = []
    for line, row in table.rows(columns):
        try:
            if isinstance(row, BadField):
                raise row
            reader(row, found)
        except KeyError as missing:
            bad.append(BadRow(table.name, line, str(missing.args[0]), "missing field"))
        except BadField as error:
            bad.append(BadRow(table.name, line, error.field, error.reason))
    if bad and on_bad_row == "error":
        raise BadRowError(*bad[0], others=len(bad) - 1)
    found.skipped.update(one.reason for one in bad)
    found.bad += bad


def _from_preferences(place: Table | ComparisonSet, source: SourceConfig, on_bad_row: Any, found: _Found) -> None:
    said = Preferences()
    collect(place, source, on_bad_row, said, candidates=True)
    items: Iterable[Item] = [item for c in said.comparisons for item in (c.winner, c.loser)]
    for item in [*items, *(rating.item for rating in (*said.ratings, *said.pair_scores))]:
        found.add(item.instruction)
    found.skipped.update(said.tally.skipped)
    found.bad += said.tally.bad_rows


def write_prompts(prompts: list[Prompt], folder: Path) -> None:
    """prompts.jsonl, a line a prompt, so that answers can be written in another format later."""
    lines = (
        json.dumps({"instruction": as_prompt(p.turns), "follow_ups": list(p.follow_ups), "rows": list(p.rows)}) + "\n"
        for p in prompts
    )
    replace(folder / ASKED, lines, sync=True)


def kept_prompts(folder: Path) -> list[Prompt]:
    """What `write_prompts` has written. Raises FileNotFoundError where it has not."""
    if not (folder / ASKED).is_file():
        raise FileNotFoundError(f"{folder} has no {ASKED}: it is no folder of jpo generate; name one")
    with (folder / ASKED).open("rb") as file:
        rows = [json.loads(line) for line in file]
    return [
        Prompt(prompt(row["instruction"], "instruction"), tuple(row["follow_ups"]), tuple(row["rows"])) for row in rows
    ]

"""File formats: each is one function from a file to its rows, (line or row number from 1, row or BadField) in order.

Nothing here knows what the columns mean. What spoils one row spoils only that row: the readers of `datasets` and pandas
give up on the whole file at one bad byte or brace, take "NA" or "42" in a text column for a missing value or a number,
and keep a second copy of everything in a cache.
"""

import codecs
import csv
import gzip
import io
import json
import logging
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from jpo_dist.config.base import ROW_MIB
from jpo_dist.data.foreign import json_window, watched
from jpo_dist.data.foreign.as_utf8 import as_utf8
from jpo_dist.data.foreign.double_keys import double_keys
from jpo_dist.data.foreign.tables import arrow_rows, parquet_rows
from jpo_dist.data.row_values import BadField, is_encodable
from jpo_dist.files import LONGEST_MARK, coding_of

logger = logging.getLogger(__name__)

Rows = Iterator[tuple[int, dict[str, Any] | BadField]]


class Columns(NamedTuple):
    """What is asked of a table: the columns that are wanted, which of them hold numbers, and how large a row may be."""

    wanted: frozenset[str] | None
    """None: all."""
    numbers: frozenset[str]
    row_mib: int = ROW_MIB

    @property
    def most(self) -> int:
        """Bytes of a row."""
        return self.row_mib << 20


_GZIP = ".gz"
LONG_CELL = 5
"""Lines of a CSV cell from which on it is looked whether they are rows."""
_BOM = codecs.BOM_UTF8
_QUOTED = re.compile(rb'"[^"]*"')
_OTHER_SEPARATORS = {b"\t": "tabs", b";": "semicolons"}
"""In a CSV file of a spreadsheet whose language writes numbers with a comma."""
_NOT_JSON, _NOT_UTF8 = BadField("", "not json"), BadField("", "not utf-8")
_REST_NOT_JSON = BadField("", "not json; the rest of the file is not read: where the next row would start is unknown")
_REST_NOT_CSV = BadField("", "not csv: a quote that never closes; the rest of the file is not read")


def _json_lines(file: Path, columns: Columns) -> Rows:
    """One object a line. A blank line is no row, but it counts as a line."""
    with _open(file) as stream:  # as text, U+2028 or a bare CR inside a string would end the line
        for line, raw in enumerate(watched.lines(stream, columns.most), 1):
            if raw is None:
                yield line, BadField("", f"more than {columns.row_mib} MiB in one row (max_row_mib)")
                continue
            raw = raw.removeprefix(_BOM)  # of the file, or of one that was put behind another
            if raw.strip():
                row = _json_row(raw)
                _tell_double_keys(file, line, raw, row)
                yield line, row


def _tell_double_keys(file: Path, line: int, text: str | bytes, value: Any) -> None:
    """Warn of an object that has a key twice: the last one counts."""
    double = [] if (file, "keys") in _told_of else double_keys(text, value)
    if double:
        _told(f"{file}, line {line}: {', '.join(double)} stands there twice, and the last one counts", file, "keys")


def _open(file: Path) -> BinaryIO:
    """Its bytes, unpacked when the name ends in .gz, and as UTF-8 where a mark at their beginning names UTF-16 or
    UTF-32."""
    unpack = gzip.open if file.suffix.lower() == _GZIP else open
    stream = cast(BinaryIO, unpack(file, "rb"))
    coding = coding_of(stream.read(LONGEST_MARK))
    stream.seek(0)
    return stream if coding.startswith("utf-8") else as_utf8(stream, coding, json_window.WINDOW)


def _json_row(raw: bytes) -> dict[str, Any] | BadField:
    try:
        return _object(json.loads(raw.decode("utf-8")))  # loads(bytes) would guess at UTF-16 and UTF-32
    except UnicodeDecodeError:
        return _NOT_UTF8
    except (ValueError, RecursionError):  # ValueError: also an integer of more than 4300 digits
        return _NOT_JSON


def _object(value: Any) -> dict[str, Any] | BadField:
    return value if isinstance(value, dict) else BadField("", "not an object")


def _json(file: Path, columns: Columns) -> Rows:
    """A list of objects, or objects over several lines, read one at a time so that every row before a defect is known;
    else JSON lines."""
    with _open(file) as stream:
        window = json_window.Window(stream)
        while not window.text.strip() and not window.is_end:
            window.more()
        is_list = window.text.lstrip().startswith("[")
        if is_list or json_window.are_spread(window, columns.most):
            yield from _objects(file, window, columns.most, is_list)
            return
    yield from _json_lines(file, columns)


def _objects(file: Path, window: json_window.Window, most: int, is_list: bool) -> Rows:
    decoder, start = json.JSONDecoder(), window.text.index("[") + 1 if is_list else 0
    line, counted = 1, 0
    while True:
        start = window.after_gap(start)
        line, counted = line + window.text.count("\n", counted, start), start
        if not is_list and start == len(window.text):
            return
        if is_list and window.text.startswith("]", start) and window.is_blank_from(start + 1):
            return
        try:
            value, end = window.decoded(decoder, start, most)
        except (ValueError, RecursionError):
            yield line, _REST_NOT_JSON
            return
        text = window.text[start:end]
        _tell_double_keys(file, line, text, value)
        yield line, _object(value) if is_encodable(text) else _NOT_UTF8
        line, start = line + window.text.count("\n", counted, end), window.drop(end)
        counted = start


def _csv(file: Path, columns: Columns) -> Rows:
    """A header line, then rows. All cells are text, those of number columns aside. A row's line is where it starts."""
    csv.field_size_limit(columns.most)  # the default makes an error of a cell over 128 KiB
    between = _separator(file)
    with io.TextIOWrapper(_open(file), encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream, delimiter=between, strict=True)
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise ValueError(f"two columns have the same name in {header}; rename one")
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                is_open = "unexpected end of data" in str(error)
                yield line, _REST_NOT_CSV if is_open and reader.line_num > line else BadField("", "not csv")
                continue
            if reader.line_num - line >= LONG_CELL:
                _tell_long(file, line, reader.line_num, header, cells)
            if cells:
                yield line, _csv_row(header, cells, columns.numbers)


def _separator(file: Path) -> str:
    """What stands between cells: a comma, unless the header has none, and tabs or semicolons instead."""
    with _open(file) as stream:
        header = _QUOTED.sub(b"", stream.readline(json_window.WINDOW))
    other = next((one for one in _OTHER_SEPARATORS if one in header and b"," not in header), None)
    if other is None:
        return ","
    said = f"{file}: read with {_OTHER_SEPARATORS[other]} between its cells, as its first line has no comma"
    _told(said, file, "separator")
    return other.decode()


_told_of: set[tuple[Path, str]] = set()


def _told(text: str, file: Path, about: str) -> None:
    """Warn once of a file, which is read several times."""
    if (file, about) not in _told_of:
        _told_of.add((file, about))
        logger.warning("%s", text)


def _tell_long(file: Path, first: int, last: int, header: list[str], cells: list[str]) -> None:
    """Warn of a cell that goes over lines which look like rows: a quote may be missing, and closed by another row's."""
    for name, cell in zip(header, cells, strict=False):
        inside = cell.split("\n")[1:-1]
        if len(inside) >= LONG_CELL - 1 and len(header) > 1:
            alike = sum(len(next(csv.reader([line]), [])) == len(header) for line in inside)
            if alike > len(inside) / 2:
                _told(
                    f"{file}, line {first}: its {name} goes on to line {last} over lines that look like rows; is a "
                    "quote missing there? They are read as text",
                    file,
                    "cells",
                )


def _csv_row(header: list[str], cells: list[str], numbers: frozenset[str]) -> dict[str, Any] | BadField:
    if len(cells) > len(header):
        return BadField("", "more cells than columns")
    row: dict[str, Any] = dict(zip(header, cells, strict=False))  # a short row: the layout names the missing field
    for name, cell in row.items():
        if not is_encodable(cell):
            return BadField(name, "not utf-8")
    return {name: _number(cell) if name in numbers else cell for name, cell in row.items()}


def _number(cell: str) -> Any:
    """A number, true or false; what is none of these stays text, which the layout then refuses."""
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    with suppress(ValueError):
        return cell if "_" in cell else float(cell)  # to Python 1_0 is 10
    return cell


def _parquet(file: Path, columns: Columns) -> Rows:
    yield from parquet_rows(file, columns.wanted)


def _arrow(file: Path, columns: Columns) -> Rows:
    yield from arrow_rows(file, columns.wanted)


FORMATS: dict[str, Callable[[Path, Columns], Rows]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
LINE_FORMATS = (".jsonl", ".ndjson", ".json", ".csv")


def format_of(file: Path) -> str | None:
    """Its extension among FORMATS; of `pairs.jsonl.gz`, `.jsonl`. None: a file of another kind."""
    name = file.name.lower()
    plain = Path(name.removesuffix(_GZIP)).suffix
    return plain if plain in (LINE_FORMATS if name.endswith(_GZIP) else FORMATS) else None


def rows_of(file: Path, columns: Columns) -> Rows:
    """The rows of a file that has a format. Raises ValueError when it is not such a file at all."""
    kind = format_of(file)
    assert kind is not None, "whoever opens a file asks for its format first"
    try:
        with watched.unchanged(file):
            yield from FORMATS[kind](file, columns)
    except (pa.ArrowException, csv.Error, ValueError, EOFError, OSError, zlib.error, TypeError, KeyError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, and not Arrow's or gzip's
            raise
        raise ValueError(f"{file}: cannot be read as {kind[1:]}: {error}; mend the file or its extension") from error

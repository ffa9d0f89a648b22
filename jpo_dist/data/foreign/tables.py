"""Rows of Parquet and Arrow files, of which nothing is believed.

Arrow takes offsets and lengths as they stand in a file: one damaged byte, or a file that is cut while it is mapped,
ends the process without a word (SIGSEGV, SIGBUS). So a file is read, never mapped, and validated before a value is
looked at. A value that Python cannot hold (a date out of range, bad UTF-8) spoils its row only where its column is
read.

Other programs write what JSON has one type for as several: texts as bytes, numbers as decimals, objects as maps, values
of any type as JSON. They become what they would be in a JSON file.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jpo_dist.data.row_values import BadField

TableRows = Iterator[tuple[int, dict[str, Any] | BadField]]
Plain = Callable[[Any], Any]
"""Makes of a value what it would be in a JSON file."""
_UNREADABLE = (ValueError, OverflowError, TypeError, KeyError, RecursionError, pa.ArrowException)


def parquet_rows(file: Path, wanted: frozenset[str] | None) -> TableRows:
    """The rows of a Parquet file with their numbers from 1; `wanted`: the columns that are read, None: all.

    Raises ValueError, OSError or ArrowException for a file that is damaged.
    """
    with pq.ParquetFile(file, memory_map=False, pre_buffer=False) as table:
        names = table.schema_arrow.names
        _refuse_double(names, wanted)
        known = None if wanted is None else [name for name in names if name in wanted]
        yield from _rows(table.iter_batches(batch_size=1000, columns=known), wanted)


def arrow_rows(file: Path, wanted: frozenset[str] | None) -> TableRows:
    """The same of the IPC file format (Feather), or of the IPC stream that `datasets` keeps its tables in."""
    with pa.OSFile(str(file)) as source:
        batches: Iterable[pa.RecordBatch]
        try:
            reader = pa.ipc.open_file(source)
            batches = (reader.get_batch(n) for n in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            source.seek(0)
            reader = batches = pa.ipc.open_stream(source)
        _refuse_double(reader.schema.names, wanted)
        yield from _rows(batches, wanted)


def _refuse_double(names: list[str], wanted: frozenset[str] | None) -> None:
    double = sorted({name for name in names if names.count(name) > 1 and (wanted is None or name in wanted)})
    if double:
        raise ValueError(f"two columns have the same name: {double[0]!r}; rename one")


def _rows(batches: Iterable[pa.RecordBatch], wanted: frozenset[str] | None) -> TableRows:
    number = 0
    for batch in batches:
        names = [name for name in batch.schema.names if wanted is None or name in wanted]
        for part in _pieces(batch.select(names)):
            columns = [_values(column, name) for column, name in zip(part.columns, names, strict=True)]
            for row in range(part.num_rows):
                number += 1
                yield number, _row(names, [column[row] for column in columns], is_look=wanted is None)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch, validated, some rows at a time. Raises ArrowInvalid."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        for column in batch.columns:  # the rest of it must hold: bad text spoils its own rows
            without_text(column).validate(full=True)
    for start in range(0, batch.num_rows, 1000):
        yield batch.slice(start, 1000)


def without_text(column: pa.Array) -> pa.Array:
    """The same buffers with bytes in the place of text, which may be any."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        plain = pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()
        return pa.Array.from_buffers(plain, len(column), column.buffers(), column.null_count, column.offset)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(column.indices, without_text(column.dictionary), safe=False)
    children: list[pa.Array] = []
    if pa.types.is_struct(kind):
        children = [without_text(column.field(n)) for n in range(kind.num_fields)]
        made = pa.struct([pa.field(kind.field(n).name, child.type) for n, child in enumerate(children)])
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        children = [without_text(column.values)]
        made = (pa.large_list if pa.types.is_large_list(kind) else pa.list_)(children[0].type)
    else:
        return column
    own = column.buffers()[: 1 if pa.types.is_struct(kind) else 2]
    return pa.Array.from_buffers(made, len(column), own, column.null_count, column.offset, children)


def _values(column: pa.Array, name: str) -> list[Any]:
    """A column as Python objects; a BadField for what cannot be one."""
    plain = _plain(column.type)
    try:
        found = list(column.to_pylist(maps_as_pydicts="strict"))
        return found if plain is None else [value if value is None else plain(value) for value in found]
    except _UNREADABLE:
        return [_value(column, row, name, plain) for row in range(len(column))]


def _value(column: pa.Array, row: int, name: str, plain: Plain | None) -> Any:
    try:
        value = column[row].as_py(maps_as_pydicts="strict")
        return value if plain is None or value is None else plain(value)
    except UnicodeDecodeError:
        return BadField(name, "not utf-8")
    except (json.JSONDecodeError, RecursionError):
        return BadField(name, "not json")
    except KeyError:
        return BadField(name, "a map with one key twice")
    except _UNREADABLE:
        return BadField(name, "out of the range of its type")


@lru_cache(maxsize=256)
def _plain(kind: pa.DataType) -> Plain | None:
    """What makes of values of this type those of a JSON file; None where they are so."""
    if isinstance(kind, pa.JsonType):
        return json.loads
    if pa.types.is_decimal(kind):
        return float
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return _text
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_struct(kind):
        named = [(field.name, plain) for field in kind if (plain := _plain(field.type)) is not None]
        return _each_of(tuple(named)) if named else None
    if pa.types.is_map(kind):
        return _in_map(_plain(kind.item_type))
    if pa.types.is_nested(kind) and hasattr(kind, "value_type"):  # lists of every kind
        return _in_list(_plain(kind.value_type))
    return None


def _in_map(plain: Plain | None) -> Plain | None:
    return plain and (lambda found: {key: _or_null(plain, one) for key, one in found.items()})


def _in_list(plain: Plain | None) -> Plain | None:
    return plain and (lambda found: [_or_null(plain, one) for one in found])


def _each_of(named: tuple[tuple[str, Plain], ...]) -> Plain:
    return lambda found: {**found, **{name: _or_null(plain, found[name]) for name, plain in named}}


def _or_null(plain: Plain, value: Any) -> Any:
    return None if value is None else plain(value)


def _text(value: bytes) -> Any:
    """Bytes as the text that they are; as they stand where they are none, as those of a picture."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _row(names: list[str], values: list[Any], is_look: bool) -> dict[str, Any] | BadField:
    """A row. `is_look`: which columns are read is not known yet, so that none can spoil it."""
    for n, value in enumerate(values):
        if isinstance(value, BadField):
            if not is_look:
                return value
            values[n] = None
    return dict(zip(names, values, strict=True))

"""One digest of a whole set, without its columns ever being Python objects all at once."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from jpo_dist.records.columns.pages import chunks

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def fingerprint_of(ids: pa.ChunkedArray, comparisons: pa.Table) -> str:
    """What `digest` says of [ids, {column: values}], piece by piece. Commits are found by it, so it must not change."""
    total = hashlib.sha256(b"[")
    for piece in _array(ids):
        total.update(piece)
    for number, name in enumerate(sorted(comparisons.column_names)):
        total.update(f"{',' if number else ',{'}{json.dumps(name)}:".encode())
        for piece in _array(comparisons[name]):
            total.update(piece)
    total.update(b"}]" if comparisons.num_columns else b",{}]")
    return total.hexdigest()[:32]


def digest_with(ids: pa.ChunkedArray, *others: Any) -> str:
    """What `digest` says of [ids, *others], piece by piece."""
    total = hashlib.sha256(b"[")
    for piece in _array(ids):
        total.update(piece)
    for other in others:
        total.update(f",{_ENCODER.encode(other)}".encode("utf-8", "surrogatepass"))
    total.update(b"]")
    return total.hexdigest()[:32]


def _array(column: pa.ChunkedArray) -> Iterator[bytes]:
    """The JSON of a column."""
    yield b"["
    is_first = True
    for batch in chunks(pa.table([column], ["values"])):
        values = batch.column(0)
        if len(values):
            yield (b"" if is_first else b",") + _members(values)
            is_first = False
    yield b"]"


def _members(values: Any) -> bytes:
    if values.null_count == len(values):
        return b",".join([b"null"] * len(values))
    return _ENCODER.encode(values.to_pylist())[1:-1].encode("utf-8", "surrogatepass")

"""What a ComparisonSet holds: its digests, which do not know where it was read, what it says more than once, and what
another set says too.

Legend: N items, C comparisons, R comparisons of a chunk, K columns of a comparison, M messages of a chunk, Q different
instructions.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from jpo_dist.records.columns.pages import chunks
from jpo_dist.records.comparisons import TRAIN, ComparisonSet
from jpo_dist.records.split import part_of, splits_in

NAMES = ("source",)
"""Columns that say where a comparison was read, and not what it is."""
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Contents(NamedTuple):
    """Digests of a set: `in_order`, 32 hex digits, and `any_order`, 16, which is equal for a set in another order."""

    in_order: str
    any_order: str


def contents_of(built: ComparisonSet) -> Contents:
    """The digests of the items that comparisons use and of all that is said of the comparisons, but not of names."""
    halves_N2 = _halves(built)
    others = sorted(name for name in built.comparisons.column_names if name not in ("winner", "loser", *NAMES))
    whole, total = hashlib.sha256(repr(others).encode()), 0
    for batch in chunks(built.comparisons):  # as one array, rows of a million comparisons would be 400 MiB
        columns = [halves_N2[batch[end].to_numpy()] for end in ("winner", "loser")]
        columns += [_as_numbers(pa.chunked_array([batch[name]])).reshape(-1, 1) for name in others]
        rows_RK = np.ascontiguousarray(np.concatenate(columns, axis=1), dtype="<u8")
        whole.update(rows_RK.data)
        mixed_R = np.zeros(len(rows_RK), dtype=np.uint64)
        with np.errstate(over="ignore"):
            for column_R in rows_RK.T:
                mixed_R = _mixed(mixed_R ^ column_R)
            total += int(mixed_R.sum(dtype=np.uint64))
    return Contents(whole.hexdigest()[:32], f"{total % 2**64:016x}")


def _halves(built: ComparisonSet) -> np.ndarray:
    """The id of each item as two numbers, (N, 2)."""
    found, start = np.empty((built.num_items, 2), dtype="<u8"), 0
    for batch in chunks(built.items.select(["id"])):
        part = np.frombuffer(bytes.fromhex("".join(batch.column(0).to_pylist())), dtype="<u8").reshape(-1, 2)
        found[start : start + len(part)] = part
        start += len(part)
    return found


def _as_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """One number a row, (C,): the bits of a number, a digest of a text or of a list; nothing is told from everything
    else."""
    if pa.types.is_nested(column.type):  # who judged
        texts = [pa.array([json.dumps(row) for row in chunk.to_pylist()], pa.string()) for chunk in column.chunks]
        return _as_numbers(pa.chunked_array(texts, pa.string()))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        encoded = column.combine_chunks().dictionary_encode()
        encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
        words = [hashlib.sha256(word.encode()).digest()[:8] for word in encoded.dictionary.to_pylist()]
        known = np.array([0, *(int.from_bytes(word, "little") for word in words)], dtype="<u8")
        return known[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False) + 1]
    missing_C = column.is_null().to_numpy()
    filled = pc.fill_null(column, pa.scalar(0, pa.int64()).cast(column.type))
    values_C = filled.to_numpy().astype(np.float64)
    return np.where(missing_C, np.uint64(1), values_C.view("<u8"))


def _mixed(values: np.ndarray) -> np.ndarray:
    """The values with their bits mixed (the finalizer of splitmix64), so that their sum tells sets apart."""
    values = (values ^ (values >> np.uint64(30))) * _MIX[0]
    values = (values ^ (values >> np.uint64(27))) * _MIX[1]
    return values ^ (values >> np.uint64(31))


class Restated(NamedTuple):
    """How many decided comparisons say again, or deny, what another one says."""

    repeated: int
    """The same winner and loser as an earlier one."""
    contradictions: int
    """Another one states the reverse; both count."""


def restated(built: ComparisonSet) -> Restated:
    """Counts over the decided comparisons of a set; ties restate nothing."""
    winners, losers = built.winners_C[~built.is_tie_C], built.losers_C[~built.is_tie_C]
    stated, backward = np.unique(winners * built.num_items + losers), losers * built.num_items + winners
    at = np.searchsorted(stated, backward)  # np.isin would sort both once more, in 100 MiB for a million
    denied = int((stated[np.minimum(at, len(stated) - 1)] == backward).sum()) if len(stated) else 0
    return Restated(len(winners) - len(stated), denied)


class Overlap(NamedTuple):
    """How much of a set is in another one too."""

    instructions: int
    of_instructions: int
    """Different instructions of the set."""
    comparisons: int
    """Whose two items meet there too, whoever won."""
    of_comparisons: int


def overlap(held: ComparisonSet, train: ComparisonSet) -> Overlap:
    """What of `held` is in `train` too. Items that no comparison uses count in neither.

    It goes by digests of 64 bits: with a million comparisons in each it takes about a second, and keeps no text. Two
    texts of 10^6 and 10^6 have one by chance in a case of 10^7.
    """
    asked_Q, both_C = _different(_instruction_keys(held)), _pair_keys(held)
    asked, both = _are_in(asked_Q, _instruction_keys(train)), _are_in(both_C, _pair_keys(train))
    return Overlap(int(asked.sum()), len(asked_Q), int(both.sum()), len(both_C))


class Inside(NamedTuple):
    """How many responses stand in an instruction."""

    responses: int
    of_responses: int
    """Different ones, of the comparisons that are looked at."""


def inside(held: ComparisonSet, train: ComparisonSet) -> Inside:
    """How many responses of `held`, winners and losers, are a turn of the assistant in an instruction of `train`, after
    the very turns that they respond to: data of conversations that were split by turns have such.

    By digests of 64 bits, as `overlap`. Items that no comparison uses count in neither.
    """
    said = [np.zeros(0, np.uint64), *map(_said_keys, _used(train, ["instruction"]))]
    known = _different(np.concatenate(said))
    asked = [np.zeros(0, np.uint64), *map(_response_keys, _used(held, ["instruction", "response"]))]
    keys = _different(np.concatenate(asked))
    return Inside(int(_are_in(keys, known).sum()), len(keys))


def _used(built: ComparisonSet, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The items that comparisons use, chunk by chunk."""
    is_used_N, start = np.zeros(built.num_items, dtype=bool), 0
    is_used_N[built.winners_C] = is_used_N[built.losers_C] = True
    for batch in chunks(built.items.select(columns)):
        yield batch.filter(pa.array(is_used_N[start : start + len(batch)]))
        start += len(batch)


def _response_keys(batch: pa.RecordBatch) -> np.ndarray:
    """A key of each item: of its instruction and its response."""
    return _mixed(_keys_in(batch["instruction"]) ^ _digests(batch["response"]))


def _said_keys(batch: pa.RecordBatch) -> np.ndarray:
    """The keys of the items that turns of the assistant would be: of what stands before the turn, and of the turn."""
    column = batch["instruction"]
    flat = column.flatten()
    said = pc.equal(flat.field("role"), "assistant").to_numpy(zero_copy_only=False)
    if not said.any():
        return np.zeros(0, np.uint64)
    contents_M = _digests(flat.field("content"))
    sums, starts, lengths = _sums_in(column, contents_M)
    at = np.flatnonzero(said)
    with np.errstate(over="ignore"):
        before = _mixed(sums[at] - sums[np.repeat(starts, lengths)[at]])
    return _mixed(before ^ contents_M[at])


def _different(keys: np.ndarray) -> np.ndarray:
    """In order; np.unique takes twenty times as long."""
    ordered = np.sort(keys)
    return ordered[np.concatenate([np.ones(min(len(keys), 1), bool), ordered[1:] != ordered[:-1]])]


def _are_in(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each key is one of the others; both are sorted, since a search in another order misses the cache."""
    keys, others = np.sort(keys), np.sort(others)
    return np.searchsorted(others, keys, side="right") > np.searchsorted(others, keys)


def _pair_keys(built: ComparisonSet) -> np.ndarray:
    """A key of the two items of each comparison, (C,), the same for both orders."""
    keys_N = _mixed(_halves(built)[:, 0])
    with np.errstate(over="ignore"):
        return _mixed(keys_N[built.winners_C] + keys_N[built.losers_C])


def _instruction_keys(built: ComparisonSet) -> np.ndarray:
    """Keys of the instructions of all comparisons, equal for equal instructions; a pair on one has it once."""
    asks_N = np.zeros(built.num_items, dtype=bool)
    asks_N[built.winners_C] = True
    asks_N[built.losers_C[built.is_joint_C]] = True
    found, start = [np.zeros(0, np.uint64)], 0
    for batch in chunks(built.items.select(["instruction"])):
        asks = pa.array(asks_N[start : start + len(batch)])
        found.append(_keys_in(batch.column(0).filter(asks)))
        start += len(batch)
    return np.concatenate(found)


def _keys_in(column: pa.ListArray) -> np.ndarray:
    """A key of each instruction of a chunk: of its roles and texts, in order."""
    sums, starts, lengths = _sums_in(column, _digests(column.flatten().field("content")))
    with np.errstate(over="ignore"):
        return _mixed(sums[starts + lengths] - sums[starts])


def _sums_in(column: pa.ListArray, contents_M: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of the keys of all messages before each one, (M + 1,); where each instruction starts, and its length."""
    flat = column.flatten()
    roles = flat.field("role").dictionary_encode()
    roles_M = _digests(roles.dictionary)[roles.indices.to_numpy()]
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    starts = np.cumsum(lengths) - lengths
    turn_M = (np.arange(len(flat)) - np.repeat(starts, lengths)).astype(np.uint64)
    with np.errstate(over="ignore"):
        keys_M = _mixed(_mixed(roles_M + turn_M) ^ contents_M)
        return np.concatenate([np.zeros(1, np.uint64), np.cumsum(keys_M, dtype=np.uint64)]), starts, lengths


def _digests(texts: pa.StringArray) -> np.ndarray:
    """A digest of 64 bits of each text, (M,)."""
    values = texts.cast(pa.binary()).to_pylist()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, values), np.uint64, len(values))


def held_out_inside(comparisons: ComparisonSet) -> dict[str, int]:
    """For each split that is held out, how many of its responses are a turn of an instruction in the training split."""
    held = [name for name in splits_in(comparisons) if name != TRAIN]
    if not held or TRAIN not in splits_in(comparisons):
        return {}
    train = part_of(comparisons, TRAIN)
    return {name: inside(part_of(comparisons, name), train).responses for name in held}

"""What is in a ComparisonSet, in numbers: one JSON-able object that tables, pages and programs are made of.

Legend: N items, C comparisons, I different instructions. Everything is columns (Arrow, NumPy), never a loop over
comparisons: a million of them take seconds. A histogram is {"edges": [e0 … eK], "counts": [n1 … nK]}, bin k from
edge k-1 up to, not including, edge k; all counts together are all values.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.columns.numbering import TextNumbering, numbered
from jpo_dist.records.columns.pages import Picked, chunks
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.contents import held_out_inside, restated
from jpo_dist.records.groups import by_group
from jpo_dist.records.split import splits_in
from jpo_dist.statistics.intervals import wilson

_SCALES_SHOWN = 20


def inspect(
    comparisons: ComparisonSet,
    report: Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    seed: int = 0,
    examples: int = 3,
) -> dict[str, Any]:
    """Everything `jpo data inspect` shows.

    `report` is what reading or building left (`rows`, `responses`, `duplicates`, `skipped`, `bad_rows`, `ignored`,
    `tables`, `layouts`, all optional). Lengths are tokens with a `tokenizer` (a callable like transformers'), else
    characters. Ties are counted apart: `comparisons`, `length_bias`, `repeated` and `contradictions` are of decided
    comparisons, `degree` and the `by_…` tables tell both. `examples` comparisons are drawn with `seed`.
    """
    report = report or {}
    instructions_N = instruction_rows(comparisons.items)
    lengths = {"instruction": _instruction_lengths(comparisons.items, instructions_N, tokenizer),
               "response": _lengths(comparisons.items["response"], tokenizer)}  # fmt: skip
    decided_C = ~comparisons.is_tie_C
    return {
        "rows": int(report.get("rows", len(comparisons))),
        "responses": report.get("responses"),
        "duplicates": report.get("duplicates"),
        "skipped": dict(report.get("skipped", {})),
        "bad_rows": [dict(row) for row in report.get("bad_rows", [])],
        "ignored": list(report.get("ignored", [])),
        "tables": [dict(table) for table in report.get("tables", [])],
        "layouts": dict(report.get("layouts", {})),
        "items": comparisons.num_items,
        "instructions": int(instructions_N.max(initial=-1)) + 1,
        "comparisons": _by_protocol(comparisons, decided_C),
        "ties": int(comparisons.is_tie_C.sum()),
        **restated(comparisons)._asdict(),
        "by_source": _counts(comparisons, _files(comparisons.comparisons["source"])),
        "by_origin": _counts(comparisons, comparisons.comparisons["origin"]),
        "by_pairing": _counts(comparisons, comparisons.comparisons["pairing"], missing=None),
        "by_split": _counts(comparisons, comparisons.comparisons["split"], missing="not split"),
        "by_annotator": _counts(comparisons, comparisons.comparisons["annotator"], missing=None),
        "groups": by_group(comparisons),
        "split_overlap": _split_overlap(comparisons, instructions_N),
        "split_inside": held_out_inside(comparisons),
        "weight": summary(comparisons.weights_C),
        "confidence": summary(_known(comparisons.comparisons["confidence"])),
        "scores": _scores(comparisons.items),
        "lengths": {
            "unit": "characters" if tokenizer is None else "tokens",
            **{part: {**summary(length_N), "histogram": histogram(length_N)} for part, length_N in lengths.items()},
        },
        "length_bias": _length_bias(comparisons, lengths["response"], decided_C),
        "items_per_comparison": comparisons.num_items / len(comparisons) if len(comparisons) else None,
        "degree": _degree(comparisons, decided_C),
        "same_response": _same_response(comparisons.items["response"], instructions_N),
        "examples": _examples(comparisons, seed, examples),
    }


def instruction_rows(items: pa.Table) -> np.ndarray:
    """A number for each item (N,), equal exactly for equal instructions, counted from 0 in order of appearance."""
    numbering = TextNumbering()
    batches = chunks(items.select(["instruction"]))
    return _end_to_end(numbering.of(_instruction_keys(batch.column(0))) for batch in batches)


def _end_to_end(parts_K: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts_K])


def _instruction_keys(instructions: pa.ListArray) -> pa.Array:
    """Arrow cannot hash lists. Each turn becomes "LENGTH LENGTH role content", so that no text can imitate a border."""
    turns = instructions.flatten()
    fields = [turns.field(name).cast(pa.large_binary()) for name in ("role", "content")]
    lengths = [pc.binary_length(field).cast(pa.string()).cast(pa.large_binary()) for field in fields]
    flat = pc.binary_join_element_wise(*lengths, *fields, pa.scalar(b" ", pa.large_binary()))
    counts = instructions.value_lengths().to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pc.binary_join(pa.ListArray.from_arrays(offsets, flat), pa.scalar(b" ", pa.large_binary()))


def _instruction_lengths(items: pa.Table, instructions_N: np.ndarray, tokenizer: Any) -> np.ndarray:
    """Characters or tokens of all turns' contents, without a chat template's marks. Each instruction counts once."""
    _, first_I, back_N = np.unique(instructions_N, return_index=True, return_inverse=True)
    instructions = Picked(items.select(["instruction"]), first_I)
    return _end_to_end(_lengths_of_turns(batch.column(0), tokenizer) for batch in chunks(instructions))[back_N]


def _lengths_of_turns(instructions: pa.ListArray, tokenizer: Any) -> np.ndarray:
    """The length of each instruction: of all its turns together."""
    per_turn = np.concatenate([[0], np.cumsum(_lengths_in(instructions.flatten().field("content"), tokenizer))])
    ends = np.concatenate([[0], np.cumsum(instructions.value_lengths().to_numpy(zero_copy_only=False))]).astype(int)
    return np.diff(per_turn[ends])


def _lengths(texts: pa.ChunkedArray, tokenizer: Any) -> np.ndarray:
    """The length of each text: tokens, without special ones, or characters (code points)."""
    return _end_to_end(_lengths_in(batch.column(0), tokenizer) for batch in chunks(pa.table([texts], ["text"])))


def _lengths_in(texts: pa.Array, tokenizer: Any) -> np.ndarray:
    if tokenizer is None:
        return pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    found = tokenizer(texts.to_pylist(), add_special_tokens=False)["input_ids"] if len(texts) else []
    return np.array([len(ids) for ids in found], dtype=np.int64)


def summary(values: np.ndarray) -> dict[str, Any]:
    """How many values, their mean and quantiles; only `count` when there are none."""
    if not len(values):
        return {"count": 0}
    at = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "max": 1.0}
    quantiles = np.quantile(values, list(at.values()))
    return {"count": len(values), "mean": float(values.mean()), **dict(zip(at, quantiles.tolist(), strict=True))}


def histogram(values: np.ndarray) -> dict[str, list[Any]]:
    """A histogram of whole numbers, negative ones too: bins one wide near zero, then wider by half octaves, 4 6 8 12 …

    Equal bins would put nearly all lengths, and nearly all degrees, into the first one.
    """
    if not len(values):
        return {"edges": [], "counts": []}
    powers = 2 ** np.arange(1, 62)
    positive = np.concatenate([[1], np.stack([powers, powers + powers // 2], axis=1).ravel()])
    # Mirrored, with the borders moved by one, so that the bins of -n and n are alike.
    edges = np.concatenate([1 - positive[::-1], positive])
    low = np.searchsorted(edges, values.min(), side="right") - 1
    high = np.searchsorted(edges, values.max(), side="right")
    edges = edges[low : high + 1]
    bins = np.searchsorted(edges, values, side="right") - 1
    return {"edges": edges.tolist(), "counts": np.bincount(bins, minlength=len(edges) - 1).tolist()}


def _known(column: pa.ChunkedArray) -> np.ndarray:
    return column.drop_null().to_numpy()


def _by_protocol(comparisons: ComparisonSet, keep_C: np.ndarray) -> dict[str, int]:
    joint = int(comparisons.is_joint_C[keep_C].sum())
    return {"conditional": int(keep_C.sum()) - joint, "joint": joint}


def _files(sources: pa.ChunkedArray) -> pa.ChunkedArray:
    """FILE of FILE:LINE; other sources as they are."""
    return pc.replace_substring_regex(sources, pattern=r":\d+$", replacement="")


def _counts(
    comparisons: ComparisonSet, names: pa.ChunkedArray, missing: str | None = "unknown"
) -> dict[str, dict[str, int]]:
    """For each name, most frequent first: `conditional`, `joint` (both decided) and `ties`.

    Comparisons without a name count as `missing`, or, when that is None, in no row.
    """
    if missing is not None:
        names = pc.if_else(pc.equal(pc.fill_null(names, ""), ""), missing, names)
    kinds = np.where(comparisons.is_tie_C, 2, comparisons.is_joint_C.astype(np.int64))
    table = pa.table({"name": names, "kind": kinds}).filter(pc.is_valid(pc.field("name")))
    found: dict[str, dict[str, int]] = {}
    for row in table.group_by(["name", "kind"]).aggregate([([], "count_all")]).to_pylist():
        empty = {"conditional": 0, "joint": 0, "ties": 0}
        found.setdefault(row["name"], empty)[("conditional", "joint", "ties")[row["kind"]]] = row["count_all"]
    return dict(sorted(found.items(), key=lambda kv: (-sum(kv[1].values()), kv[0])))


def _split_overlap(comparisons: ComparisonSet, instructions_N: np.ndarray) -> dict[str, int]:
    """For each two splits, how many instructions stand in both. Anything but 0 makes held-out numbers too good."""
    split_C = pc.fill_null(comparisons.comparisons["split"], "").to_numpy(zero_copy_only=False)
    used = {}
    for name in splits_in(comparisons):
        here = split_C == name
        rows = np.concatenate([comparisons.winners_C[here], comparisons.losers_C[here]])
        used[name] = np.unique(instructions_N[rows])
    return {f"{a} and {b}": len(np.intersect1d(used[a], used[b])) for a, b in combinations(used, 2)}


def _scores(items: pa.Table) -> dict[str, Any]:
    """Items with and without a score, and the scores of the 20 most frequent scales; scales never mix."""
    scored = items.select(["score", "scale"]).filter(pc.is_valid(items["score"]))
    counted = pc.value_counts(pc.fill_null(scored["scale"], "unknown"))
    count_K = counted.field("counts").to_numpy()
    least = np.sort(count_K)[::-1][:_SCALES_SHOWN].min(initial=0)
    counts = counted.filter(pa.array(count_K >= least)).to_pylist()  # rankings have a scale for each row
    counts = sorted(counts, key=lambda row: (-row["counts"], row["values"]))
    scales = {}
    for name in [row["values"] for row in counts[:_SCALES_SHOWN]]:
        values = scored.filter(pc.equal(pc.fill_null(scored["scale"], "unknown"), name))["score"].to_numpy()
        scales[name] = {**summary(values), "histogram": _score_histogram(values)}
    return {"scored": len(scored), "unscored": len(items) - len(scored), "num_scales": len(count_K), "scales": scales}


def _score_histogram(values: np.ndarray) -> dict[str, list[Any]]:
    """Equal bins; a bin for each value when there are few different ones, whole numbers for instance."""
    levels = np.unique(values)
    if len(levels) <= 11 and np.array_equal(levels, np.round(levels)):
        edges = np.arange(levels[0], levels[-1] + 2) if levels[-1] - levels[0] < 20 else None
    else:
        edges = None
    counts, edges = np.histogram(values, bins=20 if edges is None else edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _length_bias(comparisons: ComparisonSet, length_N: np.ndarray, decided_C: np.ndarray) -> dict[str, Any]:
    """Shares of decided comparisons whose winner's response is longer, equal, shorter.

    `longer_of_unequal` is [share, low, high], the winner being longer where lengths differ, with Wilson's 95 %
    interval; 0.5 inside it: no sign of a bias. None where there is nothing to count.
    """
    difference = (length_N[comparisons.winners_C] - length_N[comparisons.losers_C])[decided_C]
    joint = comparisons.is_joint_C[decided_C]
    parts = {"all": difference, "conditional": difference[~joint], "joint": difference[joint]}
    return {name: _bias(part) for name, part in parts.items()}


def _bias(difference: np.ndarray) -> dict[str, Any]:
    counts = {"longer": int((difference > 0).sum()), "equal": int((difference == 0).sum()),
              "shorter": int((difference < 0).sum())}  # fmt: skip
    shares = {name: count / len(difference) if len(difference) else None for name, count in counts.items()}
    interval = wilson(counts["longer"], counts["longer"] + counts["shorter"])
    return {"decided": len(difference), **shares, "longer_of_unequal": interval}


def _degree(comparisons: ComparisonSet, decided_C: np.ndarray) -> dict[str, Any]:
    """Comparisons per item, ties too, and wins minus losses per item.

    `only_wins`, `only_losses`: items that are always on one side, so that a model may learn them by heart.
    """
    size = comparisons.num_items
    degree_N = np.bincount(np.concatenate([comparisons.winners_C, comparisons.losers_C]), minlength=size)
    wins_N = np.bincount(comparisons.winners_C[decided_C], minlength=size)
    losses_N = np.bincount(comparisons.losers_C[decided_C], minlength=size)
    balance_N = wins_N - losses_N
    return {
        **summary(degree_N),
        "histogram": histogram(degree_N),
        "wins_minus_losses": {**summary(balance_N), "histogram": histogram(balance_N)},
        "only_wins": int(((wins_N > 0) & (losses_N == 0)).sum()),
        "only_losses": int(((losses_N > 0) & (wins_N == 0)).sum()),
        "both": int(((wins_N > 0) & (losses_N > 0)).sum()),
        "only_ties": int(((degree_N > 0) & (wins_N + losses_N == 0)).sum()),
        "unused": int((degree_N == 0).sum()),
    }


def _same_response(responses: pa.ChunkedArray, instructions_N: np.ndarray) -> dict[str, int]:
    """One response under several instructions: `texts` such responses in `items` items.

    `nearly_equal`: how many fewer different responses there are when case, spaces, tabs and line breaks are ignored.
    """
    texts_N, plain = numbered(responses), TextNumbering()
    for batch in chunks(pa.table([responses], ["response"])):
        text = pc.utf8_lower(batch.column(0))
        for space in (" ", "\n", "\t", "\r"):  # a regular expression takes four times as long
            text = pc.replace_substring(text, space, "")
        plain.of(text)
    num_instructions = int(instructions_N.max(initial=0)) + 1
    uses = np.bincount(np.unique(texts_N * num_instructions + instructions_N) // num_instructions, minlength=1)
    return {
        "texts": int((uses > 1).sum()),
        "items": int((uses[texts_N] > 1).sum()),
        "nearly_equal": int(texts_N.max(initial=-1)) + 1 - len(plain),
    }


def _examples(comparisons: ComparisonSet, seed: int, count: int) -> list[dict[str, Any]]:
    chosen = np.random.default_rng(seed).permutation(len(comparisons))[:count]
    found = []
    for row in Picked(comparisons.comparisons, chosen).whole.to_pylist():
        winner, loser = Picked(comparisons.items, np.array([row["winner"], row["loser"]])).whole.to_pylist()
        found.append({**row, "winner": winner, "loser": loser})
    return found

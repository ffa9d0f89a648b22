"""`jpo data build`: sources to one set of comparisons, with splits, pairs made from scores, and a report.

Legend: N items, C comparisons.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.data.altered.config import FlipConfig, KeepConfig
from jpo_dist.data.altered.flipped import flipped
from jpo_dist.data.altered.kept import thinned
from jpo_dist.data.collected import (
    Candidates,
    Said,
    add_pairs,
    compile_set,
    from_scores,
    groups_of_items,
    joined,
    make_pool,
    merged,
    report_of,
)
from jpo_dist.data.config import BuildConfig, ReferenceScoresConfig, SplitConfig
from jpo_dist.data.layouts import COLUMNS
from jpo_dist.data.layouts.pair_splits import SPLIT
from jpo_dist.data.messages import instruction
from jpo_dist.data.read import read_sources
from jpo_dist.data.read_report import TableColumns, column_lines
from jpo_dist.distributed.waiting import working
from jpo_dist.folders import together
from jpo_dist.pairing import pair
from jpo_dist.pairing.config import PairConfig
from jpo_dist.records.columns.item_rows import ItemRows
from jpo_dist.records.columns.lists import ComparisonList, RatingList, rating_table
from jpo_dist.records.columns.numbering import first_places
from jpo_dist.records.columns.pages import Picked, kept_rows
from jpo_dist.records.comparisons import CONDITIONAL, SPLITS, TRAIN, ComparisonSet, Item, with_ends
from jpo_dist.records.folder import put_set
from jpo_dist.records.group_column import named
from jpo_dist.records.split import counts_of, split_keys, split_of, with_splits
from jpo_dist.records.text import as_prompt

WITHOUT_SCORES = ("assumed_wins",)

ReferenceLogps = Callable[[Sequence[Item], ReferenceScoresConfig], np.ndarray]
"""log p(I, R) of each item in nats, (N,), NaN where there is none."""


class Built(NamedTuple):
    """A built set, its report (JSON-able), and pairs for a judge, the two items of each in random order."""

    comparisons: ComparisonSet
    report: dict[str, Any]
    candidates: Candidates


def build(config: BuildConfig, reference_logps: ReferenceLogps | None = None) -> Built:
    """Read, pair, mix, split. A pure function of the sources' text and the config.

    `reference_logps`: that of objective.reference_cache, called only where a policy is `hard`; handed in, because it
    needs torch and a model, and nothing else here does. Raises what reading raises, and ValueError without comparisons.
    """
    parts = read_sources(config.sources, config.on_bad_row)
    items = parts[0].items
    everything = joined(parts)
    if not (len(everything.comparisons) or len(everything.ratings)):
        paths = ", ".join(str(source.path) for source in config.sources)
        told = report_of(compile_set(everything), everything).lines()
        raise ValueError("\n".join([f"{paths}: nothing there that can be compared", *told]))
    splits_N = splits_of_rows(items, config.split)
    report: dict[str, Any] = {"pairs": []}
    read = everything
    if config.keep != KeepConfig():
        parts, report["keep"] = thinned(parts, splits_N == TRAIN, config.keep)
        everything = joined(parts)
    ratings = everything.scores()
    made = ComparisonList(items=items)
    for number, pairs in enumerate(config.pairs):
        rated = wins_as_ratings(everything) if pairs.policy in WITHOUT_SCORES else ratings
        with working(f"pairing: {pairs.policy}"):
            logps_R = _logps(rated, items, config, reference_logps) if pairs.policy == "hard" else None
            report["pairs"].append(make(rated, logps_R, splits_N, pairs, config.seed + number, everything, made))
    stated_by = np.repeat(np.arange(len(parts)), [len(part.comparisons) for part in parts])
    keep_C, report["mixture"] = mixture(np.concatenate([stated_by, made_by(parts, made)]), config)
    mixed = pa.concat_tables([everything.comparisons, made.table()])
    whole, rows_N = ComparisonSet.of_rows(items, mixed if keep_C.all() else kept_rows(mixed, keep_C), ratings)
    built, crossing = with_splits(whole, splits_N[rows_N])
    if config.flips != FlipConfig():
        built, report["flips"] = flipped(built, config.flips)
    offered, offer_report = offer(ratings, everything, splits_N, config)
    if not len(built) and not offered:
        raise ValueError(
            f"{config.output}: no comparisons: {len(everything.comparisons)} stated, "
            f"{int(np.isfinite(ratings['score'].to_numpy()).sum())} items with scores of {whole.num_items}; add a "
            "source with comparisons, a checker to a source, or a pairing policy to pairs that fits these scores"
        )
    report = {"read": report_of(_stated(read), read).as_dict(), **report}
    report |= {"splits": split_report(built, crossing), "candidates": offer_report}
    return Built(built, report, offered)


def _stated(everything: Said) -> ComparisonSet:
    """What the sources state, of items whose scores do not matter."""
    rows_N, _ = first_places(everything.rows())
    place = np.full(len(everything.items), -1, dtype=np.int64)
    place[rows_N] = np.arange(len(rows_N))
    table = everything.comparisons
    return ComparisonSet(Picked(everything.items.table(), rows_N), with_ends(table, *place[_ends(table)].T))


def make(
    rated: pa.Table,
    reference_logps_R: np.ndarray | None,
    splits_N: np.ndarray,
    pairs: PairConfig,
    seed: int,
    everything: Said,
    made: ComparisonList,
) -> dict[str, Any]:
    """Add the comparisons of one pairing policy to `made`, but those that somebody has stated or made before.

    Items of different splits never meet. `reference_logps_R`: log p of each rated item in nats, for the policy `hard`.
    Returns the report; raises what `pairing.pair` raises.
    """
    items, rows_R = everything.items, rated["item"].to_numpy()
    found = pair.pair(make_pool(rated, items, splits_N[rows_R], reference_logps_R), pairs, seed)
    codes_C = _codes(np.stack([rows_R[found.winners_C], rows_R[found.losers_C]], axis=1), len(items))
    before = [_codes(_ends(table), len(items)) for table in (everything.comparisons, made.table())]
    fresh_C = ~np.isin(codes_C, np.concatenate(before))
    kept = pair.Pairs(found.winners_C[fresh_C], found.losers_C[fresh_C], found.is_tie_C[fresh_C], {})
    add_pairs(made, rated, kept, pairs.policy)
    count = int(fresh_C.sum())
    return {**found.report, "stated_or_made_before": len(fresh_C) - count, "kept": count}


def _ends(comparisons: pa.Table) -> np.ndarray:
    """Rows of winners and losers, (C, 2)."""
    return np.stack([comparisons[name].to_numpy() for name in ("winner", "loser")], axis=1)


def _codes(ends_C2: np.ndarray, num_items: int) -> np.ndarray:
    """A number for each pair, the same either way round, (C,)."""
    return ends_C2.min(axis=1) * num_items + ends_C2.max(axis=1)


def _logps(rated: pa.Table, items: ItemRows, config: BuildConfig, reference_logps: ReferenceLogps | None) -> np.ndarray:
    assert config.reference is not None, "checked by BuildConfig"
    if reference_logps is None:
        raise ValueError("pairs: policy hard needs build(config, reference_logps); pass objective.reference_cache's")
    return reference_logps([rating.item for rating in _ratings(rated, items)], config.reference)


def _ratings(rated: pa.Table, items: ItemRows) -> RatingList:
    found = RatingList(items=items)
    found.add_columns(rated)
    return found


def wins_as_ratings(everything: Said) -> pa.Table:
    """1 for an item that wins within its own instruction and 0 for one that loses, all on one scale: that these
    compare across instructions is the assumption. Items that do both say nothing and are left out by pairing."""
    stated, items = everything.comparisons, everything.items
    stated = stated.filter(pc.and_(pc.equal(stated["protocol"], CONDITIONAL), pc.invert(stated["tie"])))
    scored = from_scores(merged(everything.ratings), items).table()
    within = pa.concat_tables([stated, scored.filter(pc.invert(scored["tie"]))])
    ends_C2 = _ends(within)
    rows_N, first = first_places(ends_C2.reshape(-1))
    place = np.full(len(items), -1, dtype=np.int64)
    place[rows_N] = np.arange(len(rows_N))
    scores_N, _ = pair.assumed_scores(place[ends_C2[:, 0]], place[ends_C2[:, 1]], len(rows_N))
    sources = within["source"].take(pa.array(first // 2))
    return rating_table(rows_N, scores_N, pa.repeat("assumed", len(rows_N)), sources)


def made_by(parts: Sequence[Said], made: ComparisonList) -> np.ndarray:
    """The source of each comparison that pairing made, (C,): where its winner was first read."""
    first_N = np.zeros(len(made.items), dtype=np.int64)
    for n in range(len(parts) - 1, -1, -1):
        first_N[parts[n].rows()] = n
    return first_N[made.ends()[0]]


def mixture(owners_C: np.ndarray, config: BuildConfig) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Which comparisons stay, (C,), and what that means for each source.

    As many as possible such that the sources stand in the proportion of their weights and none is repeated; which ones
    are left out is drawn. Without weights all stay.
    """
    counts = np.bincount(owners_C, minlength=len(config.sources))
    weights = [source.weight for source in config.sources]
    take = counts
    if all(weights):
        shares = np.array(weights, dtype=np.float64) / sum(w or 0.0 for w in weights)
        take = np.floor(shares * np.min(counts / shares) + 1e-9).astype(np.int64)
    keep_C = np.zeros(len(owners_C), dtype=bool)
    for n, count in enumerate(take):
        drawn = np.random.Generator(np.random.PCG64([config.seed, n])).permutation(np.flatnonzero(owners_C == n))
        keep_C[drawn[:count]] = True
    names = [source.name or str(source.path) for source in config.sources]
    return keep_C, [
        {"source": name, "comparisons": kept, "left_out": had - kept}
        for name, had, kept in zip(names, counts.tolist(), take.tolist(), strict=True)
    ]


def splits_of_rows(items: ItemRows, split: SplitConfig) -> np.ndarray:
    """The split of each item, (N,), which the beginning of its instruction and the seed decide."""
    shares = (split.validation, split.test, split.seed)
    of_instruction = np.array([split_of(each, *shares) for each in split_keys(items)], dtype=object)
    return of_instruction[items.instruction_N]


def split_report(built: ComparisonSet, crossing: int) -> dict[str, Any]:
    """Comparisons of each split, and how many were left out because they join two."""
    counts = {row["values"]: row["counts"] for row in pc.value_counts(built.comparisons["split"]).to_pylist()}
    return {**{name: counts.get(name, 0) for name in SPLITS}, "crossing_left_out": crossing}


def offer(
    ratings: pa.Table, everything: Said, splits_N: np.ndarray, config: BuildConfig
) -> tuple[Candidates, dict[str, Any] | None]:
    """Pairs for a judge, from all items whatever is known of them, and the policy's report; none unless asked for.
    A pair has the split of its items, which is one, and the groups that all that is said of them shares, but those that
    candidates.jsonl cannot hold."""
    items = everything.items
    if config.candidates is None:
        return Candidates(items, np.zeros((0, 2), np.int64), {}, splits_N), None
    rows_N, _ = first_places(np.concatenate([ratings["item"].to_numpy(), _ends(everything.comparisons).reshape(-1)]))
    nothing = pa.repeat("", len(rows_N))
    unknown = rating_table(rows_N, np.full(len(rows_N), np.nan), nothing, nothing)
    pool = make_pool(unknown, items, splits_N[rows_N])
    firsts, seconds, report = pair.candidates(pool, config.candidates, config.seed)
    known = groups_of_items(everything)
    names = dict.fromkeys(name for groups in known.values() for name, _ in groups)
    kept = [name for name in names if name not in COLUMNS | instruction.NAMES | {SPLIT}]
    report |= {"groups": kept, "groups_left_out": [name for name in names if name not in kept]} if names else {}
    groups = {row: named(each, kept) for row, each in known.items()}
    offered = Candidates(items, np.stack([rows_N[firsts], rows_N[seconds]], axis=1), groups, splits_N)
    return offered, report | {"splits": counts_of(offered.splits())}


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    read, splits = report["read"], report["splits"]
    rows = f"{read['rows']} rows" + (f" with {read['responses']} responses" if read["responses"] else "")
    found = [
        f"read: {rows}: {read['comparisons']} comparisons and {read['ties']} ties stated, {read['items']} items, "
        f"{read['duplicates']} repeated responses, {sum(read['skipped'].values())} skipped"
    ]
    found += [*(f"  {n} x {why}" for why, n in read["skipped"].items()), *(f"  not read: {n}" for n in read["ignored"])]
    found += column_lines([TableColumns(**table) for table in read.get("tables", [])])
    for made in report["pairs"]:
        accuracy = made["instruction_only_accuracy"]
        known = accuracy["accuracy"] is not None
        told = f"{accuracy['accuracy']:.2f} +- {accuracy['standard_error']:.2f}" if known else "too few to say"
        alone = f"; the instruction alone predicts the winner: {told} (chance 0.50)"
        found.append(
            f"pairs, {made['policy']}: {made['kept']} kept of {made['made']} made, {made['ties']} ties"
            f"{'' if made['policy'] == 'conditional' else alone}"
        )
    left = [f"{row['left_out']} of {row['source']}" for row in report["mixture"] if row["left_out"]]
    found += [f"mixture: left out {', '.join(left)}"] if left else []
    counts = ", ".join(f"{splits[name]} {name}" for name in SPLITS)
    found.append(f"splits: {counts}; {splits['crossing_left_out']} between two splits left out")
    if report["candidates"]:
        offered = report["candidates"]
        groups = f", with groups: {', '.join(offered['groups'])}" if offered.get("groups") else ""
        left = offered.get("groups_left_out")
        why = f"; without {', '.join(left)}: a column of this name says something else" if left else ""
        splits = ", ".join(f"{count} {name}" for name, count in offered["splits"].items())
        found.append(f"candidates for a judge: {offered['made']}{f' ({splits})' if splits else ''}{groups}{why}")
    return found


def write(built: Built, folder: Path) -> None:
    """items.parquet, comparisons.parquet, report.json, digests.json, and candidates.jsonl when there are candidates,
    as a whole: a kill leaves what was there before, or all of it."""
    with together(folder) as files:
        if built.candidates:
            with files.path("candidates.jsonl").open("w", encoding="utf-8", errors="strict") as file:
                pairs = zip(built.candidates, built.candidates.splits(), built.candidates.groups(), strict=True)
                rows = (candidate_row(*items) | {SPLIT: split} | dict(groups) for items, split, groups in pairs)
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        put_set(built.comparisons, files, built.report)
        files.without("candidates.jsonl")  # those of an earlier build are not of this set


def candidate_row(first: Item, second: Item) -> dict[str, Any]:
    """A pair in the paper's layout, without its column `feedback`."""
    return {
        "instruction_0": as_prompt(first.instruction), "response_0": first.response,
        "instruction_1": as_prompt(second.instruction), "response_1": second.response,
    }  # fmt: skip

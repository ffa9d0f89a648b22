"""`jpo data build`: sources to one set of comparisons, with splits, pairs made from scores, and a report.

Legend: N items, C comparisons.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.data.collected import Preferences, compile_set, merged, report_of
from jpo_dist.data.config import BuildConfig, ReferenceScoresConfig, SplitConfig
from jpo_dist.data.from_ratings import Made, from_scores, make_pool, to_comparisons
from jpo_dist.data.read import read_source
from jpo_dist.data.read_report import TableColumns, column_lines
from jpo_dist.files import replace
from jpo_dist.pairing import pair
from jpo_dist.pairing.config import PairConfig
from jpo_dist.records.comparisons import CONDITIONAL, SPLITS, Comparison, ComparisonSet, Item, Rating
from jpo_dist.records.folder import write_set
from jpo_dist.records.split import split_of, splits_of, with_splits
from jpo_dist.records.text import as_prompt

WITHOUT_SCORES = ("assumed_wins",)

ReferenceLogps = Callable[[Sequence[Item], ReferenceScoresConfig], np.ndarray]
"""log p(I, R) of each item in nats, (N,), NaN where there is none."""


class Built(NamedTuple):
    """A built set, its report (JSON-able), and pairs for a judge, the two items of each in random order."""

    comparisons: ComparisonSet
    report: dict[str, Any]
    candidates: list[tuple[Item, Item]]


def build(config: BuildConfig, reference_logps: ReferenceLogps | None = None) -> Built:
    """Read, pair, mix, split. A pure function of the sources' text and the config.

    `reference_logps`: that of objective.reference_cache, called only where a policy is `hard`; handed in, because it
    needs torch and a model, and nothing else here does. Raises what reading raises, and ValueError when nothing can be
    compared.
    """
    parts = [read_source(source, config.on_bad_row) for source in config.sources]
    everything = joined(parts)
    if not (everything.comparisons or everything.ratings):
        paths = ", ".join(str(source.path) for source in config.sources)
        told = report_of(compile_set(everything), everything).lines()
        raise ValueError("\n".join([f"{paths}: nothing there that can be compared", *told]))
    ratings = everything.scores()
    made: list[Comparison] = []
    report: dict[str, Any] = {"pairs": []}
    for number, pairs in enumerate(config.pairs):
        rated = wins_as_ratings(everything) if pairs.policy in WITHOUT_SCORES else ratings
        logps_N = _logps(rated, config, reference_logps) if pairs.policy == "hard" else None
        found = make(rated, logps_N, pairs, config.split, seed=config.seed + number)
        fresh, repeated = unseen(found.comparisons, [*everything.comparisons, *made])
        made += fresh
        report["pairs"].append({**found.report, "stated_or_made_before": repeated, "kept": len(fresh)})
    stated_by = [n for n, part in enumerate(parts) for _ in part.comparisons]
    owners_C = np.array([*stated_by, *made_by(parts, made)], dtype=np.int64)
    keep_C, report["mixture"] = mixture(owners_C, config)
    mixed = [c for c, keep in zip([*everything.comparisons, *made], keep_C, strict=True) if keep]
    whole = ComparisonSet.build(mixed, ratings)
    splits_N = splits_of(whole, config.split.validation, config.split.test, config.split.seed)
    built, crossing = with_splits(whole, splits_N)
    offered, offer_report = offer(ratings, everything, config)
    if not len(built) and not offered:
        raise ValueError(
            f"{config.output}: no comparisons: {len(everything.comparisons)} stated, "
            f"{sum(math.isfinite(rating.score) for rating in ratings)} items with scores of {whole.num_items}; add a "
            "source with comparisons, a checker to a source, or a pairing policy to pairs that fits these scores"
        )
    stated = ComparisonSet.build(everything.comparisons, ratings)
    report = {"read": report_of(stated, everything).as_dict(), **report, "splits": split_report(built, crossing)}
    return Built(built, {**report, "candidates": offer_report}, offered)


def joined(parts: Sequence[Preferences]) -> Preferences:
    """All sources as one, in order."""
    whole = Preferences()
    for part in parts:
        whole.comparisons += part.comparisons
        whole.ratings += part.ratings
        whole.pair_scores += part.pair_scores
        whole.tally.add(part.tally)
    return whole


def make(
    rated: list[Rating], reference_logps_N: np.ndarray | None, pairs: PairConfig, split: SplitConfig, seed: int
) -> Made:
    """Comparisons by one pairing policy. Items of different splits never meet.

    `reference_logps_N`: log p of each rated item in nats, for the policy `hard`. Raises what `pairing.pair` raises.
    """
    pool = make_pool(rated, item_splits([rating.item for rating in rated], split), reference_logps_N)
    found = pair.pair(pool, pairs, seed)
    return Made(to_comparisons(rated, found, pairs.policy), found.report)


def _logps(rated: list[Rating], config: BuildConfig, reference_logps: ReferenceLogps | None) -> np.ndarray:
    assert config.reference is not None, "checked by BuildConfig"
    if reference_logps is None:
        raise ValueError("pairs: policy hard needs build(config, reference_logps); pass objective.reference_cache's")
    return reference_logps([rating.item for rating in rated], config.reference)


def wins_as_ratings(everything: Preferences) -> list[Rating]:
    """1 for an item that wins within its own instruction and 0 for one that loses, all on one scale: that these
    compare across instructions is the assumption. Items that do both say nothing and are left out by pairing."""
    stated = [c for c in everything.comparisons if c.protocol == CONDITIONAL and not c.tie]
    within = ComparisonSet.build([*stated, *(c for c in from_scores(merged(everything.ratings)) if not c.tie)])
    scores_N, _ = pair.assumed_scores(within.winners_C, within.losers_C, within.num_items)
    first: dict[int, str] = {}
    sources = within.comparisons["source"].to_pylist()
    for w, v, source in zip(within.winners_C.tolist(), within.losers_C.tolist(), sources, strict=True):
        first.setdefault(w, source)
        first.setdefault(v, source)
    return [
        Rating(item, score, "assumed", first[row])
        for row, (item, score) in enumerate(zip(within.all_items(), scores_N.tolist(), strict=True))
    ]


def unseen(found: list[Comparison], before: list[Comparison]) -> tuple[list[Comparison], int]:
    """Those of `found` whose two items nobody has compared yet, either way round; and how many were left out."""
    known = {frozenset((c.winner, c.loser)) for c in before}
    fresh = [c for c in found if frozenset((c.winner, c.loser)) not in known]
    return fresh, len(found) - len(fresh)


def made_by(parts: Sequence[Preferences], made: list[Comparison]) -> list[int]:
    """The source of each comparison that pairing made: where its winner was first read."""
    first: dict[Item, int] = {}
    for n, part in enumerate(parts):
        for item in (
            *(r.item for r in (*part.ratings, *part.pair_scores)),
            *(s for c in part.comparisons for s in (c.winner, c.loser)),
        ):
            first.setdefault(item, n)
    return [first[c.winner] for c in made]


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


def item_splits(items: Sequence[Item], split: SplitConfig) -> list[str]:
    """The split of each item, which its instruction and the seed decide."""
    one_of_each = {item.instruction: item for item in items}
    where = {
        instruction: split_of(item.instruction_id, split.validation, split.test, split.seed)
        for instruction, item in one_of_each.items()
    }
    return [where[item.instruction] for item in items]


def split_report(built: ComparisonSet, crossing: int) -> dict[str, Any]:
    """Comparisons of each split, and how many were left out because they join two."""
    counts = Counter(built.comparisons["split"].to_pylist())
    return {**{name: counts.get(name, 0) for name in SPLITS}, "crossing_left_out": crossing}


def offer(
    ratings: list[Rating], everything: Preferences, config: BuildConfig
) -> tuple[list[tuple[Item, Item]], dict[str, Any] | None]:
    """Pairs for a judge, from all items whatever is known of them, and the policy's report; none unless asked for."""
    if config.candidates is None:
        return [], None
    items = list(
        dict.fromkeys([*(r.item for r in ratings), *(i for c in everything.comparisons for i in (c.winner, c.loser))])
    )
    pool = make_pool([Rating(item, float("nan"), "") for item in items], item_splits(items, config.split))
    firsts, seconds, report = pair.candidates(pool, config.candidates, config.seed)
    return [(items[a], items[b]) for a, b in zip(firsts.tolist(), seconds.tolist(), strict=True)], report


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    read, splits = report["read"], report["splits"]
    rows = f"{read['rows']} rows" + (f" with {read['responses']} responses" if read["responses"] else "")
    found = [
        f"read: {rows}: {read['comparisons']} comparisons and {read['ties']} ties stated, {read['items']} items, "
        f"{read['duplicates']} repeated responses, {sum(read['skipped'].values())} skipped"
    ]
    found += [f"  {count} x {reason}" for reason, count in read["skipped"].items()]
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
        found.append(f"candidates for a judge: {report['candidates']['made']}")
    return found


def write(built: Built, folder: Path) -> None:
    """items.parquet, comparisons.parquet, report.json, and candidates.jsonl when there are candidates."""
    write_set(built.comparisons, folder, built.report)
    if built.candidates:
        rows = (candidate_row(first, second) for first, second in built.candidates)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        replace(folder / "candidates.jsonl", lines, sync=False)


def candidate_row(first: Item, second: Item) -> dict[str, Any]:
    """A pair in the paper's layout, without its column `feedback`."""
    return {
        "instruction_0": as_prompt(first.instruction), "response_0": first.response,
        "instruction_1": as_prompt(second.instruction), "response_1": second.response,
    }  # fmt: skip

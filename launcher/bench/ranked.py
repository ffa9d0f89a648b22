"""Ranked data: four responses an instruction, all six pairs. Each item is scored once, however many pairs use it."""

import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

from jpo_dist import metrics, sources
from jpo_dist.engine import connect
from jpo_dist.held_out import score_comparisons
from jpo_dist.paths import resolve
from jpo_dist.plan import Plan, make_plan
from jpo_dist.prepare import Prepared
from jpo_dist.records import Item
from jpo_dist.setup import Setup
from launcher.bench import ours
from launcher.bench.clock import in_turns
from launcher.bench.sizes import Figures, Sizes

RESPONSES = 4
NATS = 1.0  # what bfloat16 may cost a margin when an item is packed with others


def measure(sizes: Sizes) -> Figures:
    """Against one forward for each side of each comparison, by the same engine, plan and step."""
    sizes.require_rows()
    connect()
    folder = Path(tempfile.mkdtemp())
    setup = ours.ready(sizes, rankings(sizes), folder, train={"sample_by": "group", "shuffle": True})
    apart = replace(setup, dataset=(sides := each_side(setup.dataset)), plan=_plan(setup, sides))
    _check(setup, apart)
    once, twice = ours.Steps(setup), ours.Steps(apart)
    shared, separate = in_turns([once, twice], sizes.repetitions)
    counts, others = ours.computed(setup), ours.computed(apart)
    return {
        "ranked.cpu_ratio": round(separate.cpu / shared.cpu, 3),
        "ranked.wall_ratio": round(separate.wall / shared.wall, 3),
        "ranked.comparisons_per_s": round(len(setup.dataset.comparisons) / shared.wall, 3),
        "ranked.comparisons": len(setup.dataset.comparisons),
        "ranked.unique_items": setup.dataset.comparisons.num_items,
        "ranked.item_forwards": counts["item_forwards"],
        "ranked.sides_item_forwards": others["item_forwards"],
        "ranked.tokens": counts["tokens"],
        "ranked.sides_tokens": others["tokens"],
    }


def rankings(sizes: Sizes) -> list[dict[str, str]]:
    """All pairs of four responses to each instruction. The responses are those of two neighbouring rows: public
    rankings are not at hand, and what is measured depends on lengths alone."""
    found, _ = sources.read(resolve(sizes.rows), on_bad_row="error")
    items, rows = found.all_items(), []
    for place in np.linspace(0, len(found) - 1, sizes.rankings, endpoint=False).astype(int):
        ends = [items[int(side[place + k])] for k in range(2) for side in (found.winners_C, found.losers_C)]
        responses = [Item(ends[0].instruction, f"{end.response} {n}") for n, end in enumerate(ends)]  # none equal
        rows += [ours.row_of(better, worse) for better, worse in combinations(responses[:RESPONSES], 2)]
    return rows


def each_side(dataset: Prepared) -> Prepared:
    """The same comparisons, each with two items of its own: what a trainer of pairs scores."""
    compared, count = dataset.comparisons, len(dataset.comparisons)
    sides = np.concatenate([compared.winners_C, compared.losers_C])
    edges = compared.comparisons
    for name, start in (("winner", 0), ("loser", count)):
        edges = edges.set_column(edges.schema.get_field_index(name), name, pa.array(np.arange(start, start + count)))
    apart = replace(compared, items=compared.items.take(pa.array(sides)), comparisons=edges)
    return dataset._replace(comparisons=apart, tokens=dataset.tokens.take(sides))


def _plan(setup: Setup, dataset: Prepared) -> Plan:
    train, lengths_N = setup.config.train, dataset.tokens.lengths_N
    return make_plan(dataset.comparisons, lengths_N, train, 1, dataset.shared_C, quadratic=setup.plan.room.quadratic)


def _check(setup: Setup, apart: Setup) -> None:
    """Both arms score each comparison alike."""
    margins = []
    for arm in (setup, apart):
        _, rows_CK = score_comparisons(arm.policy, arm.reference, arm.dataset, arm.config)
        margins.append(metrics.column(rows_CK, "logps/chosen") - metrics.column(rows_CK, "logps/rejected"))
    apart_by = float(np.abs(margins[0] - margins[1]).mean())
    assert apart_by < NATS, f"margins of the two arms are {apart_by:.2f} nats apart"

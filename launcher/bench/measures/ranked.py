"""Ranked data: four responses an instruction, all six pairs. Each item is scored once, however many pairs use it."""

import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

from jpo_dist.batches.prepare import Prepared
from jpo_dist.data import read
from jpo_dist.model.engine import connect
from jpo_dist.paths import resolve
from jpo_dist.records.comparisons import Item
from launcher.bench import ours
from launcher.bench.clock import in_turns
from launcher.bench.sizes import Figures, Sizes

RESPONSES = 4


def measure(sizes: Sizes) -> Figures:
    """Items scored once against one forward for each side of each comparison, by the same engine, plan and step; and
    with instructions shared as well."""
    sizes.require_rows()
    connect()
    setup = ours.ready(sizes, rankings(sizes), Path(tempfile.mkdtemp()), train={"sample_by": "group", "shuffle": True})
    data = setup.dataset
    arms = [setup, ours.on(setup, each_side(data)), ours.instructions_once(setup)]
    ours.check_alike(arms)
    once, sides, shared = in_turns([ours.Steps(arm) for arm in arms], sizes.repetitions)
    counts = [ours.computed(arm) for arm in arms]
    return {
        "ranked.cpu_ratio": round(sides.cpu / once.cpu, 3),
        "ranked.wall_ratio": round(sides.wall / once.wall, 3),
        "ranked.shared_instructions_cpu_ratio": round(sides.cpu / shared.cpu, 3),
        "ranked.comparisons_per_s": round(len(data.comparisons) / once.wall, 3),
        "ranked.comparisons": len(data.comparisons),
        "ranked.unique_items": data.comparisons.num_items,
        **{f"ranked.{what}": count for what, count in counts[0].items()},
        **{f"ranked.sides_{what}": count for what, count in counts[1].items()},
        "ranked.shared_instructions_tokens": counts[2]["tokens"],
    }


def rankings(sizes: Sizes) -> list[dict[str, str]]:
    """All pairs of four responses to each instruction. The responses are those of two neighbouring rows: public
    rankings are not at hand, and what is measured depends on lengths alone."""
    found, _ = read.read(resolve(sizes.rows), on_bad_row="error")
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
    return dataset._replace(comparisons=apart, tokens=dataset.tokens.take(sides), instructions_N2=None)

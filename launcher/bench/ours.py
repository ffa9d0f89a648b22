"""Our arm: the package's own set-up and step, on the rows that every arm gets.

Legend: N items, C comparisons, K metric columns.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.batches.shared_prefix import shared_instructions
from jpo_dist.config.run import JpoConfig
from jpo_dist.data import read
from jpo_dist.distributed import ranks
from jpo_dist.model.engine import StepOutcome
from jpo_dist.objective import metrics
from jpo_dist.objective.held_out import evaluation_plan, score_comparisons
from jpo_dist.objective.scores import share_of
from jpo_dist.paths import resolve
from jpo_dist.records.comparisons import Item
from jpo_dist.train.loop import take_step
from jpo_dist.train.setup import Setup, set_up
from launcher.bench.sizes import Sizes

TEMPLATE = "### Instructions: {instruction}\n\n### Response:"
LR, BETA = 1e-4, 0.1
NATS = 1.0
"""How far two arms' margins may be apart in the mean: bfloat16 rounds an item that is packed with others otherwise."""
STEPS = 1000
"""Steps of the plan, more than anything here takes: each is a whole epoch of the same comparisons."""


def joint_rows(sizes: Sizes) -> list[dict[str, str]]:
    """`sizes.comparisons` rows spread evenly over the file, the winner of each against the loser of the next one."""
    found, _ = read.read(resolve(sizes.rows), on_bad_row="error")
    places = np.linspace(0, len(found), sizes.comparisons, endpoint=False).astype(int)
    items = found.all_items()
    winners = [items[int(found.winners_C[p])] for p in places]
    losers = [items[int(found.losers_C[p])] for p in places]
    return [row_of(winner, loser) for winner, loser in zip(winners, losers[1:] + losers[:1], strict=True)]


def row_of(winner: Item, loser: Item) -> dict[str, str]:
    """A row in the layout of joint pairs."""
    return {
        "i_chosen": winner.instruction[0].content,
        "r_chosen": winner.response,
        "i_reject": loser.instruction[0].content,
        "r_reject": loser.response,
    }


def config_for(sizes: Sizes, rows: list[dict[str, str]], folder: Path, **sections: Any) -> JpoConfig:
    """A config whose steps are all `rows`, in order: every step is the same work. `sections` add settings."""
    file = folder / f"rows-{ranks.rank()}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values: dict[str, Any] = {
        "model": {"path": sizes.model, "gguf_file": sizes.gguf_file, "dtype": sizes.dtype},
        "data": {"train": str(file), "template": TEMPLATE, "validation_fraction": 0, "max_length": 2048},
        "objective": {"beta": BETA},
        "reference": {"cache_dir": str(folder / "reference")},
        "optim": {"lr": LR, "schedule": "constant", "grad_clip": 1e9},
        "train": {"comparisons_per_step": len(rows), "epochs": STEPS, "shuffle": False,
                  "tokens_per_micro_step": sizes.tokens_per_micro_step},
        "engine": {"zero_stage": 0},
        "tracking": {"uri": "none"},
        "run": {"dir": str(folder / "run")},
    }  # fmt: skip
    for name, section in sections.items():
        values[name] = {**values[name], **section}
    return JpoConfig.model_validate(values)


def ready(sizes: Sizes, rows: list[dict[str, str]], folder: Path, **sections: Any) -> Setup:
    return set_up(config_for(sizes, rows, folder, **sections))


def on(setup: Setup, dataset: Prepared) -> Setup:
    """`setup` with the same engine, of one rank, on another form of the data."""
    plan = make_plan(dataset, setup.config.train, 1, setup.plan.limits.quadratic)
    return replace(setup, dataset=dataset, plan=plan)


def instructions_once(setup: Setup) -> Setup:
    """`setup` with train.share_instructions."""
    return on(setup, setup.dataset._replace(instructions_N2=shared_instructions(setup.dataset.tokens)))


def check_alike(arms: Sequence[Setup]) -> None:
    """Raises AssertionError unless all arms score each comparison alike. To be called on fresh weights: the larger a
    trained margin, the more bfloat16 rounds it."""
    found = []
    for arm in arms:
        plan = evaluation_plan(arm.dataset, arm.config.train, arm.tokens_per_pass, 1)
        _, rows_CK = score_comparisons(arm.policy, arm.reference, arm.dataset, plan, arm.config.objective)
        found.append(metrics.column(rows_CK, "logps/chosen") - metrics.column(rows_CK, "logps/rejected"))
    apart = max(float(np.abs(margins - found[0]).mean()) for margins in found)
    assert apart < NATS, f"margins of two arms are {apart:.2f} nats apart"


class Steps:
    """Takes the next optimizer step at each call; `losses` and `margins` are those of the steps taken."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.losses: list[float] = []
        self.margins: list[float] = []
        """Mean log p of the winners less that of the losers, in nats, before each step."""

    def __call__(self) -> StepOutcome:
        outcome, meter = take_step(self.setup, self.setup.plan.step(len(self.losses)))
        _, rows_CK = meter.table()
        self.losses.append(float(metrics.column(rows_CK, "loss").mean()))
        chosen, rejected = (metrics.column(rows_CK, f"logps/{side}").mean() for side in ("chosen", "rejected"))
        self.margins.append(float(chosen - rejected))
        return outcome


def computed(setup: Setup) -> dict[str, int]:
    """What a step computes on all ranks, counted in its packs: micro-steps, items, tokens, rows of the head."""
    micros = setup.plan.step(0).micro_steps
    packs = [
        share_of(setup.dataset, micro, rank, setup.device).batch
        for micro in micros
        for rank in range(setup.plan.num_ranks)
    ]
    return {
        "micro_steps": len(micros),
        "item_forwards": sum(batch.num_items for batch in packs),
        "tokens": sum(batch.ids_1T.numel() for batch in packs),
        "head_rows": sum(batch.rows_R.numel() for batch in packs),
    }


def pairs_of_ids(setup: Setup) -> list[dict[str, list[int]]]:
    """Token ids of both sides of each comparison, for an arm that must see the very same ones."""
    tokens, compared = setup.dataset.tokens, setup.dataset.comparisons
    sides = {"chosen_ids": compared.winners_C, "rejected_ids": compared.losers_C}
    return [{name: tokens.ids(int(ends[c])).tolist() for name, ends in sides.items()} for c in range(len(compared))]

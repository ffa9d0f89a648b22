"""Responses under instructions that are not theirs: what KTO measures the drift of the policy by.

Legend: C examples, of which each gives one pair.
"""

import numpy as np
import pyarrow as pa

from jpo_dist.batches.micro_steps import Limits
from jpo_dist.batches.plan import Plan, Step
from jpo_dist.batches.prepare import Prepared
from jpo_dist.batches.shared_prefix import shared_instructions
from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.records.comparisons import ComparisonSet


def partners(instructions_C: np.ndarray) -> np.ndarray:
    """For each example the one whose instruction its response is put under: another instruction than its own, (C,).

    `instructions_C`: equal numbers for equal instructions. In the order of instructions, each response moves on by as
    many places as the most frequent instruction has: nothing stays in its group, and each instruction is used as often
    as it is there. Where one instruction has more than half of the examples, no permutation leaves nothing in its
    place; its responses then share the other instructions. Raises ValueError for a single instruction.
    """
    order, counts = np.argsort(instructions_C, kind="stable"), np.bincount(instructions_C)
    most, frequent = int(counts.max()), int(counts.argmax())
    if most == len(order):
        raise ValueError(f"{len(order)} examples of one instruction make no mismatched pair")
    found = np.empty(len(order), dtype=np.int64)
    if 2 * most <= len(order):
        found[order] = np.roll(order, -most)
        return found
    those, others = np.flatnonzero(instructions_C == frequent), np.flatnonzero(instructions_C != frequent)
    found[those] = others[np.arange(most) % len(others)]
    found[others] = those[: len(others)]
    return found


def mismatched(dataset: Prepared, chosen_C: np.ndarray) -> Prepared:
    """The examples `chosen_C`, each with its own response under another one's instruction, by token ids.

    A pair longer than every item of the set loses the end of its response: so it fits wherever items do. Raises
    ValueError as `partners` does.
    """
    tokens, most = dataset.tokens, int(dataset.tokens.lengths_N.max())
    items_C = dataset.comparisons.winners_C[chosen_C]
    numbers_C = shared_instructions(tokens.take(items_C))[:, 0]
    under_C = items_C[partners(numbers_C)]
    lengths_C = tokens.instruction_lengths_N[under_C]
    pieces = [
        np.concatenate([tokens.ids(under)[:length], tokens.ids(item)[tokens.instruction_lengths_N[item] :]])[:most]
        for item, under, length in zip(items_C.tolist(), under_C.tolist(), lengths_C.tolist(), strict=True)
    ]
    offsets = np.cumsum([0, *(len(piece) for piece in pieces)])
    rows = np.arange(len(pieces))
    nothing = {"weight": np.ones(len(rows)), "tie": np.zeros(len(rows), dtype=bool)}
    loops = pa.table({"winner": rows, "loser": rows, **nothing})
    skips_C = lengths_C if dataset.shared_C[chosen_C].any() else np.zeros_like(lengths_C)
    made = TokenizedItems(np.concatenate(pieces), offsets, lengths_C)
    return Prepared(ComparisonSet(pa.table({}), loops), made, skips_C, skipped={"tie": 0, "over-long": 0})


def one_step(dataset: Prepared, limits: Limits) -> Step:
    """All of a set, in order, as one step."""
    compared = dataset.comparisons
    whole = Plan(
        compared.winners_C, compared.losers_C, compared.weights_C, dataset.shared_C, dataset.tokens.lengths_N,
        dataset.instructions_N2, lambda epoch: np.arange(len(compared)), limits, len(compared), 1,
    )  # fmt: skip
    return whole.step(0)


def require_mismatches(plan: Plan, dataset: Prepared, held_out: Prepared | None) -> None:
    """Raises ValueError where a step of the plan, or what is held out, has a single instruction."""
    numbers_N = shared_instructions(dataset.tokens)[:, 0]
    per_step, fix = plan.comparisons_per_step, "raise it, or leave the rest of an epoch out with train.max_steps"
    for epoch in range(-(-plan.num_steps // plan.steps_per_epoch)):
        numbers_C = numbers_N[plan.winners_C[plan.order_of(epoch)]]
        for position in range(min(plan.steps_per_epoch, plan.num_steps - epoch * plan.steps_per_epoch)):
            here = numbers_C[position * per_step : (position + 1) * per_step]
            if (here == here[0]).all():
                raise ValueError(
                    f"train.items_per_step ({per_step}) leaves step {epoch * plan.steps_per_epoch + position + 1} with "
                    f"{len(here)} examples of one instruction; objective.loss=kto needs two instructions in each step, "
                    f"since it puts responses under another's: {fix}"
                )
    if held_out is not None and (shared_instructions(held_out.tokens)[:, 0] == 0).all():
        raise ValueError(
            "data.validation (or data.validation_fraction) holds out a single instruction; objective.loss=kto needs "
            "two, since it puts responses under another's: hold out more, or set data.validation_fraction=0"
        )

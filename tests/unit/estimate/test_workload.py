"""What the plan gives each rank to do: every token, square and scored row is accounted for."""

import numpy as np
import pytest

from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from jpo_dist.estimate.workload import filling_pass, guessed, load_of, loads
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item


def test_loads_account_for_every_token_of_the_plan() -> None:
    train = TrainConfig(comparisons_per_step=8, tokens_per_micro_step=400, epochs=1)
    dataset = guessed(80, 60, train, 200)
    made, lengths_N = dataset.comparisons, dataset.tokens.lengths_N
    plan = make_plan(dataset, train, 3)
    found = load_of(plan, plan.step(2), 10**6)
    items = np.unique([made.winners_C[plan.step(2).comparisons_C], made.losers_C[plan.step(2).comparisons_C]])
    assert found.tokens_MW.sum() == lengths_N[items].sum()
    assert found.squares_MW.sum() == (lengths_N[items] ** 2).sum()
    assert found.rows_MW.sum() == lengths_N[items].sum() - len(items), "nothing predicts the first token"
    assert sum(found.fullest) == found.tokens_MW.max()
    assert found.fillers == 2 * (found.tokens_MW == 0).sum()
    assert len(loads(plan, 10**6)) == 16
    assert lengths_N.mean() == pytest.approx(80, rel=0.1)
    assert lengths_N.std() == pytest.approx(55, rel=0.2), "a little less than asked for: the longest are cut"


def test_a_step_is_one_reference_pass_unless_the_key_says_less() -> None:
    train = TrainConfig(comparisons_per_step=64, tokens_per_micro_step=400)
    plan = make_plan(guessed(80, 60, train, 200), train, 2)
    step = plan.step(0)
    whole = load_of(plan, step, 10**6)
    most = int(whole.tokens_MW.sum(0).max())
    assert len(whole.tokens_MW) > 8
    assert whole.pass_M.max() == 0
    assert sum(whole.longest_pass) == most, "no item is in two micro-steps here"
    assert load_of(plan, step, most).pass_M.max() == 0
    halves = load_of(plan, step, most - 1)
    assert halves.pass_M.max() == 1
    assert sum(halves.longest_pass) < most
    assert load_of(plan, step, 1).pass_M.tolist() == list(range(len(step.micro_steps))), "micro-steps are not split"


def test_a_shared_instruction_is_computed_once_on_a_rank() -> None:
    """Two comparisons of one instruction: four items of 30 tokens, 20 of them the instruction."""
    edges = [Comparison(Item.of("i", f"w{n}"), Item.of("i", f"l{n}")) for n in range(2)]
    made, train = ComparisonSet.build(edges), TrainConfig(comparisons_per_step=2, share_instructions=True)
    dataset = Prepared.of_lengths(made, np.full(4, 30), instructions_N2=np.array([[0, 20]] * 4))
    plan = make_plan(dataset, train, 1)
    found = load_of(plan, plan.step(0), 10**6)
    assert found.tokens_MW.tolist() == [[20 + 4 * 10]]
    assert found.squares_MW.tolist() == [[4 * 30**2]], "attention spreads the instruction out to all items"
    assert found.rows_MW.tolist() == [[4 * 29]]
    assert found.fullest == (30,) * 4


def test_filling_the_cache_starts_with_the_longest_items_of_a_rank() -> None:
    lengths_N = np.array([5, 90, 80, 70, 60, 50])
    assert filling_pass(lengths_N, 1, 200) == (90, 80)
    assert filling_pass(lengths_N, 2, 200) == (90, 70)
    assert filling_pass(lengths_N, 2, 210) == (90, 70, 50)
    assert filling_pass(lengths_N, 2, 10) == (90,), "an item is never split"

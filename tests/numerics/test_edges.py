"""Numbers at the edge: a training step is right there against an oracle in float64, or refused with key and value.

The oracle divides by no sum of weights: a comparison of weight 3 is there three times, and the mean is a plain one.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from jpo_dist.batches.load import load_data
from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import OverLongError, Prepared, prepare
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.sections import DataConfig, TrainConfig
from jpo_dist.model.attention import SEGMENTS
from jpo_dist.model.engine import StepOutcome
from jpo_dist.model.scorer import Scorer, pack
from jpo_dist.objective.metrics import column
from jpo_dist.objective.scores import item_scores
from jpo_dist.objective.step import train_step
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from tests.support import oracle
from tests.support.runs import config_for
from tests.support.tiny import byte_tokenizer, save_tiny, tiny_model, write_jsonl

DATA = DataConfig(train="unused", template="{instruction}:")
ONE_STEP = TrainConfig(comparisons_per_step=100_000, shuffle=False)
EDGES = (
    (Item.of("say it", "yes yes"), Item.of("say it", "no"), 3.0),
    (Item.of("tell me", "a tale"), Item.of("ask", "why so"), 1.0),
    (Item.of("ask", "why so"), Item.of("say it", "no"), 2.0),
)


class Alone:
    """A policy of one process without an optimizer: a real scorer whose gradients stay where they are."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self.scorer, self.loss = Scorer(tiny_model(attn_implementation=SEGMENTS).to(dtype).eval()), 0.0

    def __call__(self, batch: Any) -> torch.Tensor:
        found: torch.Tensor = self.scorer(batch)
        return found

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        self.loss += float(loss.detach())

    def step(self, lr: float) -> StepOutcome:
        return StepOutcome(True, float(self.gradient.norm()))

    @property
    def gradient(self) -> torch.Tensor:
        return torch.cat([p.grad.double().flatten() for p in self.scorer.parameters() if p.grad is not None])


def prepared(edges: Sequence[tuple[Item, Item, float]], objective: ObjectiveConfig | None = None) -> Prepared:
    made = ComparisonSet.build(Comparison(w, v, weight) for w, v, weight in edges)
    return prepare(byte_tokenizer(), made, DATA, ONE_STEP, objective)


def stepped(
    edges: Sequence[tuple[Item, Item, float]],
    dtype: torch.dtype = torch.float64,
    budget: int = 65_536,
    **objective: Any,
) -> tuple[float, torch.Tensor, np.ndarray]:
    """The loss of one step over all edges, its gradient, and the loss of each comparison."""
    settings = ObjectiveConfig.model_validate(objective)
    dataset, policy = prepared(edges, settings), Alone(dtype)
    reference = tiny_model(seed=1, attn_implementation=SEGMENTS).to(dtype).eval()
    frozen = Scorer(reference)

    def scored(some: Prepared, micros: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            packs = [pack(some.tokens, m.items_by_rank[0], torch.device("cpu"), m.skips_by_rank[0]) for m in micros]
            return [item_scores(frozen(batch), batch) for batch in packs]

    train = ONE_STEP.model_copy(update={"tokens_per_micro_step": budget})
    (step,) = make_plan(dataset, train, 1).steps()
    _, meter = train_step(policy, scored, dataset, step, settings, 0.0)  # type: ignore[arg-type]
    return policy.loss, policy.gradient, column(meter.table()[1], "loss")


def expected(edges: Sequence[tuple[Item, Item, float]], beta: float, smoothing: float = 0.0) -> tuple[float, Any]:
    """Loss and gradient of a step by the oracle: a weight is a number of copies, and the mean is over all of them."""
    dataset = prepared([(winner, loser, 1.0) for winner, loser, _ in edges])
    policy, reference = tiny_model().double().eval(), tiny_model(seed=1).double().eval()
    rows = {item: row for row, item in enumerate(dataset.comparisons.all_items())}
    logps = {item: sum(oracle.item_logps(policy, dataset.tokens, row)) for item, row in rows.items()}
    with torch.no_grad():
        fixed = {item: sum(oracle.item_logps(reference, dataset.tokens, row)) for item, row in rows.items()}
    copies = []
    for winner, loser, weight in edges:
        d = beta * (logps[winner] - logps[loser] - fixed[winner] + fixed[loser])
        wins, loses = torch.logaddexp(-d, d.new_zeros(())), torch.logaddexp(d, d.new_zeros(()))
        copies += [(1 - smoothing) * wins + smoothing * loses] * int(weight)
    loss = torch.stack(copies).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])


def assert_same(found: tuple[float, torch.Tensor, Any], wanted: tuple[float, torch.Tensor]) -> None:
    """1e-9 on losses; 1e-6 on gradients, since Llama's norm is float32 inside."""
    assert found[0] == pytest.approx(wanted[0], rel=1e-9)
    assert (found[1] - wanted[1]).norm() <= 1e-6 * wanted[1].norm()


# ---- weights


@pytest.mark.parametrize("budget", [65_536, 40])
def test_a_weight_of_three_is_as_three_comparisons(budget: int) -> None:
    assert_same(stepped(EDGES, budget=budget), expected(EDGES, 0.1))


@pytest.mark.parametrize("factor", [1e-90, 1e90])
def test_a_factor_of_all_weights_has_no_effect(factor: float) -> None:
    edges = [(winner, loser, weight * factor) for winner, loser, weight in EDGES]
    assert_same(stepped(edges), expected(EDGES, 0.1))


def test_beside_the_largest_weight_the_least_counts_for_nothing() -> None:
    first, second, _ = EDGES
    assert_same(stepped([(*first[:2], 1e-100), (*second[:2], 1e100)]), expected([second], 0.1))


@pytest.mark.parametrize("weight", [1e300, 1.7e308, 1e-300, 5e-324, 0.0, -1.0, float("inf"), float("nan")])
def test_a_weight_that_no_step_can_use_is_refused_with_its_value(weight: float) -> None:
    """1e308 twice was a sum of infinity: a loss of 0, a gradient of 0, nothing trained, and not a word."""
    with pytest.raises(ValueError, match=re.escape(f"weight ({weight:g}) of comparison 2 must be from 1e-100")):
        prepared([EDGES[0], (*EDGES[1][:2], weight)])


@pytest.mark.parametrize(("per_step", "said"), [(1, True), (2, False)])
def test_weights_that_no_step_can_tell_apart_are_mentioned(per_step: int, said: bool, tmp_path: Any) -> None:
    data = write_jsonl(tmp_path / "d.jsonl", ComparisonSet.build(Comparison(*edge) for edge in EDGES))
    config = config_for(save_tiny(tmp_path / "m"), data, tmp_path / "r", train={"comparisons_per_step": per_step})
    _, _, notes = load_data(config, byte_tokenizer())
    wanted = "weights from 1 to 3 have no effect with train.comparisons_per_step=1"
    assert any(wanted in note for note in notes) == said


# ---- settings


@pytest.mark.parametrize("beta", [1e-8, 0.1, 1e8])
@pytest.mark.parametrize("smoothing", [0.0, 0.499])
def test_any_beta_and_any_smoothing_are_those_of_the_oracle(beta: float, smoothing: float) -> None:
    found = stepped(EDGES, beta=beta, label_smoothing=smoothing)
    assert np.isfinite(found[2]).all()
    assert_same(found, expected(EDGES, beta, smoothing))


def test_a_smoothing_next_to_a_half_stays_finite_where_labels_are_corrected() -> None:
    """robust divides by 1 - 2 e = 0.002: [(1 - e) L(z) - e L(-z)] / 0.002, from the plain losses of both directions."""
    e = 0.499
    there, back = stepped(EDGES)[2], stepped([(loser, winner, w) for winner, loser, w in EDGES])[2]
    found = stepped(EDGES, loss="robust", label_smoothing=e)
    assert found[2] == pytest.approx(((1 - e) * there - e * back) / (1 - 2 * e), rel=1e-9)
    assert torch.isfinite(found[1]).all()


# ---- data


def test_one_comparison_of_responses_of_one_token() -> None:
    edges = [(Item.of("a", "x"), Item.of("a", "y"), 1.0)]
    assert_same(stepped(edges), expected(edges, 0.1))
    assert_same(stepped(edges, instruction_weight=0), expected(edges, 0.1))  # the instruction is the same


def test_an_item_in_ten_thousand_comparisons_is_scored_once_and_counted_each_time() -> None:
    hub, losers = Item.of("say it", "yes"), [Item.of("say it", f"no {i}") for i in range(20)]
    edges = [(hub, losers[i % 20], 1.0 + i % 3) for i in range(10_000)]
    wanted = [(hub, losers[i], 1.0 + j) for i in range(20) for j in range(3)]  # each as often as any other, nearly
    counted = [(w, v, weight * sum(1 for e in edges if e == (w, v, weight))) for w, v, weight in wanted]
    assert_same(stepped(edges), expected(counted, 0.1))


def test_an_item_against_itself_teaches_nothing() -> None:
    """Two layouts may spell one item in two ways; rows that say so are refused, and a set of a program loses ln 2."""
    loss, gradient, _ = stepped([(EDGES[0][0], Item.of("say it", "yes yes"), 1.0)])
    assert loss == pytest.approx(np.log(2))
    assert gradient.norm() == 0


def test_nothing_but_ties_is_refused(tmp_path: Any) -> None:
    from jpo_dist.batches.load import require_comparisons

    ties = ComparisonSet.build(Comparison(winner, loser, tie=True) for winner, loser, _ in EDGES)
    dataset = prepare(byte_tokenizer(), ties, DATA, ONE_STEP)
    assert dataset.skipped["tie"] == 3
    with pytest.raises(ValueError, match=r"data\.train has no comparisons left to train on"):
        require_comparisons(dataset, ["data.train: 3 ties and 0 over-long comparisons skipped"])


def test_an_instruction_over_max_length_is_refused_skipped_or_cut() -> None:
    long = "tell me " * 40
    made = ComparisonSet.build([Comparison(Item.of(long, "yes"), Item.of(long, "no")), Comparison(*EDGES[0])])
    limits = {"train": "unused", "template": "{instruction}:", "max_length": 48, "max_instruction_length": 32}
    with pytest.raises(OverLongError, match=r"data.max_length \(48\) is less than 2 items"):
        prepare(byte_tokenizer(), made, DataConfig(**limits, over_long="error"), ONE_STEP)
    skipped = prepare(byte_tokenizer(), made, DataConfig(**limits, over_long="skip"), ONE_STEP)
    assert (len(skipped.comparisons), skipped.skipped["over-long"]) == (1, 1)
    cut = prepare(byte_tokenizer(), made, DataConfig(**limits, over_long="truncate"), ONE_STEP)
    assert (len(cut.comparisons), cut.tokens.truncated, int(cut.tokens.lengths_N.max()) <= 48) == (2, 2, True)


def test_bfloat16_is_float32_up_to_its_rounding() -> None:
    """8 bits of a logit of size 10: an item of 20 tokens may be off by a nat. The order of sizes is what is asked."""
    exact, rounded = stepped(EDGES, torch.float32), stepped(EDGES, torch.bfloat16)
    assert rounded[2] == pytest.approx(exact[2], abs=0.05)
    assert torch.nn.functional.cosine_similarity(exact[1], rounded[1], dim=0) > 0.99

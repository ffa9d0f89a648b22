"""KTO in float64 against numbers by hand and the naive oracle, one test for each bug that a peer has had."""

from typing import Any

import numpy as np
import pytest
import torch

from jpo_dist.batches.mismatched import mismatched, require_mismatches
from jpo_dist.batches.plan import MicroStep, make_plan
from jpo_dist.batches.prepare import Prepared, prepare
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.sections import DataConfig, TrainConfig
from jpo_dist.model.attention import SEGMENTS
from jpo_dist.model.scorer import Scorer, pack
from jpo_dist.objective.criterion import Portion, criterion_of
from jpo_dist.objective.scores import item_scores, score, shares
from jpo_dist.records.comparisons import Item
from jpo_dist.records.examples import Example, Examples
from tests.support import oracle
from tests.support.tiny import PLAIN, byte_tokenizer, tiny_model

CPU = torch.device("cpu")
OBJECTIVE = ObjectiveConfig(loss="kto", instruction_weight=0.3, undesirable_weight=1.5)


def examples(count: int, instructions: int) -> Prepared:
    """Items of uneven lengths over so many instructions, every third undesirable."""
    made = Examples.of(
        Example(Item.of(f"say {i % instructions}", "yes " * (1 + (i * 5) % 7) + str(i)), 1.0, i % 3 != 0)
        for i in range(count)
    )
    return prepare(byte_tokenizer(), made, DataConfig(train="unused", template=PLAIN), TrainConfig(), OBJECTIVE)


def scorer(seed: int) -> Scorer:
    model = tiny_model(seed).double()
    model.set_attn_implementation(SEGMENTS)
    return Scorer(model)


def step_loss(data: Prepared, policy: Scorer, reference: Scorer, **train: Any) -> tuple[torch.Tensor, float]:
    """Loss and z0 of the first step in float64, on one rank."""

    def fixed(dataset: Prepared, micro_steps: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            packs = [pack(dataset.tokens, m.items_by_rank[0], CPU, m.skips_by_rank[0]) for m in micro_steps]
            return [item_scores(reference(batch), batch) for batch in packs]

    settings = {"items_per_step": len(data.comparisons), "shuffle": False, **train}
    step = make_plan(data, TrainConfig.model_validate(settings), 1).step(0)
    measure, total = criterion_of(OBJECTIVE).begin(Portion(policy, fixed, data, step.comparisons_C, step.limits))
    loss, kl = torch.zeros((), dtype=torch.float64), 0.0
    references = fixed(data, step.micro_steps)
    for micro, reference_n2, share in zip(step.micro_steps, references, shares(data, step), strict=True):
        found, _ = score(policy, reference_n2, share, micro.counts, 0)
        losses_C, rows_CK = measure(found, share, micro)
        loss = loss + (share.weights_C * losses_C).sum() / total
        kl = float(rows_CK[0, 4])
    return loss, kl


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_every_response_stands_under_another_instruction_in_odd_batches_too(count: int) -> None:
    """Reversing an odd batch leaves its middle where it is (trl#1911)."""
    data = examples(count, count)
    pairs = mismatched(data, np.arange(count))
    for row in range(count):
        own, cut = data.tokens.ids(row), int(data.tokens.instruction_lengths_N[row])
        other = pairs.tokens.ids(row)[: pairs.tokens.instruction_lengths_N[row]]
        assert pairs.tokens.ids(row)[len(other) :].tolist() == own[cut:].tolist()
        assert other.tolist() != own[:cut].tolist()


def test_the_drift_is_that_of_the_step_whatever_its_micro_steps_and_all_of_it_counts() -> None:
    """Peers took that of the batch of one device (trl#2153), or kept the last one only (align-anything#216)."""
    data = examples(7, 7)
    policy, reference = scorer(0), scorer(4)
    whole, kl = step_loss(data, policy, reference)
    apart, kl_apart = step_loss(data, policy, reference, tokens_per_micro_step=int(data.tokens.lengths_N.max()))
    labels = [i % 3 != 0 for i in range(7)]
    args = (tiny_model(0).double(), tiny_model(4).double(), data.tokens, list(range(7)), labels, 0.3, (1.0, 1.5))
    assert kl > 0.1
    assert kl_apart == pytest.approx(kl, abs=1e-9)
    assert whole.item() == pytest.approx(oracle.kto_loss(*args).item(), abs=1e-9)
    assert apart.item() == pytest.approx(whole.item(), abs=1e-9)


def test_no_gradient_flows_through_the_drift() -> None:
    data = examples(4, 4)
    model, policy = tiny_model(0).double(), scorer(0)
    step_loss(data, policy, scorer(4))[0].backward()
    labels = [i % 3 != 0 for i in range(4)]
    oracle.kto_loss(model, tiny_model(4).double(), data.tokens, list(range(4)), labels, 0.3, (1.0, 1.5)).backward()
    theirs = dict(model.named_parameters())
    ours = dict(policy.model.named_parameters())
    for name, parameter in theirs.items():
        assert parameter.grad is not None
        difference = (ours[name].grad - parameter.grad).norm() / parameter.grad.norm().clamp(min=1e-12)
        assert difference < 1e-5, name  # Llama's norm is float32 inside


def test_a_step_of_one_label_is_finite() -> None:
    """Without any row of a kind its mean is that of nothing (trl#1380)."""
    data = examples(2, 2)
    for keep in ([True, True], [False, False]):
        labels = Examples.of(
            Example(item, 1.0, good) for item, good in zip(data.comparisons.all_items(), keep, strict=True)
        )
        loss, _ = step_loss(data._replace(comparisons=labels), scorer(0), scorer(4))
        assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("count", "instructions", "per_step", "said"),
    [
        (1, 1, 8, r"step 1 with 1 examples of one instruction"),  # trl#2554
        (3, 1, 8, r"step 1 with 3 examples of one instruction"),
        (4, 4, 1, r"items_per_step \(1\) leaves step 1 with 1 examples"),
        (5, 5, 2, r"items_per_step \(2\) leaves step 3 with 1 examples of one instruction.*raise it"),
    ],
)
def test_a_step_without_two_instructions_is_refused_when_the_plan_is_made(
    count: int, instructions: int, per_step: int, said: str
) -> None:
    data = examples(count, instructions)
    plan = make_plan(data, TrainConfig(items_per_step=per_step, shuffle=False), 1)
    with pytest.raises(ValueError, match=said):
        require_mismatches(plan, data, None)
    with pytest.raises(ValueError, match="hold out more"):
        require_mismatches(make_plan(examples(4, 4), TrainConfig(), 1), examples(4, 4), examples(3, 1))


def test_a_micro_step_says_each_item_once() -> None:
    """A loop's item is packed once, on one rank, though it stands on both sides."""
    step = make_plan(examples(5, 5), TrainConfig(shuffle=False), 2).step(0)
    micro: MicroStep = step.micro_steps[0]
    assert sorted(micro.items_N.tolist()) == list(range(5))
    assert micro.winners_C.tolist() == micro.losers_C.tolist()
    assert not np.concatenate(micro.skips_by_rank).any()

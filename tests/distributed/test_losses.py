"""Every loss on comparisons: against the float64 oracle at the first step, and the same training on any ranks.

One process group trains with all of them one after another: starting processes costs more than the steps.
"""

import math
from typing import Any

import numpy as np
import pytest

from jpo_dist.batches.prepare import prepare
from jpo_dist.batches.similarity import similarity_factors
from jpo_dist.config.run import JpoConfig
from jpo_dist.records.comparisons import Comparison, ComparisonSet
from jpo_dist.records.folder import write_set
from tests.support import oracle
from tests.support.procs import run_ranks
from tests.support.runs import config_for, trajectory
from tests.support.tiny import byte_tokenizer, comparisons, save_tiny, tiny_model

pytestmark = pytest.mark.slow
STEPS, BETA = 3, 0.2
NONE = {"reference": {"mode": "none", "path": None}}

LOSSES: dict[str, dict[str, Any]] = {
    "ipo": {"objective": {"loss": "ipo"}},
    "hinge": {"objective": {"loss": "hinge"}},
    "cdpo": {"objective": {"label_smoothing": 0.1}},
    "robust": {"objective": {"loss": "robust", "label_smoothing": 0.1}},
    "davidson": {"objective": {"loss": "davidson", "ties": "use", "tie_probability": 0.25}},
    "rao_kupper": {"objective": {"loss": "rao_kupper", "ties": "use"}},
    "inside": {"objective": {"similarity": "inside"}},
    "outside": {"objective": {"similarity": "outside", "instruction_weight": 0.5}},
    "sigmoid_norm": {"objective": {"loss": "sigmoid_norm", "beta": 2.0}},
    "sigmoid_norm, no reference": {"objective": {"loss": "sigmoid_norm", "instruction_weight": 0.0}, **NONE},
    "simpo": {"objective": {"loss": "simpo", "gamma": 0.3, "beta": 2.0}, **NONE},
}


def with_ties(made: ComparisonSet) -> ComparisonSet:
    """Every fourth comparison is a tie."""
    items, edges = made.all_items(), zip(made.winners_C, made.losers_C, made.weights_C, strict=True)
    return ComparisonSet.build(
        Comparison(items[w], items[v], float(weight), tie=i % 4 == 1) for i, (w, v, weight) in enumerate(edges)
    )


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, JpoConfig]:
    """One rank, one micro-step a step, no partitioning; another model as reference, so that no margin is zero."""
    folder = tmp_path_factory.mktemp("losses")
    write_set(with_ties(comparisons(14)), folder / "data")
    model, other = save_tiny(folder / "model"), save_tiny(folder / "other", seed=1)
    return {
        name: config_for(
            model, str(folder / "data"), folder / "run", engine={"zero_stage": 0},
            objective={"beta": BETA, **sections["objective"]},
            reference={"path": other, **sections.get("reference", {})},
        )
        for name, sections in LOSSES.items()
    }  # fmt: skip


def trajectories(configs: dict[Any, JpoConfig]) -> dict[Any, dict[str, Any]]:
    return {name: trajectory(config, STEPS) for name, config in configs.items()}


@pytest.fixture(scope="module")
def alone(configs: dict[str, JpoConfig]) -> dict[str, dict[str, Any]]:
    (found,) = run_ranks(trajectories, 1, configs, group=False)
    return dict(found)


def by_hand(config: JpoConfig, d: float, tau: float, tie: bool) -> float:
    """The loss of one comparison with beta z = d, by its textbook formula."""
    o, cost = config.objective, lambda x: math.log1p(math.exp(-x))
    s = o.label_smoothing
    if o.loss == "ipo":
        return (d / o.beta - 1 / (2 * o.beta)) ** 2
    if o.loss == "hinge":
        return max(0.0, 1 - d)
    if o.loss == "robust":
        return ((1 - s) * cost(d) - s * cost(-d)) / (1 - 2 * s)
    if o.loss == "davidson":  # nu = 1/3
        total = math.exp(d) + 1 + 2 / 3 * math.exp(d / 2)
        return -math.log((2 / 3 * math.exp(d / 2) if tie else math.exp(d)) / total)
    if o.loss == "rao_kupper":  # nu = 3
        win, lose = math.exp(d) / (math.exp(d) + 3), 1 / (1 + 3 * math.exp(d))
        return -math.log(1 - win - lose if tie else win)
    if o.loss == "simpo":
        return cost(d - o.gamma)
    if o.similarity == "inside":
        return cost(tau * d)
    return (tau if o.similarity == "outside" else 1.0) * ((1 - s) * cost(d) + s * cost(-d))


@pytest.mark.parametrize("name", LOSSES)
def test_the_first_step_costs_what_the_oracle_says(
    name: str, configs: dict[str, JpoConfig], alone: dict[str, dict[str, Any]]
) -> None:
    """Log-probs item by item in float64: lengths, ties and similarities reach the comparison that they belong to."""
    config, made = configs[name], with_ties(comparisons(14))
    weight, per_token = config.objective.instruction_weight, name in ("sigmoid_norm", "simpo") or "," in name
    data = prepare(byte_tokenizer(), made, config.data, config.train, config.objective)
    models = [tiny_model().double(), *([] if config.reference.mode == "none" else [tiny_model(1).double()])]

    def reward(row: int) -> float:
        parts = [[part.item() for part in oracle.item_logps(model, data.tokens, row)] for model in models]
        sums = [weight * instruction + response for instruction, response in parts]
        before = int(data.tokens.instruction_lengths_N[row])
        count = (len(data.tokens.ids(row)) - before) + weight * (before - 1) if per_token else 1.0
        return (sums[0] - sum(sums[1:])) / count

    taus = similarity_factors(data.comparisons, config.objective)
    first = alone[name]["steps"][0]
    expected = []
    for c in first["comparisons"]:
        d = config.objective.beta * (
            reward(int(data.comparisons.winners_C[c])) - reward(int(data.comparisons.losers_C[c]))
        )
        tie = bool(data.comparisons.is_tie_C[c])
        expected.append(by_hand(config, d, 1.0 if taus is None else float(taus[c]), tie))
    np.testing.assert_allclose(first["loss"], expected, rtol=2e-5, atol=2e-6)
    assert config.objective.ties == "drop" or data.comparisons.is_tie_C[first["comparisons"]].any()


def test_two_ranks_any_stage_and_many_micro_steps_train_the_same(
    configs: dict[str, JpoConfig], alone: dict[str, dict[str, Any]]
) -> None:
    split = {}
    for i, (name, config) in enumerate(configs.items()):
        train = config.train.model_copy(update={"tokens_per_micro_step": 140})
        for stage in (3, (0, 2)[i % 2]):
            engine = config.engine.model_copy(update={"zero_stage": stage})
            split[name, stage] = config.model_copy(update={"train": train, "engine": engine})
    first, second = run_ranks(trajectories, 2, split, group=False)
    for (name, stage), run in first.items():
        said = f"{name}, ZeRO-{stage}"
        assert run["steps"] == second[name, stage]["steps"], f"{said}: metrics differ between ranks"
        assert run["steps"][0]["micro_steps"] > 1
        for left, right in zip(alone[name]["steps"], run["steps"], strict=True):
            assert left["comparisons"] == right["comparisons"]
            np.testing.assert_allclose(right["loss"], left["loss"], rtol=2e-5, atol=2e-5, err_msg=said)
            np.testing.assert_allclose(right["grad_norm"], left["grad_norm"], rtol=1e-3, err_msg=said)
        for key, weight in alone[name]["weights"].items():
            np.testing.assert_allclose(run["weights"][key], weight, rtol=0, atol=2e-4, err_msg=f"{said}: {key}")

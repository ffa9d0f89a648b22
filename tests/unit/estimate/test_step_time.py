"""The arithmetic of `jpo plan`, against numbers worked out by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaConfig
from typer.testing import CliRunner

from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sections import ModelConfig, TrainConfig
from jpo_dist.estimate.advice import Situation, advice, ranks_fed, tokens_of
from jpo_dist.estimate.hardware import Device, Link, link_of
from jpo_dist.estimate.memory import PROCESS, memory
from jpo_dist.estimate.model_shape import (
    Activations,
    ModelShape,
    Passes,
    activations,
    build,
    model_shape,
    peak_bytes,
    pretend,
)
from jpo_dist.estimate.step_time import break_even, step_time, traffic, work
from jpo_dist.estimate.workload import Load, filling_pass, guessed, load_of, loads
from jpo_dist.estimate.zero3_gathers import Visit, forward_order, gathered, training_order
from jpo_dist.model.scorer import Scorer
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from launcher.cli import app

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
TABLE, LAYER = 258 * 32, 2 * 32 + 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
P = 2 * TABLE + 2 * LAYER + 32
NOTHING = Activations(0, 0, 0)


def llama(tied: bool = False, layers: int = 2, **sizes: Any) -> LlamaConfig:
    settings = {**SIZES, "vocab_size": 258, **sizes}
    return LlamaConfig(num_hidden_layers=layers, tie_word_embeddings=tied, **settings)


def config(**sections: Any) -> JpoConfig:
    values: dict[str, Any] = {
        "model": {"path": "m", "dtype": "bfloat16"},
        "data": {"train": "d"},
        "engine": {"param_persistence_threshold": 0},
        "run": {"dir": "r"},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return JpoConfig.model_validate(values)


def shape_of(settings: JpoConfig, tied: bool = False) -> ModelShape:
    return model_shape(llama(tied), settings.model)


def load(tokens: list[list[int]], squares: int = 0, rows: int = 0) -> Load:
    table = np.array(tokens)
    return Load(4, 8, table, table * 0 + squares, table * 0 + rows, 0, (1,), np.zeros(len(table), dtype=int), (1,))


def test_parameters_are_counted_without_weights() -> None:
    shape = shape_of(config())
    assert (shape.total, shape.trainable, shape.head, shape.in_body) == (P, P, TABLE, 2 * LAYER + 32)
    tied = shape_of(config(), tied=True)
    assert (tied.total, tied.head, tied.in_body, tied.tied) == (P - TABLE, TABLE, 2 * LAYER + 32, True)
    lora = shape_of(config(model={"lora": {"rank": 4}}))
    ends = (32 + 32) * 2 + (32 + 16) * 2 + (32 + 48) * 3  # in and out of q, o, k, v, gate, up, down
    assert lora.trainable == lora.adapters == 2 * 4 * ends
    assert lora.total == P + lora.adapters


def test_memory_by_stage_in_bytes_of_each_parameter() -> None:
    """bfloat16: weights 2, gradients 2, moments and a float32 copy 12, reference 2; divided by 4 ranks where split."""
    split = {0: (2, 2, 12, 2), 1: (2, 2, 3, 2), 2: (2, 0.5, 3, 2), 3: (0.5, 0.5, 3, 0.5)}
    for stage, expected in split.items():
        settings = config(engine={"zero_stage": stage})
        found = memory(shape_of(settings), settings, 4, NOTHING, on_gpu=True)
        parts = found.weights, found.gradients, found.optimizer, found.reference
        assert parts == pytest.approx([e * P for e in expected], rel=1e-3), stage
        assert found.peak == found.stays + max(found.gathered, found.scoring, found.update)
    for stage in (2, 3):
        settings = config(engine={"zero_stage": stage, "grad_accum_dtype": "float32"})
        found = memory(shape_of(settings), settings, 4, NOTHING, on_gpu=True)
        assert (found.gradients, found.update) == pytest.approx((P, P), rel=1e-3), "4 bytes, of a quarter each"
    single = config(model={"dtype": "float32"}, engine={"zero_stage": 0}, reference={"mode": "cached"})
    found = memory(shape_of(single), single, 1, NOTHING, on_gpu=False)
    assert (found.weights, found.gradients, found.optimizer, found.reference) == (4 * P, 4 * P, 8 * P, 0)
    assert found.peak == PROCESS["cpu"] + 16 * P


def test_memory_of_what_comes_and_goes_is_the_largest_not_the_sum() -> None:
    settings = config(engine={"zero_stage": 0})
    found = memory(
        shape_of(settings), settings, 1, Activations(training=10**6, scoring=3 * 10**6, filling=9 * 10**9), on_gpu=True
    )
    assert found.peak == found.stays + 3 * 10**6
    cached = config(engine={"zero_stage": 0}, reference={"mode": "cached"})
    found = memory(shape_of(cached), cached, 1, Activations(0, 10**6, 10**9), on_gpu=True)
    assert found.peak == found.filling == PROCESS["gpu"] + 2 * P + 10**9, "filling the cache is before the policy"


def test_offloading_moves_bytes_to_main_memory() -> None:
    settings = config(engine={"offload_optimizer": {"device": "cpu"}, "offload_params": {"device": "cpu"}})
    found = memory(shape_of(settings), settings, 4, NOTHING, on_gpu=True)
    assert (found.weights, found.gradients, found.optimizer, found.reference) == (0, 0, 0, 0)
    assert found.host == pytest.approx((2 + 2 + 12 + 4 + 2) / 4 * P, rel=1e-3), (
        "weights, gradients twice, state, reference"
    )


def test_lora_keeps_state_for_adapters_only() -> None:
    settings = config(model={"lora": {"rank": 4}}, engine={"zero_stage": 0}, reference={"mode": "adapter_off"})
    shape = shape_of(settings)
    found = memory(shape, settings, 1, NOTHING, on_gpu=True)
    assert (found.gradients, found.optimizer, found.reference) == (2 * shape.adapters, 12 * shape.adapters, 0)
    assert found.weights == 2 * (P + shape.adapters)


def saved(tokens: int, **sizes: Any) -> int:
    model = ModelConfig(path="m", dtype="float32")
    return activations(llama(**sizes), model, Passes((tokens,), (), ()), on_gpu=True).training


def test_activations_of_a_layer_by_hand() -> None:
    """Float32 numbers that a layer keeps for each token, on a GPU: two norms keep input, root mean square, scaled
    input; query, key, value and output of attention with a number a head; gate, up, act, their product."""
    more = saved(64, layers=7) - saved(64, layers=6)
    norms = 2 * (32 + 1 + 32) + 2 * 32  # what a norm returns is kept as the input of the next product
    attention = 32 + 16 + 16 + 32 + 4
    gated = 4 * 48
    by_hand = 4 * 64 * (norms + attention + gated)
    assert more == pytest.approx(by_hand, rel=0.15)


@pytest.mark.parametrize("recomputes", [False, True])
def test_three_layers_tell_what_six_need(recomputes: bool) -> None:
    model = ModelConfig(path="m", dtype="float32", gradient_checkpointing=recomputes)
    lengths = (300, 200, 12)
    scorer, mode = Scorer(build(llama(layers=6), model)), FakeTensorMode(allow_non_fake_inputs=True)
    pretend(scorer, mode)
    with mode:
        whole = [peak_bytes(scorer, lengths, trains=trains) for trains in (True, False)]
    found = activations(llama(layers=6), model, Passes(lengths, lengths, ()), on_gpu=False)
    assert found == pytest.approx((*whole, 0), rel=0.01)


def test_the_head_never_has_all_logits() -> None:
    """512 rows of 300,000 logits in float32 are 614 MB; the weight's gradient is 38 MB."""
    assert saved(512, layers=2, vocab_size=300_000) < 200e6


def elements(*sizes: int) -> list[Visit]:
    return [Visit(((number, size),)) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("reuse", "total"),
    [
        (1, 100 + 70),  # the last module comes again at once
        (60, 100 + 70),  # between the second and its return lie 30 and 30
        (61, 100 + 20),
        (161, 100),  # and 2 x 80 between the first and its own
    ],
)
def test_what_a_backward_gathers_again(reuse: int, total: int) -> None:
    forward = elements(20, 50, 30)
    engine = EngineConfig(param_persistence_threshold=0, max_reuse_distance=reuse, prefetch_bucket_size=0)
    found = gathered(forward + forward[::-1], engine)
    assert found == (total, {170: 50, 120: 80, 100: 100}[total])


def test_persistent_parameters_are_never_gathered_and_untraced_passes_gather_all() -> None:
    engine = EngineConfig(param_persistence_threshold=30)
    forward = elements(20, 50, 30)
    assert gathered(forward + forward[::-1], engine).total == 50
    everything = EngineConfig(param_persistence_threshold=0)
    assert gathered(forward + forward[::-1], everything, known=False).total == 200


def test_order_of_a_pass_and_what_is_recomputed() -> None:
    shape = shape_of(config())
    forward, both = forward_order(shape), training_order(shape, recomputes=False)
    sizes = [sum(size for _, size in visit.wanted) for visit in both if visit.wanted]
    assert sum(sum(size for _, size in visit.wanted) for visit in forward) == P
    assert sizes == sizes[::-1]
    again = training_order(shape, recomputes=True)
    assert [visit.held for visit in again].count(True) == 2 * 3, "layer, mlp, down_proj wait for the rest of the layer"
    assert sum(s for visit in again for _, s in visit.wanted) == 2 * P + 2 * LAYER


def test_traffic_by_stage() -> None:
    tight = {"max_reuse_distance": 1, "prefetch_bucket_size": 0}
    expected = {
        0: (0, 0, 0, P, 0),
        1: (0, 0, 0, P, P),
        2: (0, 0, 0, 3 * P, P),
        3: (3 * (2 * P - TABLE), 2 * P, 3 * P, 0, 0),
    }
    for stage, elements_of in expected.items():
        settings = config(engine={"zero_stage": stage, **tight})
        assert traffic(shape_of(settings), settings, 4, micro_steps=3, passes=2) == elements_of
    settings = config(engine=tight, reference={"mode": "cached"})
    found = traffic(shape_of(settings), settings, 4, 1, 1)
    assert found.reference_gathers == 0
    assert found.bytes(2, 4) == (3 * P - TABLE) * 2 * 3 / 4
    reduced = traffic(shape_of(settings), config(engine={"zero_stage": 0}), 4, 1, 1)
    assert reduced.bytes(2, 4) == 2 * P * 2 * 3 / 4, "an all-reduce sends everything twice"
    assert not any(traffic(shape_of(settings), settings, 1, 5, 5))


def test_work_in_flops() -> None:
    """100 tokens, 60 scored, squares 1000; body 2 B, attention 2 L D, head 2 V D."""
    one = load([[100, 50]], squares=1000, rows=60)
    body, attention, head = 2 * (2 * LAYER + 32) * 100, 2 * 2 * 32 * 1000, 2 * TABLE * 60
    for sections, units in [
        ({}, (3, 3, 4)),
        ({"model": {"gradient_checkpointing": True}}, (4, 4, 4)),
        ({"model": {"lora": {"rank": 4}}}, (2, 3, 2)),
    ]:
        settings = config(**sections)
        shape = shape_of(settings)
        with_adapters = 2 * shape.adapters * 100 * units[0]
        found = work(shape, settings, one)
        by_hand = body * units[0] + attention * units[1] + head * units[2] + with_adapters
        assert found.policy_MW[0, 0] == by_hand
        assert found.reference_FW.shape == (1, 2)
    assert work(shape, config(reference={"mode": "cached"}), one).reference_FW.size == 0


def test_break_even_does_not_depend_on_the_model() -> None:
    """400 TFLOP/s: 10,000 tokens at 40 GB/s, and 1,333 at 300 GB/s; with checkpointing 0.8 of it."""
    device = Device("d", 1e15, 1e15, 1, 1)
    for sections, share in [
        ({}, 1.0),
        ({"reference": {"mode": "cached"}}, 1.0),
        ({"model": {"lora": {"rank": 4}}, "reference": {"mode": "adapter_off"}}, 1.0),
        ({"model": {"gradient_checkpointing": True}}, 0.8),
    ]:
        settings = config(**sections)
        for rate, tokens in ((40e9, 10_000), (300e9, 1_333.3)):
            found = break_even(shape_of(settings), settings, device, Link("l", rate, ""))
            assert found == pytest.approx(share * tokens, rel=1e-3)
    assert (ranks_fed(5_100, 1_333), ranks_fed(24_500, 1_333), ranks_fed(5_100, 10_000)) == (3, 18, 1)


def test_time_is_the_slowest_resource_and_the_slowest_rank() -> None:
    settings = config(engine={"zero_stage": 0}, reference={"mode": "cached"})
    shape = shape_of(settings)
    speed = Device("d", 2.5e6 * 100, 1, 1, 1e30)
    slow, fast = Link("slow", 2 * P * 2 / 2, ""), Link("fast", 1e30, "")
    uneven = load([[100, 50]])
    compute = 3 * 2 * (2 * LAYER + 32) * 100 / 1e8
    found = step_time(shape, settings, [uneven], speed, slow, 0)
    assert found.seconds == pytest.approx(max(compute, 1.0))
    assert found.bound == ("network" if compute < 1 else "compute")
    quick = step_time(shape, settings, [uneven], speed, fast, 0)
    assert quick.seconds == pytest.approx(compute)
    assert quick.efficiency == pytest.approx(0.75), "the other rank has half the tokens"
    alternating = step_time(shape, settings, [uneven], speed._replace(overlaps=False), slow, 0)
    assert alternating.seconds == pytest.approx(compute + 1.0)


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


@pytest.mark.parametrize(("scoring", "told"), [(2 * 10**9, False), (8 * 10**9, True)])
def test_plan_says_where_a_pass_without_gradient_needs_more_than_training(scoring: int, told: bool) -> None:
    settings = config()
    shape, device = shape_of(settings), Device("d", 1e15, 1e15, 80 * 10**9, 1)
    link, one = Link("l", 1e9, ""), load([[100, 100]])
    needs = memory(shape, settings, 2, Activations(3 * 10**9, scoring, 0), on_gpu=True)
    now = Situation(2, device, link, needs, tokens_of([one]), step_time(shape, settings, [one], device, link, 0), 1, 4)
    said = " ".join(advice(settings, now, {}))
    assert ("5.0 GB more than training" in said and "reference.tokens_per_pass (65536)" in said) == told


def test_links() -> None:
    assert link_of("400Gb").rate == 40e9
    assert link_of("100Gb/8").rate == 1.25e9
    for wrong in ("fast", "0Gb", "100Gb/0", "Gb"):
        with pytest.raises(ValueError, match="network"):
            link_of(wrong)


CONFIG = """
model: {path: /nobody/has-this-model, dtype: bfloat16}
data: {train: nothing.jsonl}
train: {comparisons_per_step: 32, tokens_per_micro_step: 2048}
cluster: {workers: 16, gpus_per_worker: 1}
run: {dir: r}
"""


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "config.json").write_text(json.dumps(llama().to_dict()))
    return ["plan", str(tmp_path / "c.yaml"), "--model-config", str(tmp_path / "config.json"), "--lengths", "80,60"]


def test_plan_needs_neither_model_nor_data_nor_network(offline: list[str]) -> None:
    done = CliRunner().invoke(app, [*offline, "--network", "100Gb", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["model"]["parameters"] == P
    assert found["ranks_fed"] == 1
    assert "feeds 1 of 16 ranks" in " ".join(found["advice"])
    assert [(row["gpus"], row["network"]) for row in found["extrapolation"]][::4] == [
        (8, "nvlink"),
        (64, "nvlink"),
        (512, "nvlink"),
    ]
    by_ranks = {row["gpus"]: row["efficiency"] for row in found["extrapolation"] if row["network"] == "nvlink"}
    assert by_ranks[512] < by_ranks[64] < by_ranks[8]
    assert 0 < found["memory"]["peak"] < found["memory"]["room"]


@pytest.mark.parametrize(
    ("left_out", "fix"), [("--model-config", "--model-config FILE"), ("--lengths", "--lengths 80,60")]
)
def test_what_is_missing_is_named_with_the_fix(offline: list[str], left_out: str, fix: str) -> None:
    place = offline.index(left_out)
    done = CliRunner().invoke(app, offline[:place] + offline[place + 2 :])
    assert done.exit_code == 2
    assert fix in done.output
    assert "model.path" in done.output

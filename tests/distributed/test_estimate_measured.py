"""What `jpo plan` predicts, against real processes: elements that collectives carry, memory that training takes."""

from typing import Any

import pytest
from transformers import AutoConfig

from jpo_dist.batches.load import load_data
from jpo_dist.batches.plan import make_plan
from jpo_dist.config.run import JpoConfig
from jpo_dist.estimate.memory import memory
from jpo_dist.estimate.model_shape import Passes, activations, model_shape
from jpo_dist.estimate.step_time import Traffic, traffic
from jpo_dist.estimate.workload import Load, load_of
from jpo_dist.model.load import attention_share, load_tokenizer
from tests.support.footprint import training_peak
from tests.support.procs import run_ranks
from tests.support.runs import config_for
from tests.support.tiny import comparisons, save_tiny, write_jsonl

pytestmark = pytest.mark.slow
STEPS = 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("estimate")
    return {
        "model": save_tiny(folder / "model"),
        "tied": save_tiny(folder / "tied", tied=True),
        "data": write_jsonl(folder / "data.jsonl", comparisons(36)),
        "run": str(folder / "run"),
        "cache": str(folder / "cache"),
    }


def planned(config: JpoConfig, ranks: int) -> list[Load]:
    dataset, _, _ = load_data(config, load_tokenizer(config.model))
    plan = make_plan(dataset, config.train, ranks, attention_share(config.model))
    return [load_of(plan, plan.step(i), config.reference.tokens_per_pass) for i in range(STEPS)]


def counted(config: JpoConfig) -> dict[tuple[str, str], int]:
    """Elements of the last of some steps. In the first ZeRO-3 does not yet know the order of the modules."""
    from jpo_dist.model.engine import connect
    from jpo_dist.train.loop import take_step
    from jpo_dist.train.setup import set_up
    from launcher.bench.traffic import TrafficCounter, watched

    connect(60)
    setup = set_up(config)
    for step in list(setup.plan.steps())[:STEPS]:
        with TrafficCounter() as counter:
            take_step(watched(setup, counter), step)
    return dict(counter.elements)


def as_traffic(elements: dict[tuple[str, str], int]) -> Traffic:
    """Without the few floats that are not parameters: scores, norms, flags."""

    def of(kind: str, *labels: str) -> int:
        return sum(elements.get((label, kind), 0) for label in labels)

    return Traffic(
        policy_gathers=of("all-gather", "policy forward", "policy backward"),
        reference_gathers=of("all-gather", "reference"),
        reduce_scatters=of("reduce-scatter", "policy backward"),
        all_reduces=of("all-reduce", "policy backward"),
        update_gathers=of("all-gather", "optimizer"),
    )


RECOMPUTING = {"gradient_checkpointing": True}
WIDE = {"max_reuse_distance": 20_000, "max_live_parameters": 10**9}


@pytest.mark.parametrize(
    ("which", "sections"),
    [
        ("model", {}),
        ("tied", {"model": RECOMPUTING, "reference": {"mode": "cached"}}),
        ("model", {"model": RECOMPUTING, "engine": WIDE}),
        ("model", {"engine": {"zero_stage": 2}}),
    ],
    ids=["live", "tied-recomputing-cached", "look-ahead", "zero2"],
)
def test_collectives_carry_what_the_formula_says(files: dict[str, str], which: str, sections: dict[str, Any]) -> None:
    """To the element. Policy forward 1.0 P, backward less what is kept; reference 1.0 P a pass, none when cached; 1.0 P
    reduced a micro-step."""
    sections = {**sections, "reference": {"cache_dir": files["cache"], **sections.get("reference", {})}}
    sections["model"] = {"path": files[which], "dtype": "float32", **sections.get("model", {})}
    config = config_for(files[which], files["data"], files["run"], **sections, train={"tokens_per_micro_step": 140})
    load = planned(config, 2)[-1]
    micro_steps, passes = len(load.tokens_MW), int(load.pass_M.max()) + 1
    assert micro_steps > 1
    assert passes == 1
    shape = model_shape(AutoConfig.from_pretrained(files[which]), config.model)
    found = run_ranks(counted, 2, config, group=False)
    assert as_traffic(found[0]) == as_traffic(found[1]) == traffic(shape, config, 2, micro_steps, passes)


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> str:
    """111 million parameters: a state that outweighs what a process takes anyway."""
    sizes = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8, "num_attention_heads": 16}
    folder = tmp_path_factory.mktemp("medium")
    return save_tiny(folder, **sizes, num_key_value_heads=8, vocab_size=8192, initializer_range=0.02)


SMALL_BUFFERS = {
    "param_persistence_threshold": 100_000,
    "max_live_parameters": 20_000_000,
    "max_reuse_distance": 1,
    "prefetch_bucket_size": 5_000_000,
    "reduce_bucket_size": 10_000_000,
    "sub_group_size": 20_000_000,
}


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("ranks", "dtype", "stage", "recomputes"),
    [(1, "float32", 0, False), (2, "auto", 3, True)],  # bfloat16 without instructions for it: 1 GFLOP/s
    ids=["whole-float32", "zero3-recomputing"],
)
def test_memory_is_predicted_within_a_fifth(
    files: dict[str, str], medium: str, ranks: int, dtype: str, stage: int, recomputes: bool
) -> None:
    """Of the most resident memory above that of an idle process with the same imports."""
    config = config_for(
        medium,
        files["data"],
        files["run"],
        model={"path": medium, "dtype": dtype, "gradient_checkpointing": recomputes},
        engine={**SMALL_BUFFERS, "zero_stage": stage},
        train={"comparisons_per_step": 6 * ranks, "tokens_per_micro_step": 512},
    )
    found = planned(config, ranks)
    fullest, longest = (max((getattr(load, name) for load in found), key=sum) for name in ("fullest", "longest_pass"))
    settings = AutoConfig.from_pretrained(medium)
    active = activations(settings, config.model, Passes(fullest, longest, ()), on_gpu=False)
    predicted = memory(model_shape(settings, config.model), config, ranks, active, on_gpu=False)
    measured = max(peak["peak"] for peak in run_ranks(training_peak, ranks, config, STEPS, group=False))
    assert predicted.peak == pytest.approx(measured, rel=0.2), f"{predicted} against {measured}"

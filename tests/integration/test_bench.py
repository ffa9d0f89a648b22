"""`jpo bench` at sizes that mean nothing: every arm runs, the counters are what theory says, the guards can fail."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from launcher.bench.clock import in_turns
from launcher.bench.figures import lines, run
from launcher.bench.groups import GROUPS
from launcher.bench.measures import head, training
from launcher.bench.measures.products import Recorder, Replay, flops
from launcher.bench.sizes import quick
from tests.support.commands import Files, jpo


@pytest.mark.nightly
@pytest.mark.slow
def test_a_figure_is_a_line(tiny: Files) -> None:
    """Two groups that need no model; all of them, which race against TRL, are nightly."""
    done = jpo("bench", "balance", "planning", "--quick", "--model", tiny.model, "--rows", tiny.train).check()
    found = dict(line.split("=", 1) for line in done.out.splitlines())
    assert {name.split(".")[0] for name in found} - {"date", "quick", "machine"} == {"balance", "planning"}
    assert 1 <= float(found["balance.makespan_tokens"]) <= 1.05


@pytest.fixture(scope="module")
def figures(tiny: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    done = jpo("bench", "--quick", "--json", str(file), "--model", tiny.model, "--rows", tiny.train).check()
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert done.out.splitlines() == lines(found), "one name=value line each, and nothing else"
    return found


@pytest.mark.slow
@pytest.mark.nightly
def test_every_group_has_figures(figures: dict[str, Any]) -> None:
    assert {name.split(".")[0] for name in figures} == {*GROUPS, "date", "quick"}
    assert not [name for name in figures if name.endswith("skipped")]
    assert figures["quick"] == 1
    assert figures["machine.torch"] == torch.__version__


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("arm", ["training", "cached", "two_ranks"])
def test_both_arms_of_a_race_are_measured(figures: dict[str, Any], arm: str) -> None:
    assert figures[f"{arm}.comparisons"] == 4
    assert figures[f"{arm}.item_forwards"] == 8
    assert figures[f"{arm}.cpu_s"] > 0
    assert figures[f"{arm}.trl_cpu_s"] > 0
    assert figures[f"{arm}.last_loss"] == pytest.approx(figures[f"{arm}.trl_last_loss"], abs=0.05)


@pytest.mark.slow
@pytest.mark.nightly
def test_counters_are_those_of_theory(figures: dict[str, Any]) -> None:
    assert figures["ranked.comparisons"] == 12
    assert figures["ranked.item_forwards"] == figures["ranked.unique_items"] == 8
    assert figures["ranked.sides_item_forwards"] == 24
    for arm in ("ranked", "training"):
        assert figures[f"{arm}.shared_instructions_tokens"] < figures[f"{arm}.tokens"]
    for name in ("", "live_", "tied_"):
        found = {key: figures[f"collectives.{name}{key}"] for key in ("forward_gather_P", "backward_gather_P")}
        assert set(found.values()) == {figures[f"collectives.{name}gather_theory_P"]}
        assert figures[f"collectives.{name}reduce_scatter_P"] == 1
        assert figures[f"collectives.{name}for_metrics_per_step"] == 0
        assert figures[f"collectives.{name}reference_gather_P_per_step"] == (name == "live_")
    assert figures["balance.padding_share"] == 0
    assert 1 <= figures["balance.makespan_tokens"] <= 1.05
    assert figures["planning.steps"] == -(-figures["planning.comparisons"] // 32)
    assert figures["head.memory_ratio_frozen"] > 1
    assert figures["products.calls"] > 0


def test_an_unknown_name_and_absent_rows_are_explained(tiny: Files) -> None:
    with pytest.raises(ValueError, match=r"speed: no such figures; there are machine, training"):
        run(["speed"], quick(None, None), lambda _: None)
    with pytest.raises(Exception, match=r"nowhere\.jsonl is not here; name comparisons with --rows"):
        quick(tiny.model, "nowhere.jsonl").require_rows()


def race(margin: float, losses: list[float]) -> Any:
    return SimpleNamespace(margins=[margin, 0.0], losses=losses)


def test_arms_that_compute_something_else_are_not_compared() -> None:
    mine = race(-20.0, [0.693, 0.66])
    training.check(mine, race(-20.5, [0.693, 0.67]))
    with pytest.raises(training.GuardError, match="margin of step 0"):
        training.check(mine, race(-23.0, [0.693, 0.66]))
    with pytest.raises(training.GuardError, match="losses of steps 0 and 1"):
        training.check(mine, race(-20.0, [0.693, 0.5]))


def test_peak_memory_is_of_all_that_is_held_at_a_time() -> None:
    """Three tensors of 1 MiB, two of them at a time; what was there before does not count."""
    before = torch.zeros(2**18)

    def work() -> torch.Tensor:
        first = before + 1
        second = first + 1
        del first
        return second + 1

    assert head.peak(work) == pytest.approx(2 * 2**20, rel=0.01)


def test_products_are_recorded_forward_and_backward_and_can_be_done_again() -> None:
    left, right = torch.randn(3, 5, requires_grad=True), torch.randn(5, 7, requires_grad=True)
    with Recorder() as recorded:
        (left @ right).exp().sum().backward()
    assert len(recorded.calls) == 3
    assert flops(recorded.calls) == 3 * 2 * 3 * 5 * 7
    Replay(recorded.calls)()


def test_arms_take_turns_and_the_first_turn_does_not_count() -> None:
    turns: list[str] = []
    least = in_turns([lambda: turns.append("a"), lambda: turns.append("b")], 2)
    assert turns == ["a", "b"] * 3
    assert len(least) == 2

"""Which evaluation is the best, what is kept of it, and when there is no more use in going on."""

import math
from typing import Any

import pytest

from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sft import SftConfig
from jpo_dist.train import best
from jpo_dist.train.identity import TrainState

SMALLEST: dict[str, Any] = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"dir": "r"}}


def config(metric: str, stop: int | None = None, **more: Any) -> JpoConfig:
    train = {"eval_every": 1} | ({"stop_when": {"evaluations": stop}} if stop else {})
    return JpoConfig.model_validate(SMALLEST | {"train": train, "checkpoint": {"best": metric, **more}})


def states(settings: JpoConfig, values: list[float]) -> list[TrainState]:
    """The state after each evaluation, one a step, up to the end of the run."""
    found, state = list[TrainState](), TrainState()
    for step, value in enumerate(values, 1):
        state = TrainState(step=step, best=state.best)
        state = best.after_evaluation(state, settings, {settings.checkpoint.best or "": value})
        found.append(state)
        if state.stopped:
            break
    return found


@pytest.mark.parametrize(
    ("metric", "more", "best_steps"),
    [
        ("eval/loss", {}, [1, 2, 2, 2, 5]),
        ("eval/perplexity", {}, [1, 2, 2, 2, 5]),
        ("eval/joint/loss", {}, [1, 2, 2, 2, 5]),
        ("eval/rewards/accuracies", {}, [1, 1, 3, 3, 3]),
        ("eval/rewards/margins", {}, [1, 1, 3, 3, 3]),
        ("eval/loss", {"best_is": "high"}, [1, 1, 3, 3, 3]),
        ("eval/rewards/losers", {"best_is": "low"}, [1, 2, 2, 2, 5]),
    ],
)
def test_a_gain_is_lower_or_higher_by_name_or_setting(metric: str, more: dict[str, Any], best_steps: list[int]) -> None:
    found = states(config(metric, **more), [0.5, 0.4, 0.9, 0.9, 0.3])
    assert [state.best["step"] for state in found] == best_steps
    assert [best.is_new(state) for state in found] == [step == number for number, step in enumerate(best_steps, 1)]


def test_an_equal_value_and_one_that_is_not_finite_are_no_gain() -> None:
    found = states(config("eval/loss", stop=3), [math.nan, 0.5, 0.5, math.nan, math.inf, 0.1])
    assert [state.best.get("evaluations_since") for state in found] == [None, 0, 1, 2, 3]
    assert [state.stopped for state in found] == [False, False, False, False, True]
    assert best.kept(found[-1]) == {"step-00000002"}
    assert best.is_new(found[-1])  # the end is committed, too
    assert best.in_words(found[-1]) == "eval/loss 0.5 at step 2"


def test_without_the_setting_nothing_is_kept_or_ended() -> None:
    plain = JpoConfig.model_validate(SMALLEST)
    state = TrainState(step=3)
    assert best.after_evaluation(state, plain, {"eval/loss": 0.1}) is state
    assert not best.is_new(state)
    assert best.kept(state) == frozenset()
    best.require_metric(plain, {})


def test_another_metric_than_before_begins_anew() -> None:
    (one,) = states(config("eval/loss"), [0.5])
    other = config("eval/rewards/accuracies")
    after = best.after_evaluation(TrainState(step=2, best=one.best), other, {"eval/rewards/accuracies": 0.1})
    assert (after.best["metric"], after.best["step"]) == ("eval/rewards/accuracies", 2)


def test_a_metric_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"checkpoint\.best \(eval/accuracy\) is no metric .* eval/loss"):
        best.require_metric(config("eval/accuracy"), {"eval/loss": 0.1})
    with pytest.raises(ValueError, match="nothing is held out"):
        best.require_metric(config("eval/loss"), {})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"train": {"eval_every": 1, "stop_when": {"evaluations": 2}}},
            "waits for a new best value",
        ),
        ({"checkpoint": {"best": "eval/loss"}}, "needs evaluations on the way"),
        ({"checkpoint": {"best_is": "low"}}, "is about checkpoint.best"),
        ({"checkpoint": {"best": "loss"}, "train": {"eval_every": 1}}, "pattern"),
        ({"train": {"stop_when": {"evaluations": 0}}}, "greater than or equal to 1"),
    ],
)
@pytest.mark.parametrize("kind", [JpoConfig, SftConfig])
def test_settings_that_contradict_each_other_are_refused(kind: Any, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind.model_validate(SMALLEST | wrong)

"""The best commit of a run, by checkpoint.best: found at each evaluation, kept beside the newest, exported at the end.

What is known of it is part of TrainState, so it is in every commit: a resumed run goes on with what its commit knows.
"""

import logging
import math
from dataclasses import replace
from pathlib import Path

from jpo_dist.checkpoint.commit import CheckpointError, Commit
from jpo_dist.checkpoint.run_folder import commit_folder
from jpo_dist.checkpoint.search import verified
from jpo_dist.checkpoint.upload import fetch_step
from jpo_dist.config.sections import CheckpointConfig, StopConfig
from jpo_dist.config.sft import AnyConfig
from jpo_dist.distributed import ranks
from jpo_dist.distributed.notices import notify
from jpo_dist.train.identity import TrainState

logger = logging.getLogger(__name__)

LOW_IS_GOOD = ("loss", "perplexity")
"""Metrics, by the last part of their names, of which the lowest value is the best."""


def is_low(checkpoint: CheckpointConfig) -> bool:
    """Whether the lowest value of checkpoint.best is the best one."""
    if checkpoint.best_is != "auto":
        return checkpoint.best_is == "low"
    return (checkpoint.best or "").rpartition("/")[2] in LOW_IS_GOOD


def require_metric(config: AnyConfig, evaluated: dict[str, float]) -> None:
    """Raises ValueError where checkpoint.best is not among the metrics of the first evaluation."""
    name = config.checkpoint.best
    if name is not None and name not in evaluated:
        there = ", ".join(sorted(evaluated)) or "none, since nothing is held out (data.validation)"
        raise ValueError(f"checkpoint.best ({name}) is no metric of this run's evaluations; there are: {there}")


def after_evaluation(state: TrainState, config: AnyConfig, line: dict[str, float]) -> TrainState:
    """`state` with what the metrics of its step say of the best evaluation; unchanged where none was due.

    A value that is not finite is no gain. Rank 0's value counts, on all ranks. All ranks call it.
    """
    name = config.checkpoint.best
    if name is None or name not in line:
        return state
    value, before = float(ranks.broadcast(line[name])), state.best if state.best.get("metric") == name else {}
    sign = -1.0 if is_low(config.checkpoint) else 1.0
    if math.isfinite(value) and (not before or sign * value > sign * before["value"]):
        return replace(state, best={"metric": name, "value": value, "step": state.step, "evaluations_since": 0})
    since = before.get("evaluations_since", 0) + 1
    best = before | {"evaluations_since": since} if before else {}
    return replace(state, best=best, stopped=_ends(config.train.stop_when, since if before else 0))


def _ends(stop: StopConfig | None, since: int) -> bool:
    return stop is not None and since >= stop.evaluations


def is_new(state: TrainState) -> bool:
    """Whether the step that is done was the best one so far, or ends the run: then it is committed."""
    return state.stopped or (bool(state.best) and state.best["step"] == state.step)


def kept(state: TrainState) -> frozenset[str]:
    """Names of the commits that stay, whatever their age."""
    return frozenset({commit_folder(Path(), state.best["step"]).name} if state.best else ())


def in_words(state: TrainState) -> str:
    """The best evaluation, for people."""
    best = state.best
    return f"{best['metric']} {best['value']:.4g} at step {best['step']}"


def tell_end(run_dir: Path, state: TrainState) -> None:
    """Say why the run ends before its last step."""
    since = state.best["evaluations_since"]
    notify(run_dir, f"ended at step {state.step}: {since} evaluations without a gain since {in_words(state)}")


def best_commit(config: AnyConfig, state: TrainState) -> Commit | None:
    """The best commit where it is another than that of `state`, and verifies; None: export what is there. It is fetched
    from checkpoint.storage where the run folder has none. All ranks call it."""
    if not state.best or state.best["step"] == state.step:
        return None
    run_dir, step = Path(config.run.dir), state.best["step"]
    found, problem = verified(commit_folder(run_dir, step))
    if found is None and config.checkpoint.storage:
        try:
            fetch_step(config, step)
        except (OSError, ValueError, CheckpointError, ranks.PeerError) as error:
            logger.warning("the commit of step %d cannot be fetched: %s", step, error)
        found, problem = verified(commit_folder(run_dir, step))
    if found is None and ranks.rank() == 0:
        notify(run_dir, f"the commit of {in_words(state)} is lost ({problem}); step {state.step} is exported instead")
    return found

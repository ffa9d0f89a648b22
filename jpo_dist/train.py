"""The training loop. Runs alone, under torchrun, or in a Ray worker, and cannot tell which."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jpo_dist import metrics, ranks
from jpo_dist.checkpoint import Commit, commit, open_attempt, restore_rng, resume_point, rng_state
from jpo_dist.config import JpoConfig
from jpo_dist.engine import Engine, StepOutcome, connect
from jpo_dist.export import export
from jpo_dist.faults import fault_point
from jpo_dist.plan import Step
from jpo_dist.policy import load_tokenizer
from jpo_dist.records import digest
from jpo_dist.setup import Setup, build_policy, set_up
from jpo_dist.spool import Spool
from jpo_dist.step import learning_rate, score_comparisons, train_step
from jpo_dist.tracking import Writer

logger = logging.getLogger(__name__)

OnCommit = Callable[[int, dict[str, Any]], None]

CLOSE_TIMEOUT_S = 30.0  # for the last metrics to reach MLflow; what is left then, the driver sends


class NonFiniteError(RuntimeError):
    """Too many steps in a row had a loss or gradient that is not finite."""


class ResumeError(ValueError):
    """The run folder holds a run that this configuration does not continue."""


@dataclass(frozen=True)
class TrainState:
    """What a resumed run needs beside weights and optimizer. `step` steps are done; the next is `plan.step(step)`."""

    step: int = 0
    nonfinite_steps: int = 0
    nonfinite_in_a_row: int = 0
    plan: str = ""
    """Identity of the comparisons and their order: not equal, and the run is another one."""


def run(config: JpoConfig, on_commit: OnCommit | None = None, timeout_s: float = 600.0) -> dict[str, float]:
    """Train to the end of the plan, from the newest valid commit if there is one. All ranks call it.

    `on_commit(step, metrics)` is called on every rank after each commit. Returns the last step's metrics.
    """
    connect(timeout_s)
    run_dir = Path(config.run.dir)
    attempt = open_attempt(run_dir)
    resumed = resume_point(run_dir, config.checkpoint.resume)
    setup = set_up(config)
    state = restore(setup, resumed)
    diary = Diary.open(setup, resumed) if ranks.rank() == 0 else None
    last: dict[str, float] = {}
    if not resumed:
        last = evaluate(setup)
        write_down(diary, 0, last)
    for step in setup.plan.steps(start=state.step):
        started = time.perf_counter()
        fault_point("train:step", step.index + 1)
        outcome, meter = train_step(setup, step)
        state = advance(state, step, outcome, config.train.max_nonfinite_steps)
        last = step_metrics(setup, step, state, outcome, meter, time.perf_counter() - started)
        if is_due(state.step, config.train.eval_every, setup.plan.num_steps):
            last |= evaluate(setup)
        write_down(diary, state.step, last)
        if is_due(state.step, config.checkpoint.every, setup.plan.num_steps):
            save(setup, state, attempt, diary)
            if on_commit:
                on_commit(state.step, last)
    folder = export(setup.policy, setup.tokenizer, config, last)
    if diary:
        diary.close(folder if config.tracking.log_model else None)
    return last


def is_due(step: int, every: int, num_steps: int) -> bool:
    return step == num_steps or (every > 0 and step % every == 0)


def advance(state: TrainState, step: Step, outcome: StepOutcome, most: int) -> TrainState:
    """The state after `step`. Raises NonFiniteError after `most` steps in a row whose update was left out."""
    skipped = not outcome.applied
    in_a_row = state.nonfinite_in_a_row + 1 if skipped else 0
    if in_a_row >= most:
        raise NonFiniteError(
            f"loss or gradient not finite in {in_a_row} steps in a row, the last one step {step.index + 1} with "
            f"comparisons {step.comparisons_C.tolist()}; the weights are those of step {step.index + 1 - in_a_row}. "
            "Lower optim.lr, look at these comparisons, or raise train.max_nonfinite_steps"
        )
    if skipped and ranks.rank() == 0:
        logger.warning("step %d: not finite, update left out (%d in a row)", step.index + 1, in_a_row)
    return replace(
        state, step=step.index + 1, nonfinite_steps=state.nonfinite_steps + skipped, nonfinite_in_a_row=in_a_row
    )


def step_metrics(
    setup: Setup, step: Step, state: TrainState, outcome: StepOutcome, meter: metrics.Meter, seconds: float
) -> dict[str, float]:
    """One line of metrics.jsonl. `perf/padding_share`: share of computed tokens that belong to no item."""
    _, rows_CK = meter.table()
    items = np.concatenate([micro.items_N for micro in step.micro_steps])
    tokens = int(setup.plan.lengths_N[items].sum())
    fillers = sum(2 for micro in step.micro_steps for mine in micro.items_by_rank if not len(mine))
    return {
        **metrics.means(rows_CK),
        "grad_norm": outcome.grad_norm,
        "learning_rate": learning_rate(setup.config.optim, step.index, setup.plan.num_steps),
        "epoch": state.step / setup.plan.steps_per_epoch,
        "nonfinite_steps": float(state.nonfinite_steps),
        "perf/step_seconds": seconds,
        "perf/tokens_per_second": tokens / seconds,
        "perf/comparisons_per_second": len(step.comparisons_C) / seconds,
        "perf/padding_share": fillers / (tokens + fillers),
        "perf/micro_steps": float(len(step.micro_steps)),
    }


def evaluate(setup: Setup) -> dict[str, float]:
    """`eval/...` over the held-out comparisons, each scored once; {} without any."""
    if setup.held_out is None:
        return {}
    _, rows_CK = score_comparisons(setup.policy, setup.reference, setup.held_out, setup.config)
    return metrics.by_protocol(rows_CK, setup.held_out.comparisons.is_joint_C, "eval/")


@dataclass(frozen=True)
class Diary:
    """What rank 0 writes: one line a step into metrics.jsonl, which a thread carries on to MLflow."""

    spool: Spool
    writer: Writer

    @classmethod
    def open(cls, setup: Setup, resumed: Commit | None) -> "Diary":
        """Cut the lines of steps that will be done again, before the writer looks at them."""
        run_dir = Path(setup.config.run.dir)
        spool = Spool(run_dir / "metrics.jsonl")
        spool.truncate_after(resumed.step if resumed else -1)
        facts = {
            "num_steps": setup.plan.num_steps,
            "steps_per_epoch": setup.plan.steps_per_epoch,
            "num_ranks": setup.plan.num_ranks,
            "comparisons": len(setup.dataset.comparisons),
            "items": setup.dataset.comparisons.num_items,
            "tokens": int(setup.dataset.tokens.lengths_N.sum()),
            "dataset": setup.dataset.comparisons.fingerprint,
        }
        plan = json.dumps({**facts, "data": setup.data_notes}, indent=1)
        (run_dir / "plan.json").write_text(plan + "\n", encoding="utf-8")
        writer = Writer(setup.config.tracking, setup.config.run)
        for name, value in facts.items():
            writer.set_tag(f"jpo.{name}", str(value))
        if resumed:
            writer.set_tag("jpo.resumed_from", str(resumed.step))
        return cls(spool, writer)

    def close(self, exported: Path | None) -> None:
        self.spool.sync()
        if exported is not None:
            self.writer.log_model(exported)
        self.writer.close(CLOSE_TIMEOUT_S)
        self.spool.close()


def write_down(diary: Diary | None, step: int, values: dict[str, float]) -> None:
    if diary:
        diary.spool.append(step, values)


def plan_identity(setup: Setup) -> str:
    """Equal for runs that see the same comparisons, as the same tokens, in the same order."""
    train = setup.config.train
    order = [train.comparisons_per_step, train.shuffle, train.seed, setup.plan.num_steps]
    lengths = digest(setup.dataset.tokens.lengths_N.tolist())
    return digest([setup.dataset.comparisons.fingerprint, lengths, order])


def restore(setup: Setup, resumed: Commit | None) -> TrainState:
    """State and weights of `resumed`, or a fresh state. Raises ResumeError when it is a commit of another run."""
    identity = plan_identity(setup)
    if resumed is None:
        return TrainState(plan=identity)
    state = TrainState(**resumed.facts["state"])
    if state.plan != identity:
        raise ResumeError(
            f"run.dir ({setup.config.run.dir}) holds a run at step {state.step} over other data, template, seed, batch "
            "or number of steps; use another run.dir, or the settings in its config.yaml"
        )
    load_commit(setup.policy, resumed, setup.config)
    if ranks.rank() == 0:
        logger.info("resumed at step %d from %s", state.step, resumed.path)
    return state


def load_commit(policy: Engine, resumed: Commit, config: JpoConfig) -> None:
    """Weights, optimizer and this rank's random state. Raises ResumeError for another number of ranks."""
    saved_ranks = int(resumed.facts["num_ranks"])
    if saved_ranks != ranks.num_ranks():
        raise ResumeError(
            f"the commit of step {resumed.step} in run.dir ({config.run.dir}) was written by {saved_ranks} ranks, now "
            f"there are {ranks.num_ranks()}; set cluster.workers={saved_ranks}"
        )
    restore_rng(policy.load(resumed.path)["rng"])


def save(setup: Setup, state: TrainState, attempt: int, diary: Diary | None) -> None:
    if diary:
        diary.spool.sync()  # a commit must not outlive the lines of the steps it contains
    facts = {"state": asdict(state), "num_ranks": ranks.num_ranks(), "zero_stage": setup.policy.zero_stage}
    done = commit(
        Path(setup.config.run.dir),
        state.step,
        attempt,
        lambda folder: setup.policy.save(folder, {"rng": rng_state()}),
        facts=facts,
        keep=setup.config.checkpoint.keep,
    )
    if diary:
        logger.info("committed step %d: %.0f MB in %.1f s", done.step, done.bytes / 1e6, done.seconds)
        diary.writer.log_checkpoint(done.step, done.path, done.bytes, done.seconds)


def export_commit(config: JpoConfig, timeout_s: float = 600.0) -> Path:
    """Write the export of the newest valid commit, without training. All ranks call it."""
    connect(timeout_s)
    resumed = resume_point(Path(config.run.dir), "must")
    assert resumed is not None
    policy = build_policy(config)
    load_commit(policy, resumed, config)
    return export(policy, load_tokenizer(config.model), config, {})

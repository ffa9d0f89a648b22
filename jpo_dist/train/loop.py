"""The training loop. Runs alone, under torchrun, or in a Ray worker, and cannot tell which."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jpo_dist.batches.plan import Step
from jpo_dist.batches.prefetch import ahead
from jpo_dist.checkpoint.upload import find_commit, open_run, start_uploads
from jpo_dist.config.sft import AnyConfig
from jpo_dist.distributed import ranks, stopping
from jpo_dist.distributed.fault_injection import fault_point
from jpo_dist.distributed.network import network_facts
from jpo_dist.distributed.watchdog import Watch, watching
from jpo_dist.model.engine import StepOutcome, connect
from jpo_dist.objective import metrics
from jpo_dist.objective.criterion import criterion_of
from jpo_dist.objective.held_out import evaluation_plan, score_comparisons
from jpo_dist.objective.step import train_step
from jpo_dist.records.columns.pages import let_go
from jpo_dist.tracking.metrics_file import metrics_at
from jpo_dist.train import best, exported, refresh
from jpo_dist.train.identity import TrainState, check_method, method_of
from jpo_dist.train.nonfinite import advance
from jpo_dist.train.resume import export_end, loadable, restore, save
from jpo_dist.train.run_log import RunLog, own_tokens, step_metrics, write_down
from jpo_dist.train.schedule import is_due, learning_rate
from jpo_dist.train.setup import Setup, set_up

OnCommit = Callable[[int, dict[str, Any], bool], None]
OnStep = Callable[[int, dict[str, float]], None]
Leaving = Callable[[], bool]
"""What `run` takes as `on_commit`, `on_step` and `leaving`."""


def run(
    config: AnyConfig,
    on_commit: OnCommit | None = None,
    timeout_s: float = 600.0,
    *,
    elastic: bool = False,
    leaving: Leaving | None = None,
    on_step: OnStep | None = None,
) -> dict[str, float]:
    """Train to the end of the plan, from the newest valid commit if there is one. All ranks call it.

    `on_commit(step, metrics, is_last)` is called on every rank after each commit, `on_step(step, metrics)` after each
    step and for step 0, the model before. `elastic`: a commit of another number of ranks is converted. `leaving()`:
    whether this rank knows that a host of the run will go away soon; when any rank does, the step that is done is
    committed at once. A run that is told to end (distributed/stopping.py) does so after the commit of the step at hand.
    Returns the last step's metrics.
    """
    fault_point("train:start", 0)
    connect(timeout_s, Path(config.run.dir))
    hosts = ranks.gather(ranks.address())
    with watching(Path(config.run.dir), hosts, timeout_s, config.tracking.system_metrics) as watch:
        return train(config, watch, on_commit, elastic, leaving, on_step)


def train(
    config: AnyConfig,
    watch: Watch,
    on_commit: OnCommit | None,
    elastic: bool,
    leaving: Leaving | None,
    on_step: OnStep | None,
) -> dict[str, float]:
    """Train as `run` says, in a process group that is connected and watched."""
    run_dir = Path(config.run.dir)
    attempt, store = open_run(config)
    resumed = find_commit(config, store)
    with ranks.together("reading what the run begins from"):
        method = method_of(config)
        check_method(resumed, method, config)
    shards = loadable(resumed, config, elastic)
    setup = set_up(config)
    state = restore(setup, resumed, shards, method)
    network = network_facts(watch.hosts, setup.device)
    run_log = RunLog.open(setup, resumed, network) if ranks.rank() == 0 else None
    uploads = start_uploads(config, store, attempt, resumed, run_log.writer.log_upload) if store and run_log else None
    if resumed:
        last = metrics_at(run_dir, state.step)
    else:
        last = evaluate(setup)
        best.require_metric(config, last)
        write_down(run_log, 0, last, on_step)
    finished = exported.is_done(config, state.step)  # started again: its export and card stay
    stops, ends = False, partial(_must_commit, run_dir, leaving)
    for step in ahead(setup.plan.step, range(state.step, state.step if state.stopped else setup.plan.num_steps)):
        state, last = do_step(setup, step, state, watch)
        write_down(run_log, state.step, last, on_step)
        due = is_due(state.step, config.checkpoint.every, setup.plan.num_steps) or best.is_new(state)
        if due or ranks.any_true(ends):
            save(setup, state, attempt, run_log, uploads)
            is_last = state.stopped or state.step == setup.plan.num_steps
            stops = not is_last and ranks.any_true(partial(stopping.asked, run_dir))
            if on_commit:
                on_commit(state.step, last, is_last or stops)
            if stops or state.stopped:
                break
    folder = None if stops or finished else export_end(setup, state, last)
    ranks.run_without_timeout("uploading the last commit", uploads.close if uploads else lambda: None)
    if run_log:
        run_log.close(None if config.tracking.log_model == "none" else folder)
        if stops:
            stopping.obeyed(run_dir, state.step)
        elif state.stopped:
            best.tell_end(run_dir, state)
    return last


def _must_commit(run_dir: Path, leaving: Leaving | None) -> bool:
    """Whether the step that is done must not be lost: a host goes away, or the run was told to end."""
    return stopping.asked(run_dir) or (leaving is not None and leaving())


def do_step(setup: Setup, step: Step, state: TrainState, watch: Watch) -> tuple[TrainState, dict[str, float]]:
    """Train one step. Returns the state after it and its line of metrics.jsonl."""
    started = time.perf_counter()
    fault_point("train:step", step.index + 1)
    with watch.step(step.index, own_tokens(step, setup.plan.lengths_N)):
        outcome, meter = take_step(setup, step)
    state = advance(state, step, outcome, setup.config.train.max_nonfinite_steps)
    line = step_metrics(setup, step, state, outcome, meter, time.perf_counter() - started) | watch.numbers()
    if is_due(state.step, setup.config.train.eval_every, setup.plan.num_steps):
        line |= evaluate(setup)
        state = best.after_evaluation(state, setup.config, line)
    refresh.refresh(setup, state.step)
    let_go()  # rows drawn from all over a mapped file: for each of them the system maps up to 2 MiB around it
    return state, line


def take_step(setup: Setup, step: Step) -> tuple[StepOutcome, metrics.Meter]:
    """`train_step` with the parts of `setup`, at the learning rate of `step`."""
    lr = learning_rate(setup.config.optim, step.index, setup.plan.num_steps)
    return train_step(setup.policy, setup.reference, setup.dataset, step, setup.config.objective, lr)


def evaluate(setup: Setup) -> dict[str, float]:
    """`eval/...` over the held-out comparisons, each scored once; {} without any."""
    if setup.held_out is None:
        return {}
    config = setup.config
    plan = evaluation_plan(setup.held_out, config.train, setup.tokens_per_pass, ranks.num_ranks())
    _, rows_CK = score_comparisons(setup.policy, setup.reference, setup.held_out, plan, config.objective)
    return criterion_of(config.objective).held_out(rows_CK, setup.held_out.comparisons)

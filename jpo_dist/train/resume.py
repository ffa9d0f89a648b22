"""Resuming: what is saved beside the engine's shards, when it may be loaded, and how it comes back into a run."""

import logging
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from jpo_dist.checkpoint.commit import Commit, commit
from jpo_dist.checkpoint.reshard import discard, reshard
from jpo_dist.checkpoint.run_folder import commit_folder, commits
from jpo_dist.checkpoint.search import verified
from jpo_dist.checkpoint.upload import Uploader, find_commit, store_of
from jpo_dist.config.sft import AnyConfig
from jpo_dist.distributed import ranks
from jpo_dist.distributed.notices import notify
from jpo_dist.distributed.rng import restore_rng, rng_state, seed_rng
from jpo_dist.model.build import build_policy
from jpo_dist.model.engine import Engine, connect, convert
from jpo_dist.model.export.write import export, wait_for_others
from jpo_dist.model.load import load_tokenizer
from jpo_dist.records.comparisons import digest
from jpo_dist.tracking.metrics_file import metrics_at
from jpo_dist.train import best, exported, refresh
from jpo_dist.train.identity import (
    ResumeError,
    TrainState,
    began,
    changed_optim,
    check_end,
    check_method,
    check_plan,
    start_of,
)
from jpo_dist.train.run_log import RunLog
from jpo_dist.train.setup import Setup

logger = logging.getLogger(__name__)


def loadable(resumed: Commit | None, config: AnyConfig, elastic: bool) -> Path | None:
    """The folder to load `resumed` from: its own, or one made for this number of ranks. Before any model is loaded.

    Raises ResumeError where that is not possible or not allowed; `elastic` allows it as checkpoint.other_ranks does.
    """
    if resumed is None:
        return None
    stage, now, before = config.engine.zero_stage, ranks.num_ranks(), resumed.num_ranks
    where = f"the commit of step {resumed.step} in run.dir ({config.run.dir})"
    if resumed.facts["zero_stage"] != stage:
        raise ResumeError(
            f"{where} was written with engine.zero_stage={resumed.facts['zero_stage']}, now it is {stage}; set it back"
        )
    if before == now:
        return resumed.path
    written = f"{where} was written by {before} ranks, now there are {now}"
    if not elastic and config.checkpoint.other_ranks == "refuse":
        raise ResumeError(
            f"{written}; set cluster.workers={before}, or checkpoint.other_ranks=convert to go on with {now}"
        )
    if config.engine.offload_optimizer.device == "nvme":
        raise ResumeError(
            f"{written}, and DeepSpeed cannot convert what engine.offload_optimizer (nvme) keeps; set "
            f"cluster.workers={before}"
        )
    return resumed.path if stage == 0 else reshard(resumed, convert)  # without ZeRO every rank has all of it


def restore(setup: Setup, resumed: Commit | None, folder: Path | None, method: dict[str, Any]) -> TrainState:
    """Put the run back to where `resumed` left it, or begin it. All ranks call it, after `loadable` and `set_up`.

    `folder` is what `loadable` returned for `resumed`; both None for a start from nothing. `setup.policy` gets weights
    and optimizer state, and each rank its random state; a folder converted for this number of ranks is deleted then.
    `method` is `method_of(config)`, checked against the commit already (`check_method`); a commit of an earlier
    version, which has none, takes it over. Returns the state: `step` is the number of steps done.

    Raises ResumeError, before anything is loaded, when the commit is of another run or cannot tell (its identity
    covers comparisons, tokens, order and number of steps), or has no step left for another optim; on the way, another
    optim goes with a word. Raises FileNotFoundError when `folder` holds no shards.
    """
    begun = began(setup, method)
    if resumed is None or folder is None:
        return begun
    state = TrainState(**resumed.facts["state"])
    check_plan(state, begun, setup)
    check_end(state, setup.plan.num_steps, setup.config)
    load_commit(setup.policy, resumed, folder, setup.config)
    refresh.load(setup, resumed.path)
    if ranks.rank() == 0:
        logger.info("resumed at step %d from %s", state.step, resumed.path)
        if changed := changed_optim(state, setup.config):
            notify(Path(setup.config.run.dir), f"the steps after step {state.step} are trained otherwise: {changed}")
    return replace(state, plan=begun.plan, seen=begun.seen, method=method | state.method, optim=begun.optim)


def load_commit(policy: Engine, resumed: Commit, folder: Path, config: AnyConfig) -> None:
    """Load weights, optimizer and this rank's random state of `resumed` from `folder`.

    Ranks of another number have none: each starts its generators anew, from seed, step and place. Training draws no
    random numbers after set-up, so this only keeps what may draw some day apart on the ranks, and repeatable.
    """
    saved = policy.load(folder, universal=folder != resumed.path)
    if resumed.num_ranks == ranks.num_ranks():
        restore_rng(saved["rng"])
    else:
        seed_rng(int(digest([config.train.seed, resumed.step, ranks.num_ranks(), ranks.rank()])[:15], 16))
    if folder != resumed.path:
        discard(folder)


def save(setup: Setup, state: TrainState, attempt: int, run_log: RunLog | None, uploads: Uploader | None) -> None:
    """Commit the run as it is after `state.step` steps. All ranks call it; `run_log` and `uploads` are rank 0's.

    Raises what `commit` raises.
    """
    if run_log:
        run_log.metrics_file.sync()  # a commit must not outlive the lines of the steps it contains
    facts = {"state": asdict(state), "zero_stage": setup.policy.zero_stage}
    done = commit(
        Path(setup.config.run.dir),
        state.step,
        attempt,
        lambda folder: _save_shards(setup, folder),
        facts=facts,
        keep=setup.config.checkpoint.keep,
        spare=best.kept(state) | (uploads.needs if uploads else frozenset()),
    )
    if uploads:
        uploads.submit(done.path, best.kept(state))
    if run_log:
        logger.info("committed step %d: %.0f MB in %.1f s", done.step, done.bytes / 1e6, done.seconds)
        run_log.writer.log_checkpoint(done.step, done.path, done.bytes, done.seconds)


def _save_shards(setup: Setup, folder: Path) -> None:
    setup.policy.save(folder, {"rng": rng_state()})
    refresh.save(setup, folder)


def export_end(setup: Setup, state: TrainState, last: dict[str, float]) -> Path:
    """Export the run as it is after its last step, or its best commit where checkpoint.best is set and that is an
    earlier one. `last`: the metrics of the last step. All ranks call it; the policy trains no more after it."""
    config, run_dir = setup.config, Path(setup.config.run.dir)
    chosen = best.best_commit(config, state)
    if chosen is not None:
        folder = loadable(chosen, config, elastic=True)
        assert folder is not None
        load_commit(setup.policy, chosen, folder, config)
        last = metrics_at(run_dir, chosen.step)
    if state.best and ranks.rank() == 0:
        logger.info("exporting step %d: the best is %s", (chosen or state).step, best.in_words(state))
    wait = partial(wait_for_others, run_dir) if ranks.rank() == 0 else lambda: None
    ranks.run_without_timeout("waiting for another export", wait)
    newest = commit_folder(run_dir, state.step)
    of = _note(chosen.path if chosen else newest, newest, config, as_at_the_end=True)
    return export(setup.policy, setup.tokenizer, config, last, of)


def export_commit(
    config: AnyConfig, timeout_s: float = 600.0, *, elastic: bool = False, which: str | None = None
) -> Path:
    """Write the export of a commit, without training. All ranks call it.

    `which`: "newest", here or in the store; "best", by checkpoint.best; or its step. None: the best where
    checkpoint.best is set, else the newest. Raises ResumeError where there is no such commit.
    """
    connect(timeout_s)
    either = config.model_copy(update={"checkpoint": config.checkpoint.model_copy(update={"resume": "auto"})})
    newest = find_commit(either, store_of(config))
    if newest is None:
        raise ResumeError(f"run.dir ({config.run.dir}) has no valid commit to export; train first, or correct run.dir")
    chosen = _named(newest, config, which or ("best" if config.checkpoint.best else "newest"))
    with ranks.together("reading what the run began from"):
        check_method(chosen, start_of(config), config)
    folder = loadable(chosen, config, elastic)
    assert folder is not None
    policy = build_policy(config.model, config.engine, config.optim)
    load_commit(policy, chosen, folder, config)
    best_step = (newest.facts["state"].get("best") or {}).get("step", newest.step)
    of = _note(chosen.path, newest.path, config, as_at_the_end=chosen.step == best_step)
    return export(policy, load_tokenizer(config.model), config, metrics_at(Path(config.run.dir), chosen.step), of)


def _note(chosen: Path, newest: Path, config: AnyConfig, *, as_at_the_end: bool) -> dict[str, Any]:
    """`exported.note`, on rank 0, which writes it. All ranks call it."""
    with ranks.together("naming what is exported"):
        return exported.note(chosen, newest, config, as_at_the_end=as_at_the_end) if ranks.rank() == 0 else {}


def _named(newest: Commit, config: AnyConfig, which: str) -> Commit:
    """The commit that `which` means."""
    if which == "newest":
        return newest
    run_dir, known = Path(config.run.dir), newest.facts["state"].get("best") or {}
    if which == "best" and not known:
        raise ResumeError(
            f"--commit best: no evaluation of the run in run.dir ({run_dir}) has been compared; train with "
            "checkpoint.best, or use --commit newest"
        )
    step = known["step"] if which == "best" else int(which)
    if step == newest.step:
        return newest
    found, problem = verified(commit_folder(run_dir, step))
    if found is None:
        there = ", ".join(str(manifest.step) for _, manifest in commits(run_dir) if manifest) or "none here"
        raise ResumeError(f"--commit {which}: no commit of step {step} ({problem}); there are: {there}")
    return found

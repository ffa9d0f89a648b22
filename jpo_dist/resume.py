"""From a run folder back into a run: what is saved beside the engine's shards, and when it may be loaded."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from jpo_dist import ranks
from jpo_dist.checkpoint import Commit, commit, restore_rng, resume_point, rng_state
from jpo_dist.config import JpoConfig
from jpo_dist.diary import Diary
from jpo_dist.engine import Engine, connect
from jpo_dist.export import export
from jpo_dist.policy import load_tokenizer
from jpo_dist.records import digest
from jpo_dist.setup import Setup, build_policy
from jpo_dist.spool import read_lines

logger = logging.getLogger(__name__)


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


def plan_identity(setup: Setup) -> str:
    """Equal for runs that see the same comparisons, as the same tokens, in the same order."""
    train = setup.config.train
    order = [train.comparisons_per_step, train.shuffle, train.sample_by, train.seed, setup.plan.num_steps]
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
    return export(policy, load_tokenizer(config.model), config, metrics_at(Path(config.run.dir), resumed.step))


def metrics_at(run_dir: Path, step: int) -> dict[str, float]:
    """What metrics.jsonl says of `step`; {} where it says nothing."""
    lines = (line for line, _ in read_lines(run_dir / "metrics.jsonl"))
    return next((dict(line["metrics"]) for line in lines if line.get("step") == step), {})

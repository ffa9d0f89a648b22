"""The run log, which rank 0 keeps: a line a step in metrics.jsonl, the plan for people, and what MLflow shall hear."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jpo_dist.batches.plan import Step
from jpo_dist.checkpoint.commit import Commit
from jpo_dist.checkpoint.run_folder import bad_commits
from jpo_dist.distributed import ranks
from jpo_dist.distributed.network import in_words
from jpo_dist.files import write_json
from jpo_dist.model.engine import StepOutcome
from jpo_dist.objective import metrics
from jpo_dist.objective.criterion import criterion_of
from jpo_dist.run_dir import CHECKPOINTS, METRICS, PLAN
from jpo_dist.tracking.metrics_file import MetricsFile
from jpo_dist.tracking.writer import Writer
from jpo_dist.train.about import inputs
from jpo_dist.train.identity import TrainState, plan_facts
from jpo_dist.train.schedule import learning_rate
from jpo_dist.train.setup import Setup

CLOSE_TIMEOUT_S = 30.0  # for the last metrics to reach MLflow; what is left then, the driver sends


@dataclass(frozen=True)
class RunLog:
    """Takes one line a step into metrics.jsonl; a thread of the writer carries them on to MLflow."""

    metrics_file: MetricsFile
    writer: Writer
    model_name: str
    copies_model: bool

    @classmethod
    def open(cls, setup: Setup, resumed: Commit | None, network: dict[str, Any]) -> "RunLog":
        """Open the files of the run folder and write plan.json.

        The lines of steps that will be done again are cut before the writer looks at them.
        """
        run_dir = Path(setup.config.run.dir)
        metrics_file = MetricsFile(run_dir / METRICS)
        metrics_file.truncate_after(resumed.step if resumed else -1)
        facts = _facts(setup, network)
        notes = [*setup.data_notes, *_notes(setup, resumed, network)]
        write_json(run_dir / PLAN, {**facts, "notes": notes})
        writer = Writer(setup.config.tracking, setup.config.run)
        writer.add_facts(facts)
        writer.set_tag("jpo.dataset", facts["dataset"])  # what runs of the same data are found by
        writer.log_inputs(inputs(setup.config, setup.dataset, setup.held_out))
        if resumed:
            writer.set_tag("jpo.resumed_from", str(resumed.step))
        config = setup.config
        return cls(metrics_file, writer, config.run.name, config.tracking.log_model == "copy")

    def close(self, exported: Path | None) -> None:
        """Log the model in `exported` (None: none), and send the rest, for at most CLOSE_TIMEOUT_S."""
        self.metrics_file.sync()
        if exported is not None:
            self.writer.log_model(exported, self.copies_model, self.model_name)
        self.writer.close(CLOSE_TIMEOUT_S)
        self.metrics_file.close()


def _facts(setup: Setup, network: dict[str, Any]) -> dict[str, Any]:
    """What plan.json and the facts of the MLflow run say of the run."""
    return {
        "steps_per_epoch": setup.plan.steps_per_epoch,
        "num_ranks": setup.plan.num_ranks,
        "hosts": network["hosts"],
        "network": network,
        **plan_facts(setup),
    }


def _notes(setup: Setup, resumed: Commit | None, network: dict[str, Any]) -> list[str]:
    """What people are told of this start."""
    now = setup.plan.num_ranks
    moved = f", written by {resumed.num_ranks} ranks, now {now}" if resumed and resumed.num_ranks != now else ""
    notes = [line for line in [in_words(network)] if line]
    notes += [f"resumed at step {resumed.step} from {resumed.path}{moved}"] if resumed else []
    # Set aside now or by an earlier attempt: either way a person should look.
    bad = bad_commits(Path(setup.config.run.dir))
    return notes + [f"did not verify and is set aside: {CHECKPOINTS}/{name}" for name in bad]


def write_down(
    run_log: RunLog | None, step: int, values: dict[str, float], on_step: Callable[[int, dict[str, float]], None] | None
) -> None:
    """Append the line of `step`, where there is a log (rank 0), and tell who wants to hear."""
    if run_log:
        run_log.metrics_file.append(step, values)
    if on_step:
        on_step(step, values)


def step_metrics(
    setup: Setup, step: Step, state: TrainState, outcome: StepOutcome, meter: metrics.Meter, seconds: float
) -> dict[str, float]:
    """The line of `step` for metrics.jsonl: names to values."""
    _, rows_CK = meter.table()
    return {
        **criterion_of(setup.config.objective).means(rows_CK, ""),
        "grad_norm": outcome.grad_norm,
        "learning_rate": learning_rate(setup.config.optim, step.index, setup.plan.num_steps),
        "epoch": state.step / setup.plan.steps_per_epoch,
        "nonfinite_steps": float(state.nonfinite_steps),
        **metrics.throughput(step, setup.plan.lengths_N, seconds, setup.dataset.comparisons.COUNTED),
    }


def own_tokens(step: Step, lengths_N: np.ndarray) -> int:
    """Tokens of this rank's items in a step."""
    mine = [micro.items_by_rank[ranks.rank()] for micro in step.micro_steps]
    return int(sum(lengths_N[items].sum() for items in mine))

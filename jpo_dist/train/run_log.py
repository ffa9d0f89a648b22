"""What rank 0 writes down: one line a step into metrics.jsonl, which a thread carries on to MLflow."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jpo_dist.checkpoint.commit import Commit
from jpo_dist.checkpoint.run_folder import bad_commits
from jpo_dist.distributed.network import in_words
from jpo_dist.files import write_json
from jpo_dist.run_dir import CHECKPOINTS, METRICS, PLAN
from jpo_dist.tracking.metrics_file import Spool
from jpo_dist.tracking.writer import Writer
from jpo_dist.train.setup import Setup

CLOSE_TIMEOUT_S = 30.0  # for the last metrics to reach MLflow; what is left then, the driver sends


@dataclass(frozen=True)
class Diary:
    """What rank 0 writes: one line a step into metrics.jsonl, which a thread carries on to MLflow."""

    spool: Spool
    writer: Writer

    @classmethod
    def open(cls, setup: Setup, resumed: Commit | None, network: dict[str, Any]) -> "Diary":
        """Cut the lines of steps that will be done again, before the writer looks at them."""
        run_dir = Path(setup.config.run.dir)
        spool = Spool(run_dir / METRICS)
        spool.truncate_after(resumed.step if resumed else -1)
        facts = {
            "num_steps": setup.plan.num_steps,
            "steps_per_epoch": setup.plan.steps_per_epoch,
            "num_ranks": setup.plan.num_ranks,
            "hosts": network["hosts"],
            "network": network,
            "comparisons": len(setup.dataset.comparisons),
            "items": setup.dataset.comparisons.num_items,
            "tokens": int(setup.dataset.tokens.lengths_N.sum()),
            "dataset": setup.dataset.comparisons.fingerprint,
        }
        now = setup.plan.num_ranks
        moved = f", written by {resumed.num_ranks} ranks, now {now}" if resumed and resumed.num_ranks != now else ""
        notes = [line for line in [in_words(network)] if line]
        notes += [f"resumed at step {resumed.step} from {resumed.path}{moved}"] if resumed else []
        # Set aside now or by an earlier attempt: either way a person should look.
        bad = bad_commits(run_dir)
        notes += [f"did not verify and is set aside: {CHECKPOINTS}/{name}" for name in bad]
        write_json(run_dir / PLAN, {**facts, "notes": [*setup.data_notes, *notes]})
        writer = Writer(setup.config.tracking, setup.config.run)
        for name, value in facts.items():
            writer.set_tag(f"jpo.{name}", value if isinstance(value, str) else json.dumps(value))
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

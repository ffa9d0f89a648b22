"""What the one process that a person started does around the ranks of a run: its files, config.yaml, its MLflow run."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jpo_dist.config.load import flatten, write
from jpo_dist.config.sft import AnyConfig
from jpo_dist.distributed.notices import notify
from jpo_dist.distributed.stopping import Stopped, stoppable
from jpo_dist.files import replace
from jpo_dist.locks import alone_in
from jpo_dist.run_dir import CONFIG
from jpo_dist.tracking.writer import NOTE, Status, never_was, replay, start_run, tags_of_environment
from jpo_dist.train.about import description, title
from jpo_dist.train.exported import finished_at, had_finished

logger = logging.getLogger(__name__)

REPLAY_S, COPY_S = 60.0, 3600.0
"""How long what MLflow lacks at the end may take; with a copy of the model. A server that is away takes seconds."""


def is_wrong_input(error: Exception) -> bool:
    """Whether not the run but what it was given is wrong: then trying again cannot help."""
    return isinstance(error, ValueError | FileNotFoundError)


@contextmanager
def recorded(
    config: AnyConfig,
    tags: Mapping[str, str],
    is_input: Callable[[Exception], bool] = is_wrong_input,
    facts: Mapping[str, Any] | None = None,
) -> Iterator[list[Path]]:
    """Around the ranks of a run: opens its MLflow run and, whatever comes, sends the rest of it and its status.

    The records of a run that is finished already stay as they are, whatever it is started with now; what MLflow lacks
    of it is sent. A start that is refused, because `is_input(error)`, leaves the run that is in `run.dir` as it was,
    and MLflow without a run where there was none; a run whose files this start had from checkpoint.storage hears
    nothing of it. `facts`: what else is known of how the run was started.
    Raises InUse where another start of it goes on, and what `stoppable` raises where somebody ends the run: its status
    is KILLED then. Yields a list: files that are put into it go to MLflow as figures of the run.
    """
    run_dir = Path(config.run.dir)
    with alone_in(run_dir, "run.dir"):  # a second start would write its config.yaml over that of the first
        yield from _recorded(config, tags, is_input, facts or {})


def _recorded(
    config: AnyConfig, tags: Mapping[str, str], is_input: Callable[[Exception], bool], facts: Mapping[str, Any]
) -> Iterator[list[Path]]:
    run_dir, restored = Path(config.run.dir), dict[str, int]()
    if config.checkpoint.storage:  # a new machine goes on in the same MLflow run
        from jpo_dist.checkpoint.store import restore_run_files

        for name in restore_run_files(config.checkpoint.storage, run_dir):
            restored[name] = (run_dir / name).stat().st_size
            logger.info("fetched %s from %s", name, config.checkpoint.storage)
    step, figures = finished_at(config), list[Path]()
    if step is not None:
        with stoppable(run_dir, config.checkpoint.stop_grace_s):
            yield figures
        notify(run_dir, f"the run was finished at step {step}: nothing was trained, and its records stay as they are")
        replay(config.tracking, config.run)
        return
    resolved = run_dir / CONFIG
    before = resolved.read_text(encoding="utf-8") if resolved.exists() else None
    write(config, resolved)
    known = {**tags, **tags_of_environment()}
    params, named = flatten(config.model_dump(mode="json")), {**tags, NOTE: description(config, known)}
    start_run(config.tracking, config.run, params, named, wait_s=0, facts=facts, title=title(config, known))
    status: Status = "FAILED"
    refused = False
    try:
        with stoppable(run_dir, config.checkpoint.stop_grace_s):
            yield figures
        status = "FINISHED"
    except (Stopped, KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    except Exception as error:
        if before is not None and is_input(error):
            replace(resolved, before, sync=True)
            status = "FINISHED" if had_finished(run_dir) else "FAILED"
        refused = is_input(error) and never_was(config.run, restored)
        raise
    finally:
        if not refused:
            longest_s = COPY_S if config.tracking.log_model == "copy" else REPLAY_S
            replay(config.tracking, config.run, status, longest_s, {NOTE: description(config, known)}, figures)

"""What a run calls so that MLflow hears of it: `start_run`, a `Writer` beside training, `replay` at the end.

Training writes files (metrics_file.py, outbox.py) and never waits for a server. A courier carries them there as far as
it gets: the driver's at the start and the end, rank 0's in a thread. `<run.dir>/run.json` keeps the MLflow run's id.
"""

import json
import logging
import math
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.deadline import TooSlow, within
from jpo_dist.digests import folder_mark
from jpo_dist.distributed.waiting import working
from jpo_dist.files import read_json, read_lines
from jpo_dist.redact import redact
from jpo_dist.run_dir import ACK, CONFIG, FIGURES, METRICS, OUTBOX, RUN
from jpo_dist.tracking.courier import Courier, CourierThread, brief
from jpo_dist.tracking.mlflow_server import bound_requests, connect
from jpo_dist.tracking.outbox import Outbox
from jpo_dist.tracking.run_file import sqlite_path, tracking_uri, update_run_file

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

log = logging.getLogger(__name__)

SERVER_S = 60.0
"""How long a server may hold up work that is not training, MLflow's own import included."""
NOTE = "mlflow.note.content"
"""The tag whose text MLflow shows as the description of a run, as Markdown."""
STAGE = "jpo.stage"
"""The tag that says which stage of a pipeline or study a run is."""
TAGS = "JPO_TAGS"
"""Environment variable with more tags of the run, a JSON object: what a pipeline or a cluster knows of it."""


def _courier(config: TrackingConfig, run: RunSection, title: str | None = None, began_ms: int | None = None) -> Courier:
    """A courier of this run folder.

    The mark by which the run is found again is written before the run is made: a kill in between makes no second run.
    So is what it is called (`title`; without one, what the config says), which stays, and when it began: the server may
    hear of it hours later.
    """
    folder = Path(run.dir)
    outbox = Outbox(folder)
    if "uid" not in update_run_file(folder):
        known = {
            "uid": uuid.uuid4().hex,
            "began_ms": began_ms or outbox.now_ms(),
            **({"title": title} if title else {}),
        }
        update_run_file(folder, **known)
    uri = tracking_uri(config, folder)
    if config.uri is not None and uri != config.uri:
        update_run_file(folder, sqlite={config.uri: uri})
    return Courier(outbox, lambda: connect(config, run, lambda: outbox.superseded))


def start_run(
    config: TrackingConfig,
    run: RunSection,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    wait_s: float = 5.0,
    *,
    facts: Mapping[str, Any] | None = None,
    title: str | None = None,
    began_ms: int | None = None,
) -> str | None:
    """Make the MLflow run of `run.dir`, or open it again, and give it parameters, tags and `<run.dir>/config.yaml`.

    `facts` go into one artifact with those of rank 0, and `title` is what a new run is called, not `run.name`;
    `began_ms` is when it began, in milliseconds since the epoch, if not now.

    Called once by the driver, before any worker starts; `params` are dotted keys. No new request begins after `wait_s`
    seconds, and a server gets SERVER_S in all, whatever it does; with 0 it is not spoken to at all. What it has not
    taken by then, the Writer sends beside the work. Returns the run's id; None when nothing is tracked, or when there
    is none yet.
    """
    if tracking_uri(config, run.dir) is None:
        return None
    bound_requests(timeout_s=5)
    courier = _courier(config, run, title, began_ms)
    outbox = courier.outbox
    outbox.put("status", status="RUNNING", ts_ms=outbox.now_ms())
    outbox.put("params", params={key: str(redact(value, key)) for key, value in params.items()})
    outbox.put("tags", tags=redact({**(tags or {}), **tags_of_environment()}))
    if facts:
        outbox.put("facts", facts=redact(dict(facts)))
    resolved = Path(run.dir) / CONFIG
    if resolved.exists():
        shown = redact(yaml.safe_load(resolved.read_text(encoding="utf-8")))
        outbox.put("text", text=yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), file=CONFIG)
    if wait_s:
        try:
            # A database has been probed, and takes as long as it takes to be made; a server may do anything.
            longest_s = math.inf if sqlite_path(str(tracking_uri(config, run.dir))) else SERVER_S
            with working("opening the run in MLflow"):
                within(longest_s, lambda: courier.carry(time.monotonic() + wait_s))
        except Exception as error:
            log.warning("no tracking now, the run goes on and sends later: %s", brief(error))
            if isinstance(error, TooSlow):  # its thread still has the outbox, and ends when it finds itself superseded
                return None
    outbox.close()
    return read_json(Path(run.dir) / RUN)["mlflow"].get("run_id") if courier.connection is not None else None


def tags_of_environment() -> dict[str, str]:
    """The tags in JPO_TAGS; none without it. Raises ValueError where it is no JSON object."""
    try:
        found = json.loads(os.environ.get(TAGS) or "{}")
        return {str(key): str(value) for key, value in found.items()}
    except (ValueError, AttributeError):
        raise ValueError(
            f'{TAGS} in the environment is no JSON object; write {{"key": "value"}}, or unset it'
        ) from None


def stage_title(tags: Mapping[str, str]) -> str | None:
    """What the run of a stage is called: the pipeline or study, and the stage; None for a run that is no stage.

    >>> stage_title({"jpo.pipeline": "helpful", "jpo.stage": "before"})
    'helpful before'
    """
    whole = tags.get("jpo.pipeline") or tags.get("jpo.study")
    return f"{whole} {tags[STAGE]}" if whole and STAGE in tags else None


def sent_tags(run_dir: Path) -> dict[str, str]:
    """Tags that the run has been given so far."""
    tags: dict[str, str] = {}
    for entry, _ in read_lines(run_dir / OUTBOX, start=b'{"op":"tags"'):
        tags |= entry["tags"]
    return tags


def never_was(run: RunSection, restored: Mapping[str, int]) -> bool:
    """Forget what a start that was refused would have sent, where it measured nothing, and either no server knows of
    the run or its files came from checkpoint.storage for this start. Returns whether that is so.

    `restored`: bytes by name of the files that came from there. They leave again, for they are another run's.
    """
    folder = Path(run.dir)
    metrics, known = folder / METRICS, "run_id" in read_json(folder / RUN).get("mlflow", {})
    measured = metrics.stat().st_size if metrics.exists() else 0
    if measured > restored.get(METRICS, 0) or (known and RUN not in restored):
        return False
    for name in (OUTBOX, ACK, *restored):
        (folder / name).unlink(missing_ok=True)
    return True


def replay(
    config: TrackingConfig,
    run: RunSection,
    status: Status | None = None,
    timeout_s: float = 60.0,
    tags: Mapping[str, str] | None = None,
    figures: Sequence[Path] = (),
) -> int:
    """Send what the run folder holds and the server lacks, then `figures`, and set `tags` and `status`. For the
    driver, when no rank writes.

    Returns the number of steps that are still unsent; -1: unknown. Never raises because of the server or a full disk:
    it is called while the error that ended the run is on its way to the person.
    """
    try:
        writer = Writer(config, run)
        for figure in figures:
            writer.log_artifact(figure, FIGURES)
        for key, value in (tags or {}).items():
            writer.set_tag(key, value)
        if status is not None:
            writer.finish(status)
        with working("sending MLflow what it lacks of the run"):
            return writer.close(timeout_s)
    except OSError as error:
        log.warning("nothing more of this run is tracked: %s; start the same command again to send it", error)
        return -1


class Writer:
    """Sends what rank 0 writes to MLflow, from a thread that follows metrics.jsonl.

    No method but `close` waits for anything. With tracking.uri=none nothing is written or sent.
    """

    def __init__(self, config: TrackingConfig, run: RunSection, interval_s: float = 1.0) -> None:
        """Start sending; looks for new steps every `interval_s`. Supersedes an older Writer of the same run folder.

        On resume, cut the metrics file first.
        """
        self._outbox: Outbox | None = None
        if tracking_uri(config, run.dir) is None:
            return
        bound_requests(timeout_s=30)
        courier = _courier(config, run)
        self._outbox, self._thread = courier.outbox, CourierThread(courier, interval_s)

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag of the run; a secret is hidden."""
        if self._outbox is not None:
            self._outbox.put("tags", tags={key: redact(value, key)})

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Add to the artifact of facts; secrets are hidden."""
        if self._outbox is not None:
            self._outbox.put("facts", facts=redact(dict(facts)))

    def log_inputs(self, datasets: Sequence[Mapping[str, Any]]) -> None:
        """Make data sets inputs of the run: mappings of `name`, `digest`, `source`, `profile`, `context` and `fields`,
        the names of its columns."""
        if self._outbox is not None:
            self._outbox.put("inputs", datasets=redact([dict(one) for one in datasets]))

    def log_table(self, file: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write a table into the run's artifacts, which its page shows; one of the same name is replaced."""
        if self._outbox is not None:
            self._outbox.put("table", file=file, columns=list(columns), data=[list(row) for row in rows])

    def log_measured(
        self, stream: str, step: int, metrics: Mapping[str, float], dataset: tuple[str, str], weights: str
    ) -> None:
        """Metrics of the run's model that has these `weights` (their mark) on a data set, (name, digest). A stream
        takes one line a step."""
        if self._outbox is not None:
            finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
            of = {"dataset": list(dataset), "weights": weights}
            self._outbox.put_metrics(stream, step, self._outbox.now_ms(), finite, **of)

    def log_artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Upload a file, or a folder's files, into `folder` of the run's artifacts."""
        if self._outbox is not None:
            self._outbox.put("artifact", path=str(Path(path).resolve()), folder=folder)

    def log_checkpoint(self, step: int, path: str | Path, num_bytes: int, seconds: float) -> None:
        """Record where a checkpoint is; its files are not uploaded."""
        if self._outbox is not None:
            ts_ms, place = self._outbox.now_ms(), str(Path(path).resolve())
            sizes = {"ckpt/save_seconds": float(seconds), "ckpt/bytes": float(num_bytes)}
            self._outbox.put_metrics("checkpoint", step, ts_ms, sizes)
            self._outbox.put("checkpoint", step=step, ts_ms=ts_ms, path=place, bytes=num_bytes, seconds=seconds)

    def log_upload(self, step: int, num_bytes: int, seconds: float) -> None:
        """Record that a checkpoint has been copied to checkpoint.storage."""
        if self._outbox is not None:
            sizes = {"ckpt/upload_seconds": float(seconds), "ckpt/upload_bytes": float(num_bytes)}
            self._outbox.put_metrics("upload", step, self._outbox.now_ms(), sizes)

    def log_model(self, folder: str | Path, copy: bool = False, name: str = "export", into: str | None = None) -> None:
        """Record an exported Hugging Face folder as a logged model of the run; `copy` uploads its files too, as a model
        that MLflow serves. `into`: the id of a model that was recorded only; it gets the files, and keeps its figures.
        With it goes the mark of its weights: of a record those of now, of a copy those that are copied.
        """
        if self._outbox is not None:
            self._outbox.take_metrics()
            step = max(0, self._outbox.last_step)
            place = str(Path(folder).resolve())
            of = {"weights": folder_mark(Path(folder)), **({"into": into} if into else {})}
            self._outbox.put("model", path=place, copy=copy, name=name, step=step, id=uuid.uuid4().hex, **of)

    def finish(self, status: Status) -> None:
        """Set the run's status behind everything queued so far, the steps in the metrics file included."""
        if self._outbox is not None:
            self._outbox.take_metrics()
            self._outbox.put("status", status=status, ts_ms=self._outbox.now_ms())

    def close(self, timeout_s: float) -> int:
        """Send the rest, for at most `timeout_s`. Returns the number of steps left unsent; `replay` sends them."""
        if self._outbox is None:
            return 0
        unsent = self._thread.close(timeout_s)
        if unsent:
            log.warning(
                "MLflow lacks %d steps of %s; the same command, started again, sends them", unsent, self._outbox.folder
            )
        return unsent

    @property
    def trouble(self) -> Exception | None:
        """Why MLflow lacks something of what this writer was given, when it is closed; None: it does not."""
        return None if self._outbox is None else self._thread.trouble

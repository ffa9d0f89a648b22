"""How each kind of entry of the outbox is sent to a run on an MLflow server.

An entry may be sent twice; each way of sending one leaves no trace of the second time.
"""

import json
import posixpath
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.digests import folder_mark
from jpo_dist.files import read_lines
from jpo_dist.run_dir import OUTBOX
from jpo_dist.tracking.chat_model import can_chat, write_chat_model
from jpo_dist.tracking.outbox import ROWS_PER_BATCH
from jpo_dist.tracking.page_text import IS_EXTERNAL, WEIGHTS, tag_in_mlflow

PARAMS_PER_CALL = 100
PARAM_CHARS, TAG_CHARS, NAME_CHARS = 6000, 8000, 250
DIGEST_CHARS, DATASET_CHARS = 36, 500
FACTS = "facts.json"
"""The artifact with all that is known of how a run was made: command, versions, network, plan."""
_MAKING, _MADE, _COPIED = "jpo.making", "jpo.id", "jpo.copied"
"""Tags of a logged model that say which entry it is of; once it is whole; and which entry put its files there later."""
_MADE_BY = (
    "model.path", "data.train", "objective.loss", "objective.beta", "objective.instruction_weight",
    "sft.instruction_weight", "reference.mode", "optim.lr", "train.seed",
)  # fmt: skip
"""Parameters of the run that the page of its model shows too; tags that say what it was logged from, in words too."""
_NOTE = "mlflow.note.content"
_SOURCE = ("mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit", "mlflow.user", _NOTE)
_TABLES = "mlflow.loggedArtifacts"


class RunOnServer(NamedTuple):
    """The run on the server: a Connection of a courier."""

    client: Any
    run_id: str
    experiment_id: str
    run_dir: Path

    def send(self, entries: list[dict[str, Any]]) -> None:
        if entries[0]["op"] == "metrics":
            _send_metrics(self, entries)
        else:
            SEND[entries[0]["op"]](self, entries[0])

    def check(self) -> None:
        self.client.get_run(self.run_id)


def _send_metrics(server: RunOnServer, entries: list[dict[str, Any]]) -> None:
    """Metrics; those of an entry that names what was measured, on the model of the run that was, and on the data
    set."""
    from mlflow.entities import Metric

    models = _models(server) if any("dataset" in entry for entry in entries) else []
    rows = [
        Metric(clean_name(key), value, entry["ts_ms"], entry["step"], **_measured(entry, models, server.run_id))
        for entry in entries
        for key, value in entry["metrics"].items()
    ]
    for start in range(0, len(rows), ROWS_PER_BATCH):
        # synchronous: with MLFLOW_ENABLE_ASYNC_LOGGING it would be in memory when we note that the server has it.
        server.client.log_batch(server.run_id, metrics=rows[start : start + ROWS_PER_BATCH], synchronous=True)


def _measured(entry: Mapping[str, Any], models: list[Any], run_id: str) -> dict[str, Any]:
    """What of an entry makes its metrics those of a model and a data set. The model is the newest with the weights that
    were measured; where nothing says which weights they were, or no model says which it has, the newest one."""
    if "dataset" not in entry:
        return {}
    name, digest = entry["dataset"]
    marks, measured = [_hidden(model, WEIGHTS) for model in models], entry.get("weights")
    if measured is not None and any(marks):
        models = [model for model, mark in zip(models, marks, strict=True) if mark == measured]
    model = models[0].model_id if models else None
    return {"model_id": model, "dataset_name": name[:DATASET_CHARS], "dataset_digest": digest[:DIGEST_CHARS],
            "run_id": run_id}  # fmt: skip


def _models(server: RunOnServer) -> list[Any]:
    """The logged models of the run, the newest first."""
    found = server.client.search_logged_models([server.experiment_id], f"source_run_id = '{server.run_id}'")
    return sorted(found, key=lambda model: model.creation_timestamp, reverse=True)


def clean_name(name: str) -> str:
    """A name the server takes: one refused name would hold up all metrics behind it."""
    allowed = re.sub(r"[^\w/. :-]", "_", name, flags=re.ASCII)
    return posixpath.normpath(allowed).lstrip("/.")[:NAME_CHARS] or "_"


def _send_params(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    """New parameters are set; those of a resumed run that changed, which MLflow refuses, are told in a tag."""
    from mlflow.entities import Param

    there = server.client.get_run(server.run_id).data.params
    params = {clean_name(key): _shorten(str(value), PARAM_CHARS) for key, value in entry["params"].items()}
    new = [Param(key, value) for key, value in params.items() if key not in there]
    for start in range(0, len(new), PARAMS_PER_CALL):
        server.client.log_batch(server.run_id, params=new[start : start + PARAMS_PER_CALL], synchronous=True)
    drift = [f"{key}: {there[key]} -> {value}" for key, value in params.items() if there.get(key, value) != value]
    if drift:
        _set_tag(server, "jpo.config_drift", _shorten("\n".join(drift), TAG_CHARS))


def _send_tags(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    for key, value in entry["tags"].items():
        _set_tag(server, tag_in_mlflow(clean_name(key)), _shorten(str(value), TAG_CHARS))
    note = entry["tags"].get(_NOTE)
    if note and (models := _models(server)):
        server.client.set_logged_model_tags(models[0].model_id, {_NOTE: _shorten(str(note), TAG_CHARS)})


def _set_tag(server: RunOnServer, key: str, value: str) -> None:
    server.client.set_tag(server.run_id, key, value, synchronous=True)


def _send_text(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    server.client.log_text(server.run_id, entry["text"], entry["file"])


def _send_facts(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    """Write the artifact of all facts anew: the driver knows some, rank 0 others, a resumed run newer ones."""
    facts: dict[str, Any] = {}
    for made, _ in read_lines(server.run_dir / OUTBOX, start=b'{"op":"facts"'):
        facts |= made["facts"]
    server.client.log_text(server.run_id, json.dumps(facts, indent=1, ensure_ascii=False), FACTS)


def _send_inputs(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    """Make data sets inputs of the run, each with what it was for."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    made = [
        DatasetInput(
            Dataset(
                name=one["name"][:DATASET_CHARS],
                digest=one["digest"][:DIGEST_CHARS],
                source_type="local",
                source=json.dumps({"uri": _shorten(one["source"], PARAM_CHARS)}),
                schema=_schema(one.get("fields", ())),
                profile=json.dumps(one["profile"]),
            ),
            [InputTag("mlflow.data.context", one["context"])],
        )
        for one in entry["datasets"]
    ]
    server.client.log_inputs(server.run_id, made)


def _schema(fields: Sequence[str]) -> str | None:
    """The columns of a set, all of them texts, as MLflow shows them; None where they are not known."""
    if not fields:
        return None
    return json.dumps({"mlflow_colspec": [{"type": "string", "name": name, "required": True} for name in fields]})


def _send_table(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    """A table that the run page shows. MLflow's own `log_table` adds the rows to those that are there."""
    text = json.dumps({"columns": entry["columns"], "data": entry["data"]}, ensure_ascii=False)
    server.client.log_text(server.run_id, text, entry["file"])
    known = json.loads(server.client.get_run(server.run_id).data.tags.get(_TABLES, "[]"))
    this = {"path": entry["file"], "type": "table"}
    if this not in known:
        _set_tag(server, _TABLES, json.dumps([*known, this]))


def _send_artifact(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    path = Path(entry["path"])
    send = server.client.log_artifacts if path.is_dir() else server.client.log_artifact
    send(server.run_id, str(path), entry["folder"])


def _send_checkpoint(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    """Set a tag to the newest checkpoint and write the table of all."""
    made = (e for e, _ in read_lines(server.run_dir / OUTBOX, start=b'{"op":"checkpoint"'))
    table = {e["step"]: {key: e[key] for key in ("step", "path", "bytes", "seconds", "ts_ms")} for e in made}
    server.client.log_text(server.run_id, json.dumps(list(table.values()), indent=1), "checkpoints.json")
    _set_tag(server, tag_in_mlflow("jpo.checkpoint.path"), entry["path"])


def _send_model(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    """Make a logged model of the run. By default only its place is recorded: uploading an 8B model takes an hour.
    `into` in the entry: the id of such a pointer, which gets the files instead."""
    client = server.client
    models = _models(server)
    if any(entry["id"] in (_hidden(known, _MADE), _hidden(known, _COPIED)) for known in models):
        return
    for known in models:
        if _hidden(known, _MAKING) == entry["id"]:  # the server went away before it was whole, and is asked again
            client.delete_logged_model(known.model_id)
    export = Path(entry["path"])
    if entry["copy"] and not export.is_dir():
        raise FileNotFoundError(f"{export} is no folder")  # before a model without files is made
    weights = folder_mark(export) if entry["copy"] else entry.get("weights")  # of a copy: what is copied now
    tags = {"jpo.path": entry["path"], IS_EXTERNAL: str(not entry["copy"]).lower()}
    tags |= {tag_in_mlflow(WEIGHTS): weights} if weights else {}
    keeps_figures = weights == entry.get("weights")  # else the export was written anew since the copy was asked for
    if keeps_figures and any(known.model_id == entry.get("into") for known in models):
        _send_model_files(server, entry["into"], export, entry["copy"], tags)
        client.set_logged_model_tags(entry["into"], {**tags, tag_in_mlflow(_COPIED): entry["id"]})
    else:
        _make_model(server, entry, export, tags)


def _make_model(server: RunOnServer, entry: Mapping[str, Any], export: Path, tags: Mapping[str, str]) -> None:
    from mlflow.entities import LoggedModelOutput

    client, run_id = server.client, server.run_id
    of_run = client.get_run(run_id).data
    source = {key: of_run.tags[key] for key in _SOURCE if key in of_run.tags}
    made_by = {key: of_run.params[key] for key in _MADE_BY if key in of_run.params}
    name, making = entry.get("name", "export"), {tag_in_mlflow(_MAKING): entry["id"]}
    model = client.create_logged_model(
        server.experiment_id, name, run_id, {**source, **tags, **making}, made_by, model_type="causal-lm"
    )
    try:
        _send_model_files(server, model.model_id, export, entry["copy"], tags)
    except BaseException:
        with suppress(Exception):  # a model without files would stand there as one that is on its way
            client.delete_logged_model(model.model_id)
        raise
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, entry["step"])])
    # last: an unfinished one is made anew
    client.set_logged_model_tags(model.model_id, {tag_in_mlflow(_MADE): entry["id"]})


def _hidden(model: Any, key: str) -> str | None:
    """A tag of a logged model that its page does not show; models of earlier versions have it under its bare name."""
    found: str | None = model.tags.get(tag_in_mlflow(key), model.tags.get(key))
    return found


def _send_model_files(server: RunOnServer, model_id: str, export: Path, copy: bool, tags: Mapping[str, str]) -> None:
    from mlflow.models import Model

    about = Model(run_id=server.run_id, model_uuid=model_id, model_id=model_id, metadata=dict(tags))
    serves = copy and can_chat(export)
    # Beside the export, so that its weights are linked there and not copied.
    with tempfile.TemporaryDirectory(dir=export.parent if copy else None, prefix=".logged-") as aside:
        if serves:
            write_chat_model(export, Path(aside), about)
        else:
            about.save(Path(aside) / "MLmodel")
        server.client.log_model_artifacts(model_id, aside)
    if copy and not serves:
        server.client.log_model_artifacts(model_id, str(export), "model")
    if copy and folder_mark(export) != tags[tag_in_mlflow(WEIGHTS)]:
        raise RuntimeError(f"{export} was written anew while it was copied")


def _send_status(server: RunOnServer, entry: Mapping[str, Any]) -> None:
    if entry["status"] == "RUNNING":
        server.client.update_run(server.run_id, status="RUNNING")
    else:
        started = server.client.get_run(server.run_id).info.start_time  # by the clock of who made the run
        end = max(entry["ts_ms"], started or 0)
        server.client.set_terminated(server.run_id, entry["status"], end_time=end)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


SEND: dict[str, Callable[[RunOnServer, Mapping[str, Any]], None]] = {
    "params": _send_params,
    "tags": _send_tags,
    "text": _send_text,
    "facts": _send_facts,
    "inputs": _send_inputs,
    "table": _send_table,
    "artifact": _send_artifact,
    "checkpoint": _send_checkpoint,
    "model": _send_model,
    "status": _send_status,
}

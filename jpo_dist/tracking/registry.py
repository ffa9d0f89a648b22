"""Versions of a model in MLflow's registry: a candidate, a champion, and the way back.

Functions on a client of MLflow, which mlflow_server.open_client gives.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jpo_dist.config.explain import ConfigError
from jpo_dist.tracking.gate import Gate, failures
from jpo_dist.tracking.page_text import IS_EXTERNAL, WEIGHTS, tag_in_mlflow

CANDIDATE, CHAMPION = "candidate", "champion"
FIGURE, BEFORE = "figure.", "champion.before"
"""How tags of a version begin that hold figures, and the tag that holds the version which was champion before it."""
TAG_CHARS = 5000


class Version(NamedTuple):
    """A version of a registered model, and what became of it."""

    number: str
    is_new: bool


def copied_model(client: Any, experiment_id: str, run_id: str, weights: str | None = None) -> Any:
    """The newest logged model of a run that has its files in MLflow, with these `weights` (their mark) where they are
    given; None where it has none."""
    return _newest(client, experiment_id, run_id, weights, is_external="false")


def pointer_to(client: Any, experiment_id: str, run_id: str, folder: str, weights: str) -> str | None:
    """Id of the newest logged model of a run that only says that it is in `folder`, with these weights; None where
    there is none."""
    found = _newest(client, experiment_id, run_id, weights, is_external="true")
    return found.model_id if found is not None and found.tags.get("jpo.path") == folder else None


def weights_of(model: Any) -> str | None:
    """The mark of the weights of a logged model; None where an earlier version made it."""
    found: str | None = model.tags.get(tag_in_mlflow(WEIGHTS))
    return found


def _newest(client: Any, experiment_id: str, run_id: str, weights: str | None, is_external: str) -> Any:
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
    of = [one for one in found if one.tags.get(IS_EXTERNAL) == is_external and str(one.status) == "READY"]
    of = [one for one in of if weights in (None, weights_of(one))]
    return max(of, key=lambda model: model.creation_timestamp, default=None)


def register(client: Any, name: str, model: Any, tags: Mapping[str, str], figures: Mapping[str, float]) -> Version:
    """Make a version of a logged model and call it the candidate. The same model again is the same version, whose tags
    are set anew: figures that were measured since come to it."""
    _make_name(client, name)
    source = f"models:/{model.model_id}"
    known = [one for one in client.search_model_versions(f"name = '{name}'") if one.source == source]
    version = known[0] if known else client.create_model_version(
        name, source, run_id=model.source_run_id, model_id=model.model_id
    )  # fmt: skip
    every = {**tags, **{f"{FIGURE}{key}": repr(float(value)) for key, value in figures.items()}}
    for key, value in every.items():
        client.set_model_version_tag(name, version.version, key, value[:TAG_CHARS])
    client.set_registered_model_alias(name, CANDIDATE, version.version)
    return Version(str(version.version), not known)


def _make_name(client: Any, name: str) -> None:
    try:
        client.create_registered_model(name)
    except Exception as error:
        if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
            raise


def figures_of(version: Any) -> dict[str, float]:
    """The figures in the tags of a version."""
    return {key.removeprefix(FIGURE): float(value) for key, value in version.tags.items() if key.startswith(FIGURE)}


def promote(client: Any, name: str, gate: Gate) -> str:
    """Make the candidate the champion. Returns its version.

    Raises ConfigError that says why, where there is no candidate or its figures do not pass the gate.
    """
    version = _by_alias(client, name, CANDIDATE)
    if version is None:
        raise ConfigError(f"{name} has no version with the alias {CANDIDATE}; `jpo register` makes one")
    missed = failures(gate, figures_of(version))
    if missed:
        raise ConfigError(f"version {version.version} of {name} does not pass the gate: {'; '.join(missed)}")
    before = _by_alias(client, name, CHAMPION)
    if before is not None and before.version != version.version:
        client.set_model_version_tag(name, version.version, BEFORE, str(before.version))
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return str(version.version)


def rollback(client: Any, name: str) -> tuple[str, str]:
    """Make the version the champion that was it before. Returns the versions from and to.

    Raises ConfigError where there is no champion, or it is the first one.
    """
    now = _by_alias(client, name, CHAMPION)
    if now is None:
        raise ConfigError(f"{name} has no version with the alias {CHAMPION}; `jpo promote` makes one")
    before = now.tags.get(BEFORE)
    if before is None:
        raise ConfigError(f"version {now.version} is the first champion of {name}: there is none to go back to")
    client.set_registered_model_alias(name, CHAMPION, before)
    return str(now.version), str(before)


def _by_alias(client: Any, name: str, alias: str) -> Any:
    """A version by its alias; None where no version has it, or no model the name."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except Exception as error:
        if getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise

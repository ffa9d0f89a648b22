"""Run configs: a YAML file plus dotted overrides, into one closed, frozen, checked object.

load("configs/demo.yaml", ["objective.beta=0.2", "cluster.workers=4"])
"""

import difflib
import json
import os
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, Field, ValidationError

from cluster.config import ClusterConfig
from jpo_dist.config import JpoConfig, Section
from jpo_dist.records.comparisons import SPLITS
from jpo_dist.redact import is_secret, secret_in

Config = TypeVar("Config", bound=BaseModel)

_REFERENCES = "cluster.secrets"


class ConfigError(ValueError):
    """A setting that cannot be used: key, value, rule, fix."""


class EvaluateConfig(Section):
    """What `jpo evaluate` looks at, beside the held-out comparisons of the data section."""

    policy: str | None = None
    """The model to evaluate; None: `<run.dir>/export`."""
    instructions: str | None = None
    """JSONL of {"instruction", "constraints"}: answers are generated and checked by program. None: no generation."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    """Length of an answer; one that is cut off here fails its constraints."""


class RunConfig(JpoConfig):
    """Everything one `jpo` command needs."""

    cluster: ClusterConfig = ClusterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


def load(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Read, override, check. Relative paths stay relative to where the command runs. Raises ConfigError."""
    return load_as(RunConfig, path, overrides)


def load_as(kind: type[Config], path: str | Path, overrides: list[str] | None = None) -> Config:
    """As `load`, for another kind of config."""
    path = Path(path)
    _refuse_missing(path)
    changes = [_change(item, kind) for item in overrides or []]
    try:
        merged = OmegaConf.load(path)
        for key, value in changes:
            _refuse_beyond(merged, key)
            # One key at a time: merged as a mapping, `sources.0.path` would not find its place in a list.
            OmegaConf.update(merged, key, value, merge=True)
        values = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError, OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}{_where_and_why(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a config is a mapping of sections, this is a {type(values).__name__}")
    return parse_as(kind, {str(key): value for key, value in values.items()}, str(path))


def _refuse_beyond(config: Any, key: str) -> None:
    """Raises ValueError where a key goes through a list to an entry that it does not have: OmegaConf says no more than
    that an index is out of range, and takes -2 for the entry of a list of one."""
    parts = key.replace("[", ".").replace("]", "").split(".")
    for at, part in enumerate(parts):
        if isinstance(config, ListConfig):
            if not (part.isdecimal() and int(part) < len(config)):
                entries = "1 entry" if len(config) == 1 else f"{len(config)} entries"
                numbers = f"its numbers are 0 to {len(config) - 1}" if config else "add them in the file"
                raise ValueError(f"{key}: {'.'.join(parts[:at])} has {entries}; {numbers}")
            config = config[int(part)]
        else:
            config = config[part] if isinstance(config, DictConfig) and part in config else None


def _refuse_missing(path: Path) -> None:
    if path.is_dir():
        inside = path / "config.yaml"
        fix = f"did you mean {inside}?" if inside.is_file() else "name a YAML file"
        raise ConfigError(f"{path} is a folder, not a config; {fix}")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"{path}: no such config; {'beside it: ' + ', '.join(near) if near else 'check the path'}")


def _change(override: str, kind: type[BaseModel]) -> tuple[str, Any]:
    """Key and value of an override. The value is not repeated where it cannot be read: it may be a secret."""
    key, found, value = override.partition("=")
    if not found:
        raise ConfigError(f"override {override!r} is not key=value; write for example objective.beta=0.2")
    if value == "None":  # as text it would be a name: of a file, or of a server
        raise ConfigError(f"override {override}: no value is null in YAML; write {key}=null")
    text = _quoted(override, kind).partition("=")[2]
    try:
        return key, OmegaConf.from_dotlist([f"value={text}"])["value"]
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        reason = getattr(error, "problem", None) or _first_line(error)
        raise ConfigError(f"override {key}: {reason}; correct the value, or quote it") from None


def _where_and_why(error: Exception) -> str:
    """An error of a file in one line, with its place: libraries spread both over several, and a command ends in one."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        during = f" ({error.context})" if error.context else ""
        return f", line {error.problem_mark.line + 1}: {error.problem}{during}; correct it"
    key = getattr(error, "full_key", None)
    return f": {key}: {_first_line(error)}" if key else f": {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _quoted(override: str, kind: type[BaseModel]) -> str:
    """Text settings taken as typed: as YAML, `#` would start a comment, `{` a mapping, and 7 be a number."""
    key, _, value = override.partition("=")
    is_text = key.startswith(("cluster.env.", f"{_REFERENCES}.")) or key in _text_keys(kind)
    if not is_text or value in ("", "null") or value[:1] in ("'", '"'):
        return override
    return f"{key}={json.dumps(value, ensure_ascii=False)}"  # a JSON string is a YAML string


def _text_keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys |= _text_keys(kind, f"{prefix}{name}.")
        elif kind in (str, str | None):
            keys.add(prefix + name)
    return keys


def parse(values: dict[str, Any], source: str = "config") -> RunConfig:
    """Check a plain mapping. Raises ConfigError naming every bad key."""
    return parse_as(RunConfig, values, source)


def parse_as(kind: type[Config], values: dict[str, Any], source: str) -> Config:
    """As `parse`, for another kind of config."""
    for key, value in flatten(values).items():
        found = _secret_in(key, value)
        if found:
            raise ConfigError(
                f"{source}: {key} {found}; configs are logged and copied: use an environment variable of every host, "
                "or a file there, and say where it is: cluster.secrets.NAME=env or =/PATH (MLflow reads "
                "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and MLFLOW_TRACKING_TOKEN)"
            )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = [explain(problem, kind) for problem in error.errors()]
        raise ConfigError(f"{source}: " + f"\n{source}: ".join(lines)) from None


def _secret_in(key: str, value: Any) -> str | None:
    """What is wrong with a setting that holds a secret instead of a reference to it; never the value."""
    if key == _REFERENCES or key.startswith(f"{_REFERENCES}."):  # ClusterConfig looks at these
        return None
    if is_secret(key, value):
        return "looks like a secret"
    texts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    kind = next(filter(None, map(secret_in, texts)), None)
    return kind and f"holds a secret ({kind})"


def explain(problem: Any, kind: type[BaseModel] = RunConfig) -> str:
    """pydantic's report of one problem as key, value, rule, fix."""
    location = [str(part) for part in problem["loc"] if not str(part).startswith(("list[", "literal[", "function-"))]
    if location[-1:] == ["str"]:  # pydantic's name for a branch of `str | list[str]`
        location.pop()
    key, rule = ".".join(location), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{key} is required; add it"
    if problem["type"] == "extra_forbidden":
        return f"{key} is not a setting; {_nearest(location, kind)}"
    if problem["type"] == "value_error":
        return f"{key}{'.' if key and not rule.startswith(' ') else ''}{rule}"  # of a key in it, or of it itself
    return f"{key} ({problem['input']!r}): {rule[0].lower()}{rule[1:]}"


def _nearest(location: list[str], kind: type[BaseModel]) -> str:
    """What an unknown key may have been meant to be; of an entry of a list, in the same entry."""
    known = sorted(known_keys(kind)) if len(location) > 1 else sorted(kind.model_fields)
    plain = [part for part in location if not part.isdigit()]
    section, written = ".".join(plain[:-1]), ".".join([*location[:-1], ""])
    here = {name: written + name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section}
    near = difflib.get_close_matches(".".join(plain), known, n=1, cutoff=0.4)
    if near:
        return f"did you mean {here.get(near[0], near[0])}?"
    return f"known there: {', '.join(here.values()) or ', '.join(known)}"


def model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section behind an annotation, also behind `list[…]` and `… | None`; and whether there may be several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if "Literal" in str(get_origin(annotation)):
        return None, False
    for part in get_args(annotation):
        kind, many = model_in(part)
        if kind is not None:
            return kind, many or get_origin(annotation) is list
    return None, False


def known_keys(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Every dotted key with its documentation; entries of a list without their number."""
    keys: dict[str, str] = {}
    for name, field in model.model_fields.items():
        kind, _ = model_in(field.annotation)
        if kind is not None:
            keys |= known_keys(kind, f"{prefix}{name}.")
        else:
            keys[prefix + name] = field.description or ""
    return keys


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def write(config: RunConfig, path: Path) -> None:
    """The resolved config: the same run again with `jpo train <path>`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json"))), encoding="utf-8")


def absolute(config: RunConfig) -> RunConfig:
    """Local paths made absolute: Ray workers do not start in the driver's folder. Hub ids and URIs stay as they are.

    Raises ConfigError for a relative run.dir in a Ray job.
    """
    refuse_lost("run.dir", config.run.dir)

    def fix(where: Any) -> Any:
        if isinstance(where, list):
            return [fix(one) for one in where]
        folder, _, split = (where or "").rpartition(":")
        if folder and (split in SPLITS or Path(folder).expanduser().is_dir()):
            return f"{fix(folder)}:{split}"
        if where is None or ":" in where.split("/")[0]:
            return where
        is_local = Path(where).exists() or any(c in where for c in "*?[") or where.startswith((".", "~"))
        return str(Path(where).expanduser().absolute()) if is_local else where

    run_dir = str(Path(config.run.dir).expanduser().absolute())
    tracking = config.tracking.uri
    if tracking and tracking.startswith("sqlite:///") and not tracking.startswith("sqlite:////"):
        tracking = f"sqlite:///{Path(tracking.removeprefix('sqlite:///')).absolute()}"
    return config.model_copy(
        update={
            "run": config.run.model_copy(update={"dir": run_dir}),
            "model": config.model.model_copy(update={"path": fix(config.model.path)}),
            "data": config.data.model_copy(
                update={"train": fix(config.data.train), "validation": fix(config.data.validation)}
            ),
            "reference": config.reference.model_copy(
                update={"path": fix(config.reference.path), "cache_dir": fix(config.reference.cache_dir)}
            ),
            "evaluate": config.evaluate.model_copy(
                update={"policy": fix(config.evaluate.policy), "instructions": fix(config.evaluate.instructions)}
            ),
            "tracking": config.tracking.model_copy(update={"uri": tracking}),
        }
    )


def refuse_lost(key: str, folder: str | Path) -> None:
    """Raises ConfigError where this is a Ray job and what it writes to `folder` would be lost with it."""
    if ray_job():
        refuse_relative(key, str(folder))


def refuse_relative(key: str, folder: str) -> None:
    if not (Path(folder).expanduser().is_absolute() or "://" in folder):
        raise ConfigError(
            f"{key} ({folder}) must be absolute in a Ray job: relative, it would lie in the unpacked copy of the code "
            f"on the head, which Ray deletes; use a folder that all hosts see"
        )


def ray_job() -> str | None:
    """Submission id of the Ray job that this process is the driver of."""
    about = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return about.get("metadata", {}).get("job_submission_id")

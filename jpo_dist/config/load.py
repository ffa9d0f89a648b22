"""A YAML file and dotted overrides become one closed, frozen, checked object, of any kind of config."""

import io
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from jpo_dist.config.environment import with_tracking
from jpo_dist.config.explain import ConfigError, explain, where_and_why
from jpo_dist.config.overrides import change, refuse_beyond
from jpo_dist.files import replace, text_of
from jpo_dist.redact import is_secret, secret_in
from jpo_dist.run_dir import CONFIG

Config = TypeVar("Config", bound=BaseModel)


def load_as(kind: type[Config], path: str | Path, overrides: list[str] | None = None) -> Config:
    """The config of this kind in a YAML file, with overrides, and what MLflow's variables say where it has nothing of
    it, checked. Raises ConfigError."""
    path = Path(path)
    _refuse_missing(path)
    changes = [change(item, kind) for item in overrides or []]
    try:
        text = text_of(path)
        merged = OmegaConf.load(io.StringIO(text))
        for key in _written_none(yaml.compose(text, yaml.SafeLoader), set()):
            raise ConfigError(f"{path}: {key} (None) is a text in YAML, and no value is null; write null, or quote it")
        for key, value in changes:
            refuse_beyond(merged, key)
            # One key at a time: merged as a mapping, `sources.0.path` would not find its place in a list.
            OmegaConf.update(merged, key, value, merge=True)
        _refuse_secret_variables(OmegaConf.to_container(merged, resolve=False), str(path))
        values = OmegaConf.to_container(merged, resolve=True)
    except ConfigError:
        raise
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except (OmegaConfBaseException, yaml.YAMLError, RecursionError, OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}{where_and_why(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a config is a mapping of sections, this is a {type(values).__name__}")
    values = with_tracking(kind, {str(key): value for key, value in values.items()})
    return parse_as(kind, values, str(path), {key for key, _ in changes})


def _written_none(node: yaml.Node | None, seen: set[int], key: str = "") -> Iterator[str]:
    """Dotted keys of the values that are written None, as Python has it: it would be a name of a file or a server.

    `seen`: nodes that have been looked at, by id; aliases lead to one many times, and to itself.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _written_none(value, seen, f"{key}{'.' if key else ''}{name.value}")
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield from _written_none(value, seen, f"{key}.{place}")
    elif isinstance(node, yaml.ScalarNode) and node.value == "None" and node.style is None:
        yield key


_VARIABLE = re.compile(r"\$\{\s*oc\.env\s*:\s*([\w.]*)")


def _refuse_secret_variables(values: Any, path: str) -> None:
    """Raises ConfigError for a setting that takes a secret out of the environment: the resolved config is logged."""
    for text in _texts(values):
        for name in _VARIABLE.findall(text):
            if not name or is_secret(name, "x"):
                raise ConfigError(
                    f"{path}: ${{oc.env:{name or '...'}}} puts a secret, or what may be one, into the config, which is "
                    "logged and copied; say where it is instead: cluster.secrets.NAME=env, endpoint.key_env=NAME"
                )


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, those in lists and mappings too."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)


def write(config: BaseModel, path: Path) -> None:
    """The resolved config as a file that the same command reads again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json"))), sync=True)


def _refuse_missing(path: Path) -> None:
    if path.is_dir():
        inside = path / CONFIG
        fix = f"did you mean {inside}?" if inside.is_file() else "name a YAML file"
        raise ConfigError(f"{path} is a folder, not a config; {fix}")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"{path}: no such config; {'beside it: ' + ', '.join(near) if near else 'check the path'}")


def parse_as(kind: type[Config], values: dict[str, Any], source: str, typed: Collection[str] = frozenset()) -> Config:
    """The config of this kind in a plain mapping, checked. Raises ConfigError that names every bad key; `source` is
    where the mapping is from, all but the keys `typed`, which are from the command line.

    Secrets are refused before anything else: no message may repeat one.
    """
    for key, value in flatten(values).items():
        found = None if key.startswith(_references(kind)) else _secret_in(key, value)
        if found:
            raise ConfigError(
                f"{source}: {key} {found}; configs are logged and copied: use an environment variable of every host, "
                "or a file there, and say where it is: cluster.secrets.NAME=env or =/PATH (MLflow reads "
                "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and MLFLOW_TRACKING_TOKEN)"
            )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = [f"{_said_by(problem['loc'], source, typed)}: {explain(problem, kind)}" for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _said_by(location: Sequence[str | int], source: str, typed: Collection[str]) -> str:
    """Who says the value at a place of a config."""
    place = ".".join(map(str, location))
    return "command line" if any(place == key or place.startswith(f"{key}.") for key in typed) else source


def _references(kind: type[BaseModel], prefix: str = "") -> tuple[str, ...]:
    """Beginnings of the keys that say where a secret is: their section sees to it that they do not hold one."""
    found: tuple[str, ...] = ()
    for name, field in kind.model_fields.items():
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("references"):
            found += (f"{prefix}{name}",)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _references(field.annotation, f"{prefix}{name}.")
    return found


def _secret_in(key: str, value: Any) -> str | None:
    """What is wrong with a setting that holds a secret instead of a reference to it; never the value."""
    if is_secret(key, value):
        return "looks like a secret"
    if isinstance(value, list):
        inside = [flatten({f"{key}.{place}": one}) for place, one in enumerate(value)]
        return next(filter(None, (_secret_in(name, one) for part in inside for name, one in part.items())), None)
    kind = secret_in(value) if isinstance(value, str) else None
    return kind and f"holds a secret ({kind})"


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The mapping with dotted keys: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

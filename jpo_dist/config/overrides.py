"""`key=value` from the command line: what it sets, and what cannot be set so."""

import json
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from jpo_dist.config.explain import ConfigError, first_line


def refuse_beyond(config: Any, key: str) -> None:
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


def change(override: str, kind: type[BaseModel]) -> tuple[str, Any]:
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
        reason = getattr(error, "problem", None) or first_line(error)
        raise ConfigError(f"override {key}: {reason}; correct the value, or quote it") from None


def _quoted(override: str, kind: type[BaseModel]) -> str:
    """Text settings taken as typed: as YAML, `#` would start a comment, `{` a mapping, and 7 be a number. So are names
    of files, of which there may be a list: that begins with `[`."""
    key, _, value = override.partition("=")
    is_text = key in _text_keys(kind) or key.rpartition(".")[0] in _text_keys(kind, holding=dict[str, str])
    is_text |= key in _text_keys(kind, holding=str | list[str]) and value[:1] != "["
    if not is_text or value in ("", "null") or value[:1] in ("'", '"'):
        return override
    return f"{key}={json.dumps(value, ensure_ascii=False)}"  # a JSON string is a YAML string


def _plain(kind: Any) -> Any:
    """A union without what its parts are annotated with."""
    parts = get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) is Union else ()
    return Union[tuple(get_args(p)[0] if get_origin(p) is Annotated else p for p in parts)] if parts else kind  # noqa: UP007


def _text_keys(model: type[BaseModel], prefix: str = "", holding: Any = str) -> set[str]:
    """Keys of the fields that hold this type, or None."""
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys |= _text_keys(kind, f"{prefix}{name}.", holding)
        elif _plain(kind) in (holding, holding | None):
            keys.add(prefix + name)
    return keys

"""From the YAML to stages that can run: rounds written out, references replaced, a key and a folder for each.

The key of a stage covers all that decides what it makes: its settings, the contents of the files that these name, and
the keys of the stages it refers to. So a folder is never used for anything else than what it was made for: after a
change, what the change does not reach is found again, and the rest gets folders of its own.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.config.environment import tracking_of
from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import parse_as
from jpo_dist.run_dir import EXPORT_MERGED
from jpo_dist.tracking.run_file import sqlite_uri
from launcher.config.pipeline import COMMANDS, POLICY, Entry, Kind, PipelineConfig, entry_of
from launcher.pipeline.contents import Contents
from launcher.pipeline.keys import keys_of

LONGEST_NAME = 64


class Stage(NamedTuple):
    """One stage that can run."""

    name: str
    """Its name, with the round behind it where there are several."""
    kind: Kind
    key: str
    folder: Path
    settings: dict[str, Any]
    """The config of its command, checked."""
    after: tuple[str, ...]
    """Names of the stages whose files it reads."""

    @property
    def made(self) -> Path:
        """What stages after it are given for its name. Of an adapter it is the model with the adapter merged in."""
        return self.folder / (EXPORT_MERGED if _has_adapter(self) else self.kind.made)

    @property
    def config_file(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def done_file(self) -> Path:
        """Is there when the stage is done."""
        return self.folder.with_name(f"{self.folder.name}.done.json")


def resolve_stages(config: PipelineConfig, source: str, contents: Contents) -> list[Stage]:
    """All stages in their order. Raises ConfigError, which names the stage, the key and the rule, before any runs."""
    _refuse_unknown_shared(config, source)
    made: list[Stage] = []
    newest: dict[str, Stage] = {}
    for at, entry, round_ in written_out(config):
        name = entry.name if round_ is None else f"{entry.name}-{round_}"
        where = f"{source}: stages.{at}.{entry.command}"
        stage = _stage(name, entry, config, newest, contents, where, round_ or 1)
        made.append(stage)
        newest[entry.name] = stage
        if stage.kind.trains:
            newest[POLICY] = stage
    return made


def written_out(config: PipelineConfig) -> list[tuple[int, Entry, int | None]]:
    """(place in `stages`, entry, round from 1) of each stage in the order in which they run; None: in no round."""
    entries = [entry_of(stage, at) for at, stage in enumerate(config.stages)]
    if config.rounds == 1:
        return [(at, entry, None) for at, entry in enumerate(entries)]
    begins = [at for at, entry in enumerate(entries) if entry.command == "generate"]
    ends = [at for at, entry in enumerate(entries) if entry.command == "train"]
    if not begins or not ends or begins[0] > ends[-1]:
        raise ConfigError(
            f"rounds ({config.rounds}) needs a generate stage with a train stage after it: these, and what is between "
            "them, are gone through again; add them, or leave rounds out"
        )
    first, last = begins[0], ends[-1] + 1
    numbered = list(enumerate(entries))
    again = [(at, entry, round_ + 1) for round_ in range(config.rounds) for at, entry in numbered[first:last]]
    once: list[tuple[int, Entry, int | None]] = [(at, entry, None) for at, entry in numbered]
    return [*once[:first], *again, *once[last:]]


def _stage(
    name: str,
    entry: Entry,
    config: PipelineConfig,
    newest: dict[str, Stage],
    contents: Contents,
    where: str,
    round_: int,
) -> Stage:
    kind = COMMANDS[entry.command]
    pipeline = Path(config.dir).expanduser().absolute()
    own = entry.settings if POLICY in newest else _of_the_shared_model(entry.settings, config)
    settings = merged(_shared(config, kind, own), own)
    if entry.command == "generate" and round_ > 1:
        settings["seed"] = int(settings.get("seed", 0)) + round_ - 1
    used: dict[str, Stage] = {}
    settings = _replaced(settings, newest, used, where)
    if "run" in kind.config.model_fields:  # what its model is called in MLflow; in no key
        settings["run"] = {"name": f"{config.name}-{name}"[:LONGEST_NAME], **settings.get("run", {})}
    _put(settings, kind.folder, str(pipeline / name))  # for the check; the true one has the key in its name
    checked = parse_as(kind.config, settings, where).model_dump(mode="json")
    # What stages make is known by their keys: it may not be there yet, and need not be read.
    known = {str(stage.made): stage.key for stage in used.values()}
    keys = keys_of(entry, checked, known, contents, pipeline)
    folders = [pipeline / f"{name}-{key[:8]}" for key in keys]
    # One that was made under the key of before is found: its answers were paid for.
    key, folder = next((both for both in zip(keys, folders, strict=True) if both[1].exists()), (keys[0], folders[0]))
    _put(checked, kind.folder, str(folder))
    if storage := (checked.get("checkpoint") or {}).get("storage"):
        checked["checkpoint"]["storage"] = inside_store(storage, folder.name)
    return Stage(name, kind, key, folder, checked, tuple(stage.name for stage in used.values()))


def inside_store(storage: str, name: str) -> str:
    """The folder `name` in a store: two stages in one would go on with each other's commits.

    >>> inside_store("s3://bucket/runs/?region=x", "train-1234")
    's3://bucket/runs/train-1234?region=x'
    """
    place, mark, how = storage.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{how}"


def _replaced(value: Any, newest: dict[str, Stage], used: dict[str, Stage], where: str) -> Any:
    """`value` with paths in the place of `@NAME`; the stages that it refers to are added to `used`."""
    if isinstance(value, dict):
        return {name: _replaced(one, newest, used, f"{where}.{name}") for name, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, newest, used, f"{where}.{at}") for at, one in enumerate(value)]
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    if value.startswith("@@"):  # text that begins with an @
        return value[1:]
    name, slash, inside = value[1:].partition("/")
    name, colon, split = name.partition(":")
    if name not in newest:
        there = ", ".join(f"@{one}" for one in newest) or "none"
        raise ConfigError(f"{where} ({value}): no stage before this one has that name; there are: {there}")
    stage = newest[name]
    if _has_adapter(stage) and not stage.settings["model"]["lora"]["merge_on_export"]:
        raise ConfigError(
            f"{where} ({value}): stage {stage.name} exports an adapter alone, and no other stage loads one; set "
            f"model.lora.merge_on_export=true in {stage.name}"
        )
    used[stage.name] = stage
    return f"{stage.made}{slash}{inside}{colon}{split}"


def _has_adapter(stage: Stage) -> bool:
    return stage.kind.trains and bool(stage.settings["model"].get("lora", {}).get("rank"))


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`under` with the settings of `over` in it; of a section that both have, each setting."""
    both = dict(under)
    for name, value in over.items():
        old = both.get(name)
        both[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def _shared(config: PipelineConfig, kind: Kind, own: dict[str, Any]) -> dict[str, Any]:
    """What of `shared` a command has. Everything is tracked in the pipeline's folder where nothing else is said.

    Where a stage names a model of its own, revision and GGUF file of the shared one are left behind: they are its.
    """
    beside = sqlite_uri(Path(config.dir).expanduser().absolute() / "mlflow.db")
    here = {"tracking": {"uri": beside} | tracking_of(os.environ)}
    both = merged(here, config.shared)
    model, own_model = both.get("model"), own.get("model")
    if isinstance(model, dict) and isinstance(own_model, dict) and "path" in own_model:
        both["model"] = {name: value for name, value in model.items() if name not in ("gguf_file", "revision")}
    return {name: value for name, value in both.items() if name in kind.config.model_fields}


def _of_the_shared_model(own: dict[str, Any], config: PipelineConfig) -> dict[str, Any]:
    """Settings in which `@policy` is left to the shared model: before any training it is the model that all begin
    from."""
    model = own.get("model")
    if not isinstance(model, dict) or model.get("path") != f"@{POLICY}" or "path" not in config.shared.get("model", {}):
        return own
    return {**own, "model": {name: value for name, value in model.items() if name != "path"}}


def _refuse_unknown_shared(config: PipelineConfig, source: str) -> None:
    kinds = {COMMANDS[entry_of(stage, at).command].config for at, stage in enumerate(config.stages)}
    sections: set[str] = {name for kind in kinds for name in kind.model_fields}
    for name in config.shared:
        if name not in sections:
            raise ConfigError(
                f"{source}: shared.{name} is a setting of none of the stages; known: {', '.join(sorted(sections))}"
            )


def _put(settings: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a dotted key."""
    *sections, last = dotted.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
    settings[last] = value


def by_name(stages: Sequence[Stage], name: str) -> Stage:
    """The stage `name`. Raises ConfigError with the names that there are."""
    found = [stage for stage in stages if stage.name == name]
    if not found:
        raise ConfigError(f"--until {name}: no stage has that name; there are: {', '.join(s.name for s in stages)}")
    return found[0]

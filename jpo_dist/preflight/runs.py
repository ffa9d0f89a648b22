"""A run on ranks: whether its models can take its data, and whether training sees what the chat template writes."""

from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoTokenizer

from jpo_dist.batches.limits import ModelLimits, doubts, require_fits, require_vocabulary, vocabulary_of
from jpo_dist.batches.load import load_data, read_data, require_comparisons
from jpo_dist.batches.prepare import prepare
from jpo_dist.batches.template import CHAT, template_of
from jpo_dist.batches.template_check import look_at, require_template
from jpo_dist.config.run import JpoConfig, model_at
from jpo_dist.config.sft import AnyConfig, not_read
from jpo_dist.data.locate import NotOnHub
from jpo_dist.evaluate.to_score import read_to_score
from jpo_dist.model.files import pretrained, refuse_file, unseen
from jpo_dist.model.unloaded.limits import limits_of_run
from jpo_dist.paths import is_path, no_such_folder, resolve
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.shapes import samples


class Scored(NamedTuple):
    """What `jpo score` or `jpo evaluate` looks at in place of what would be trained. `key`, `policy`: the setting that
    names the model, and its value; `data`: what is scored, None for the held-out data."""

    key: str
    policy: str
    data: str | list[str] | None = None


def look(config: AnyConfig, scored: Scored | None = None, *, whole: bool = False, here: bool = False) -> list[str]:
    """Notes on a run that may start. Raises ValueError for one that may not: key, value, rule, fix.

    Models and data that are not seen from here are left to the ranks. `whole`: all data are read, and tokenized; else
    only where something of it is in doubt, and what cannot be read is left to the ranks, too. `here`: the run is for
    this machine, so that a file or folder that is not there is an error.
    """
    policy = config.model if scored is None or _is_adapter(scored) else model_at(config.model, scored.policy)
    missing = unseen(config.model) or unseen(policy)
    if here:
        require_folder("model.path", config.model.path)
        if isinstance(config, JpoConfig) and config.reference.path is not None:
            require_folder("reference.path", config.reference.path)
    if missing:
        return [f"model and data are not looked at: {missing}"]
    tokenizer = pretrained(AutoTokenizer, config.model)
    limits = limits_of_run(config, None if scored is None else (scored.key, policy))
    template_of(tokenizer, config.data)
    notes = not_read(config)
    for one in limits:
        require_vocabulary(one, tokenizer)
        notes += doubts(one, tokenizer)
    if whole:
        return notes + _look_at_all(config, tokenizer, limits, here)
    if _needs_rows(config, tokenizer, limits):
        _look_at_rows(config, scored, tokenizer, limits)
    return notes


def require_folder(key: str, given: str) -> None:
    """Raises FileNotFoundError for a setting that can only mean a folder, and is none; ValueError for a file."""
    refuse_file(key, given)
    if is_path(given) and not Path(resolve(given)).exists():
        raise no_such_folder(key, given)


def _look_at_all(config: AnyConfig, tokenizer: Any, limits: list[ModelLimits], here: bool) -> list[str]:
    try:
        dataset, held_out, notes = load_data(config, tokenizer)
    except FileNotFoundError as error:
        if here and not isinstance(error, NotOnHub):
            raise
        return [f"data are not looked at: {error}"]
    require_comparisons(dataset, notes)
    sets = [part.tokens for part in (dataset, held_out) if part is not None]
    require_fits(limits, tokenizer, sets, _longest(config))
    return notes


def _needs_rows(config: AnyConfig, tokenizer: Any, limits: list[ModelLimits]) -> bool:
    """Whether data decide something that settings alone do not."""
    return config.data.template == CHAT or _in_doubt(config, tokenizer, limits)


def _in_doubt(config: AnyConfig, tokenizer: Any, limits: list[ModelLimits]) -> bool:
    """Whether an item may be too long for a model, or have a token that it does not know."""
    size, longest = vocabulary_of(tokenizer), config.data.max_length
    return any(size > one.rows or (one.positions is not None and longest > one.positions) for one in limits)


def _look_at_rows(config: AnyConfig, scored: Scored | None, tokenizer: Any, limits: list[ModelLimits]) -> None:
    try:
        sets = _sets(config, scored)
    except (OSError, ValueError):  # a rank says it better: it is the one that has to read them
        return
    in_doubt, data = _in_doubt(config, tokenizer, limits), config.data
    for some in sets:
        rows = samples(some)
        require_template(tokenizer, rows, data)
        refuses = data.template == CHAT and data.on_bad_row == "error" and look_at(tokenizer, rows, data).refused
        if refuses or in_doubt:
            tokens = prepare(tokenizer, some, data, config.train, config.objective).tokens
            require_fits(limits, tokenizer, [tokens], _longest(config))


def _sets(config: AnyConfig, scored: Scored | None) -> list[ComparisonSet]:
    if scored is not None and scored.data is not None:
        return [read_to_score(scored.data, config.data.on_bad_row)[0]]
    comparisons, held, _ = read_data(config)
    return [some for some in ((comparisons, held) if scored is None else (held,)) if some is not None and len(some)]


def _longest(config: AnyConfig) -> str:
    return f"data.max_length ({config.data.max_length})"


def _is_adapter(scored: Scored) -> bool:
    return (Path(scored.policy) / "adapter_config.json").is_file()

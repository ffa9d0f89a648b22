"""What a look at data and model finds: which command they are for, and the settings that they need."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.batches.load import read_data
from jpo_dist.batches.prepare import prepare
from jpo_dist.batches.template import template_of
from jpo_dist.batches.template_check import changes, look_at
from jpo_dist.config.sections import ModelConfig, TokensConfig
from jpo_dist.data.layouts import THUMBS
from jpo_dist.data.read import advice, scan
from jpo_dist.data.read_report import ReadReport
from jpo_dist.model.files import pretrained
from jpo_dist.model.unloaded.limits import model_limits
from jpo_dist.paths import resolve
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.shapes import samples
from launcher.config.kinds import AnyRunConfig, RunConfig, SftRunConfig

PLAIN = "### Instructions: {instruction}\n\n### Response:"
"""The template of a model that brings none: that of the paper."""
LOOKED_AT = 5000
"""Comparisons whose lengths are measured."""
STEP, MOST = 64, 4096
"""A limit of length is a multiple of this, and no more than that where nobody asks for more."""
ANY_LENGTH = 10_000_000


class Found(NamedTuple):
    """A kind of config, its settings by section, and by dotted key what was found that made them so."""

    kind: type[AnyRunConfig]
    settings: dict[str, dict[str, Any]]
    why: dict[str, str]


def look(model: str, train: str, validation: str | None, sft: bool | None = None) -> Found:
    """Settings for training this model on these data. `sft`: imitate the responses, or compare; None: what is there.

    Raises what reading data and models raises, and ValueError for data that no training takes as they are.
    """
    section, about = _model(model)
    data: dict[str, Any] = {"train": train} | ({"validation": validation} if validation else {})
    found = Found(RunConfig, {"model": section, "data": data}, {"model.path": about})
    built, report = scan(train, on_bad_row="skip")
    found = _kind(found, built, report, sft)
    if report.bad_rows:
        data["on_bad_row"] = "skip"
        found.why["data.on_bad_row"] = f"the first of them: {report.bad_rows[0]}"
    _tokens(found, built)
    return found


def _model(path: str) -> tuple[dict[str, Any], str]:
    """The section `model`, and which architecture that is."""
    section: dict[str, Any] = {"path": path}
    folder = Path(resolve(path))
    packed = sorted(file.name for file in folder.glob("*.gguf")) if folder.is_dir() else []
    if packed and not (folder / "config.json").is_file():
        if len(packed) > 1:
            raise ValueError(f"--model ({path}) holds several models ({', '.join(packed)}); leave one in the folder")
        section["gguf_file"] = packed[0]
    from transformers import AutoConfig

    settings = pretrained(AutoConfig, ModelConfig(**section))
    return section, ", ".join(settings.architectures or [settings.model_type])


def _kind(found: Found, built: ComparisonSet, report: ReadReport, sft: bool | None) -> Found:
    """What these data are for, with what was read of them."""
    layout = " and ".join(report.layouts) or "a built set"
    comparisons = len(built)
    unscored = built.num_items > 0 and built.items["score"].null_count == built.num_items
    if sft or (sft is None and not comparisons and unscored):
        found.why["data.train"] = f"layout {layout}: {built.num_items} responses to imitate, from {report.rows} rows"
        return found._replace(kind=SftRunConfig, settings=found.settings | {"sft": {}})
    if comparisons:
        joint = int(built.is_joint_C.sum())
        found.why["data.train"] = f"layout {layout}: {comparisons - joint} conditional and {joint} joint comparisons"
        return found
    if report.layouts and THUMBS.issuperset(report.layouts):
        found.why["data.train"] = f"layout {layout}: {built.num_items} responses, some up, some down"
        return found._replace(settings=found.settings | {"objective": {"loss": "kto"}})
    raise ValueError(f"{found.settings['data']['train']}: no comparisons; {advice(built)}")


def _tokens(found: Found, built: ComparisonSet) -> None:
    """Template and lengths, added to what was found."""
    from transformers import AutoTokenizer

    data, why, model = found.settings["data"], found.why, ModelConfig(**found.settings["model"])
    tokenizer = pretrained(AutoTokenizer, model)
    if tokenizer.chat_template:
        data["template"] = "chat"
        why["data.template"] = "the model brings one"
        _mend(tokenizer, built, data, why)
    else:
        data["template"] = PLAIN
        why["data.template"] = "the model brings no chat template: this is the paper's; write what yours was tuned with"
    lengths = _lengths(found, tokenizer)
    positions = model_limits(model).positions
    longest, most = int(lengths.max(initial=1)), min(positions or MOST, MOST)
    data["max_length"] = min(-(-longest // STEP) * STEP, most)
    why["data.max_length"] = f"items have {int(np.median(lengths))} tokens (median), {longest} at the most"
    over = float((lengths > data["max_length"]).mean())
    if over:
        data["over_long"] = "truncate"
        why["data.over_long"] = f"{over:.1%} of the items are longer; skip leaves their comparisons out"
        data["max_instruction_length"] = data["max_length"] // 2
    if data["max_length"] * 2 > 4096:
        found.settings["train"] = {"tokens_per_micro_step": data["max_length"] * 2}


def _mend(tokenizer: Any, built: ComparisonSet, data: dict[str, Any], why: dict[str, str]) -> None:
    """The settings with which training sees what the chat template writes, where it would not without."""
    settings, rows = TokensConfig(), samples(built)
    template_of(tokenizer, settings)
    before = look_at(tokenizer, rows, settings)
    if before.refused:
        data["on_bad_row"] = "skip"
        why["data.on_bad_row"] = f"the chat template refuses some: {before.refused[0][1]}"
    if not before.stopping:
        return
    difference = f"else {before.stopping[0].difference.says}"
    for _, update in changes(tokenizer, settings):
        after = look_at(tokenizer, rows, settings.model_copy(update=update))
        if not after.stopping and len(after.refused) <= len(before.refused):
            data |= update
            why.update({f"data.{key}": difference for key in update})
            return
    data["on_template_difference"] = "note"
    why["data.on_template_difference"] = f"no setting mends that {before.stopping[0].difference.says}"


def _lengths(found: Found, tokenizer: Any) -> np.ndarray:
    """Tokens of each item (N,) of the first comparisons, or examples, that would be trained on."""
    draft = found.kind.model_validate(
        found.settings
        | {"data": found.settings["data"] | {"max_length": ANY_LENGTH, "on_bad_row": "skip"}, "run": {"dir": "."}}
    )
    comparisons, _, _ = read_data(draft)
    first = comparisons.subset(np.arange(len(comparisons)) < LOOKED_AT)
    return prepare(tokenizer, first, draft.data, draft.train, draft.objective).tokens.lengths_N

"""A reward model as the judge: each item gets a score, and the higher score wins.

An item is scored once, however many comparisons it is in. Its score is what the model says of it alone, whatever it
shares a batch with.
"""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors import SafetensorError

from jpo_dist.batches.foreign.model_files import A_PICKLE, reason_of, understood, usable
from jpo_dist.batches.limits import limits_of, refuse_quantised, require_fits
from jpo_dist.batches.template import (
    CHAT,
    RefusedByTemplate,
    Template,
    own_templates,
    rendered,
    require_all_written,
    require_known,
)
from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.data.checker import JudgeError
from jpo_dist.distributed.waiting import working
from jpo_dist.fan_out import Spread, here
from jpo_dist.judge.config import JudgingConfig, RewardModelConfig
from jpo_dist.judge.questions import fill
from jpo_dist.paths import resolve
from jpo_dist.records.comparisons import Item, Message
from jpo_dist.records.text import LINES, as_text

log = logging.getLogger(__name__)

NEVER_PADDED = frozenset({"canine", "convbert", "fnet", "funnel", "mobilebert", "nystromformer", "xlnet"})
"""Model types whose scores padding changes, though it is masked: their items are scored one at a time."""


def reward_scores(
    items: Sequence[Item], config: JudgingConfig, folder: Path, spread: Spread = here, tasks: int = 1
) -> list[float | None]:
    """One score an item from the reward model, None for an item over max_length and, with on_bad_row=skip, for one that
    the chat template refuses. Scores that are not finite stay as they are, and are told of. Raises JudgeError, also
    where no score is finite, and ValueError for a model that cannot take these items.

    The batches are made here, from all items, and handed out whole: which items share a batch changes the last bits
    of their scores, and must not depend on the number of tasks.
    """
    ids = tokenized(items, config.reward_model, getattr(config, "on_bad_row", "error"))
    kept = [row for row in range(len(items)) if 0 < len(ids[row]) <= config.reward_model.max_length]
    model_type = require_taken([ids[row] for row in kept], config.reward_model)
    most = 1 if model_type in NEVER_PADDED else config.reward_model.tokens_per_batch
    batches = batches_of([len(ids[row]) for row in kept], most)
    scores: list[float | None] = [None] * len(items)
    parts = max(1, min(tasks, len(batches)))
    with TemporaryDirectory(prefix="shards-", dir=folder) as aside:
        payloads = []
        for part in range(parts):
            path = Path(aside) / f"{part}.json"
            path.write_text(json.dumps([[ids[kept[row]] for row in batch] for batch in batches[part::parts]]))
            payloads.append({"config": config.reward_model.model_dump(mode="json"), "batches": str(path)})
        results = spread(score_shard, payloads)
    for part, result in enumerate(results):
        for batch, found in zip(batches[part::parts], result["scores"], strict=True):
            for row, score in zip(batch, found, strict=True):
                scores[kept[row]] = score
    if results:
        _say_of_finite([scores[row] for row in kept], results[0]["dtype"], config.reward_model)
    return scores


def _say_of_finite(scores: Sequence[float | None], dtype: str, config: RewardModelConfig) -> None:
    """Warn of scores that are not finite. Raises JudgeError where all are."""
    bad = sum(score is not None and not math.isfinite(score) for score in scores)
    if not bad:
        return
    where, fix = f"reward_model.path ({config.path}) in {dtype}", "its weights may be damaged; name another model"
    if dtype == "float16":
        fix = "float16 has no number above 65504; set reward_model.dtype=float32"
    if bad == len(scores):
        raise JudgeError(f"{where} gives none of {bad} items a finite score: {fix}")
    log.warning(
        "%s gives %d of %d items a score that is not finite, and what they are in no verdict: %s",
        where, bad, len(scores), fix,
    )  # fmt: skip


def require_taken(ids: Sequence[Sequence[int]], config: RewardModelConfig) -> str:
    """The model's type. Raises ValueError for a quantised reward model, and for one that cannot take these ids; no
    weight is read."""
    import torch
    from transformers import AutoModelForSequenceClassification

    tokenizer, settings = load(config, "tokenizer"), load(config, "settings")
    refuse_quantised(settings, "reward_model.path", config.path)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(settings, trust_remote_code=False)
    limits = limits_of(model, settings, "reward_model.path", config.path, packed=False)
    offsets = np.cumsum([0, *map(len, ids)])
    tokens = TokenizedItems(np.concatenate([np.zeros(0, np.int64), *ids]), offsets, np.ones(len(ids), np.int64))
    require_fits([limits], tokenizer, [tokens], f"reward_model.max_length ({config.max_length})")
    return str(settings.model_type)


def tokenized(items: Sequence[Item], config: RewardModelConfig, on_bad_row: str = "error") -> list[list[int]]:
    """Token ids of instruction and response, as the reward model's template writes them; none of an item that it
    refuses, with `on_bad_row` "skip". Raises JudgeError."""
    tokenizer = load(config, "tokenizer")
    if config.template == "chat":
        if not tokenizer.chat_template:
            raise JudgeError(
                "reward_model.template (chat) needs a tokenizer with a chat template; give text with {instruction} "
                "and {response} instead"
            )
        require_known("".join(own_templates(tokenizer)), config.template_args)
        return [_rendered(tokenizer, item, config, on_bad_row) for item in items]
    for name in ("{instruction}", "{response}"):
        if name not in config.template:
            raise JudgeError(f"reward_model.template ({config.template!r}) has no {name}; add it, or say chat")
    plain = [
        fill(config.template, {"instruction": as_text(item.instruction), "response": item.response}) for item in items
    ]
    return [list(tokenizer(text)["input_ids"]) for text in plain]


def _rendered(tokenizer: Any, item: Item, config: RewardModelConfig, on_bad_row: str) -> list[int]:
    template = Template(CHAT, (), config.template_args)
    try:
        require_all_written(tokenizer, template, item.instruction)
        text = rendered(tokenizer, [*item.instruction, Message("assistant", item.response)], config.template_args)
    except RefusedByTemplate as error:
        if on_bad_row == "skip":
            return []
        shown = as_text(item.instruction, LINES)[:80]
        raise JudgeError(
            f"reward_model.template (chat): the chat template refuses {shown!r}: {error}; correct it, give text as the "
            "template, or set on_bad_row=skip, which leaves it unparsable"
        ) from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def batches_of(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Rows of like length together, each batch within `most_tokens` with its padding; a row alone may exceed it.

    >>> batches_of([5, 1, 4, 2], 8)
    [[1, 3], [2], [0]]
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
        if batches and (len(batches[-1]) + 1) * lengths[row] <= most_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def score_shard(payload: dict[str, Any]) -> dict[str, Any]:
    """One task: {"batches": file of token ids} to {"scores": one list a batch, "dtype": of the weights}."""
    import torch

    batches = json.loads(Path(payload["batches"]).read_text())
    if not batches:
        return {"scores": [], "dtype": ""}
    config = RewardModelConfig.model_validate(payload["config"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load(config).to(device).eval()
    stated = model.config.get_text_config().pad_token_id
    scores = []
    with torch.inference_mode(), working("scoring", sum(map(len, batches)), "items") as work:
        for batch in batches:
            width = max(map(len, batch))
            pad = pad_for(batch, stated)
            model.config.pad_token_id = model.config.get_text_config().pad_token_id = pad
            ids = torch.tensor([row + [pad] * (width - len(row)) for row in batch], device=device)
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch], device=device)
            logits = model(input_ids=ids, attention_mask=mask).logits
            scores.append([float(score) for score in logits[:, 0].float().cpu()])
            work.add(len(batch))
    return {"scores": scores, "dtype": str(model.dtype).removeprefix("torch.")}


def pad_for(rows: Sequence[Sequence[int]], stated: int | None) -> int:
    """The id that fills up the rows of a batch.

    Models of transformers that score a row's last token look for the last id that is not their `pad_token_id`; alone,
    without such an id, they score the last one. Of a model that states none (-1 in early Llamas) the padding is thus an
    id with which none of these rows ends: token 0 is text in many vocabularies, and the padding of a tokenizer may be
    the end of each text.

    >>> pad_for([[5, 0], [7], [3, 2]], None), pad_for([[5, 0]], 0)
    (1, 0)
    """
    if stated is not None and stated >= 0:
        return stated
    ends = {row[-1] for row in rows}
    return next(number for number in range(len(rows) + 1) if number not in ends)


def load(config: RewardModelConfig, what: str = "model") -> Any:
    """The reward model, or its `tokenizer` or `settings` alone. Raises JudgeError where it is none."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    key = "reward_model.path"
    try:
        with understood(key, config.path):
            if what == "tokenizer":
                return usable(AutoTokenizer.from_pretrained(resolve(config.path), trust_remote_code=False))
            settings = usable(AutoConfig.from_pretrained(resolve(config.path), trust_remote_code=False))
            if what == "settings":
                return settings
        dtype = "auto" if config.dtype == "auto" else getattr(torch, config.dtype)
        model, found = AutoModelForSequenceClassification.from_pretrained(
            resolve(config.path), dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
    except UnpicklingError:
        raise JudgeError(f"reward_model.path ({config.path}) {A_PICKLE}") from None
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # of RuntimeErrors: weights of other shapes
        said = reason_of(error).removeprefix(f"{key} ({config.path}): ")
        raise JudgeError(f"{key} ({config.path}): {said}; name a sequence-classification folder") from None
    if found["missing_keys"]:  # a language model loads too: with a head of random numbers
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise JudgeError(
            f"reward_model.path ({config.path}) has no weights for {missing}; name a sequence-classification folder"
        )
    if model.config.num_labels != 1:
        raise JudgeError(
            f"reward_model.path ({config.path}) has {model.config.num_labels} outputs; a reward model has one"
        )
    return model


def confidence(gap: float) -> float:
    """Probability, by Bradley and Terry, that the item with the higher reward is preferred: sigmoid of the gap."""
    return 1.0 / (1.0 + math.exp(-abs(gap)))

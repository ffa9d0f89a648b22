"""What a model can take, beside what a tokenizer and data bring: found before any weight is loaded.

Read off a model without weights (on torch's `meta` device) and its configuration, so that a traceback in the first
step, or a sentence of numbers that mean nothing, becomes one sentence before the start.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.records.columns.pages import stretches

POSITIONS = re.compile(r"wpe|position|pos_emb")
"""Names of tables of positions in public models."""
OTHERS = re.compile(r"relative|vision|visual|audio|image")
"""Names of tables that no token of text looks into, or that have no last position."""
CHANGING = ("longrope", "dynamic")
"""Kinds of rotations whose frequencies transformers chooses by the largest position of a whole call
(modeling_rope_utils.dynamic_rope_update): an item would be scored by what it is packed with."""
LOSES_ITS_WINDOW = ("phimoe", "qwen2_moe")
"""Model types that put their attention window into a mask alone, and do not name it to the attention function."""
SHOWN = 3
"""How many keys of weights a note names."""


class ModelLimits(NamedTuple):
    """What a model can take. `key`, `path`: the setting that names it, and its value."""

    key: str
    path: str
    rows: int
    """Rows of its embedding."""
    positions: int | None
    """Most tokens of an item; None: any number."""
    named: dict[str, int]
    """Ids that its configuration names: bos_token_id, eos_token_id."""
    why: str = ""
    """Why an item may have no more than `positions`, where that is not plain."""
    unread: tuple[str, ...] = ()
    """Keys of weights in its folder that the model has no place for."""


def refuse_quantised(settings: Any, key: str, path: str) -> None:
    """Raises ValueError for a checkpoint whose weights are packed. `settings`: the configuration of transformers."""
    packed = getattr(settings, "quantization_config", None)
    if packed is not None:
        found = packed if isinstance(packed, Mapping) else packed.to_dict()
        method = found.get("quant_method") or "some way"
        raise ValueError(
            f"{key} ({path}) holds quantised weights ({method}, quantization_config in its config.json); they are "
            "neither scored nor trained here: name the unquantised model, or write one with transformers' dequantize()"
        )


def limits_of(model: Any, settings: Any, key: str, path: str, *, packed: bool = True) -> ModelLimits:
    """The limits of a model, of which no weight is looked at. `settings`: its configuration; `packed`: the attention is
    that of this project, not the model's own."""
    text = settings.get_text_config()
    tables = [model.get_input_embeddings(), getattr(model, "get_output_embeddings", lambda: None)()]
    rows = min(int(table.weight.shape[0]) for table in tables if hasattr(table, "weight"))
    named = {name: getattr(text, name, None) for name in ("bos_token_id", "eos_token_id")}
    known = {name: ids[0] if isinstance(ids, list) and ids else ids for name, ids in named.items()}
    whole = {name: number for name, number in known.items() if isinstance(number, int)}
    positions, why = _positions(model, text), ""
    for most, reason in _alike(text, packed):
        if positions is None or most < positions:
            positions, why = most, reason
    return ModelLimits(key, path, rows, positions, whole, why)


def _alike(text: Any, packed: bool) -> Iterator[tuple[int, str]]:
    """Lengths up to which an item has the numbers that it has by itself, and what changes them in longer ones."""
    stated, rope = getattr(text, "max_position_embeddings", None), getattr(text, "rope_parameters", None) or {}
    for one in (rope, *(inside for inside in rope.values() if isinstance(inside, Mapping))):
        kind = one.get("rope_type")
        if kind in CHANGING:
            original = one.get("original_max_position_embeddings") or getattr(
                text, "original_max_position_embeddings", None
            )
            most = original if kind == "longrope" else stated
            if isinstance(most, int):
                yield most, f"beyond that its {kind} rotations depend on the longest item of a batch"
    window = getattr(text, "sliding_window", None)
    if packed and text.model_type in LOSES_ITS_WINDOW and window and getattr(text, "use_sliding_window", True):
        yield int(window), "its attention window would be lost beyond that"


def _positions(model: Any, text: Any) -> int | None:
    """Positions of a learned table, less those that it keeps free; else what the configuration says of rotations."""
    tables = [(name, module) for name, module in model.named_modules() if hasattr(module, "num_embeddings")]
    found = [_usable(table) for name, table in tables if POSITIONS.search(name) and not OTHERS.search(name)]
    if found:
        return min(found)
    stated = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None)
    if not isinstance(stated, int) or stated <= 0 or not rope or getattr(text, "alibi", False):
        return None
    return max([stated, *_stretched(rope, stated)])


def _usable(table: Any) -> int:
    padding = getattr(table, "padding_idx", None)
    kept = 0 if padding is None else padding + 1  # RoBERTa counts positions from behind the padding
    return int(table.num_embeddings) - max(kept, getattr(table, "offset", 0))


def _stretched(rope: Mapping[str, Any], stated: int) -> Iterator[int]:
    """What scaled rotations reach: Gemma 3 has a mapping for each kind of layer."""
    for one in (rope, *(inside for inside in rope.values() if isinstance(inside, Mapping))):
        factor, original = one.get("factor"), one.get("original_max_position_embeddings")
        if isinstance(factor, int | float):
            yield int(factor * (original or stated))


def require_fits(limits: Iterable[ModelLimits], tokenizer: Any, sets: Sequence[TokenizedItems], longest: str) -> None:
    """Raise ValueError where a model cannot take the tokens of these sets.

    `longest`: the setting, with its value, that limits their lengths, such as "data.max_length (1024)".
    """
    top = max((int(ids.max()) for tokens in sets for ids in stretches(tokens.ids_T)), default=-1)
    lengths_N = np.concatenate([np.zeros(0, np.int64), *(tokens.lengths_N for tokens in sets)])
    for one in limits:
        require_vocabulary(one, tokenizer, top)
        over_N = lengths_N > one.positions if one.positions is not None else np.zeros(0, bool)
        if over_N.any():
            key, why = longest.partition(" ")[0], f" ({one.why})" if one.why else ""
            raise ValueError(
                f"{longest} is more than the {one.positions} positions of {one.key} ({one.path}){why}, and "
                f"{int(over_N.sum())} of {len(lengths_N)} items need more, the longest {int(lengths_N.max())}; set "
                f"{key}={one.positions}, or name a model with more positions"
            )


def require_vocabulary(limits: ModelLimits, tokenizer: Any, top: int = -1) -> None:
    """Raises ValueError where the model has no row for the highest id that there is, or is of another family than the
    tokenizer: a special id of the model that its tokenizer does not have says so."""
    size = vocabulary_of(tokenizer)
    if top >= limits.rows:
        raise ValueError(
            f"{limits.key} ({limits.path}) has {limits.rows} embedding rows, and the tokenizer writes token {top} "
            f"({tokenizer.convert_ids_to_tokens(top)!r}); tokenizer and weights are of different models: name a "
            "folder that has both of one model"
        )
    for name, number in limits.named.items():
        if size <= number < limits.rows:
            raise ValueError(
                f"{limits.key} ({limits.path}): its config.json says {name}={number}, and its tokenizer has {size} "
                f"tokens for {limits.rows} embedding rows; tokenizer and weights are of different models: name a "
                "folder that has both of one model"
            )


def vocabulary_of(tokenizer: Any) -> int:
    """One more than the highest id that a tokenizer can write."""
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def doubts(limits: ModelLimits, tokenizer: Any) -> list[str]:
    """Notes on what does not fit, though nothing may come of it: sizes, and weights that the model does not read."""
    size, found = vocabulary_of(tokenizer), list[str]()
    if size > limits.rows:
        found.append(f"the tokenizer of {limits.key} has {size} tokens for {limits.rows} embedding rows")
    if limits.rows > 1.25 * size + 1000:
        found.append(
            f"{limits.key} has {limits.rows} embedding rows for a tokenizer of {size} tokens: are they of one model?"
        )
    if limits.unread:
        some = ", ".join(limits.unread[:SHOWN]) + (" …" if len(limits.unread) > SHOWN else "")
        found.append(
            f"{limits.key} ({limits.path}) has {len(limits.unread)} weights that its model type does not read: {some}; "
            "they count for nothing, and an export has them as they are"
        )
    return found

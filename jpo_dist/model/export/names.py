"""Which weight of a loaded model each key of its source is, both ways.

A checkpoint and the model that is made of it rarely have the same names: transformers adds or takes a prefix, knows
other names of older checkpoints, joins the experts of a mixture in one tensor, and ties heads. What it did when it read
the source is asked again here, key by key. Its own way back guesses, and under ZeRO-3 guesses wrong: it then adds every
prefix that it might have taken away (transformers 5.23).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)

BASE_LAYER = ".base_layer."
"""What peft puts into the name of a weight that has an adapter."""


class Reading(NamedTuple):
    """How a model was made of its source."""

    plain: dict[str, str]
    """Keys of the source that are a weight of the model: its name there."""
    converted: dict[str, list[str]]
    """Keys of the source that weights of the model were computed from: the names of those."""
    conversions: list[Any]
    """Those of transformers' conversions that the source needs."""


def core_of(model: Any) -> Any:
    """The transformers model under an adapter or without one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def own_names(core: nn.Module) -> dict[str, str]:
    """Every name that a weight of the model has, without what an adapter adds: the first of its names.

    Tied weights have several names; `whole_parameters` gives them once, under the first.
    """
    named: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, parameter in core.named_parameters(remove_duplicate=False):
        if ".lora_" not in name:
            plain = name.replace(BASE_LAYER, ".")
            named[plain] = first.setdefault(id(parameter), plain)
    kept = core.state_dict().keys()
    named |= {name: name for name, _ in core.named_buffers() if name in kept}
    return named


def reading(core: Any, keys: Iterable[str]) -> Reading:
    """How `core` was made of a source with these keys. Keys that are in none of its fields were not read."""
    names = dict.fromkeys(own_names(core), True)
    conversions = get_model_conversion_mapping(core)
    renamings = [one for one in conversions if isinstance(one, WeightRenaming)]
    converters = [one for one in conversions if isinstance(one, WeightConverter)]
    of_pattern = {pattern: one for one in converters for pattern in one.source_patterns}
    prefix = core.base_model_prefix
    plain, converted = {}, {}
    for key in sorted(keys, key=dot_natural_key):  # the order of loading, which some of the renamings depend on
        name, pattern = rename_source_key(key, renamings, converters, prefix, names)
        if name not in names and key in names:
            name, pattern = rename_source_key(key, [], [], prefix, names)
        if name in names and pattern is None:
            plain[key] = name
        elif name in names:
            first, *others = of_pattern[pattern].target_patterns
            converted[key] = [name, *(name.replace(first, other) for other in others)]
    return Reading(plain, converted, [one for one in conversions if one.was_used()])


def unread(core: Any, found: Reading) -> list[str]:
    """Parameters of the model that no key of its source is: they began from random numbers."""
    names = own_names(core)
    read = {*found.plain.values(), *(name for made in found.converted.values() for name in made)}
    parameters = {name.replace(BASE_LAYER, ".") for name, _ in core.named_parameters() if ".lora_" not in name}
    return sorted({names[name] for name in parameters} - {names[name] for name in read if name in names})


def unused(core: Any, found: Reading, keys: Iterable[str]) -> list[str]:
    """Keys of the source that no weight of the model is made of, less those that its class knows to be of no use."""
    known = [*(core._keys_to_ignore_on_load_unexpected or ()), r"inv_freq$"]
    others = set(keys) - found.plain.keys() - found.converted.keys()
    return sorted(key for key in others if not any(re.search(pattern, key) for pattern in known))


def by_key(core: Any, found: Reading, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model's `weights`, by the first of their names, under the keys of its source.

    Keys whose weight is not among `weights` are left out. Raises ValueError, naming keys, where a weight that was
    computed from several of them cannot be taken apart again.
    """
    names = own_names(core)
    values = {key: weights[names[name]] for key, name in found.plain.items() if names[name] in weights}
    wanted = [key for key, made in found.converted.items() if any(names.get(name) in weights for name in made)]
    if wanted:
        core._weight_conversions = found.conversions  # where transformers looks for them
        reverted = revert_weight_conversion(core, dict(weights))
        prefix = f"{core.base_model_prefix}."
        for key in wanted:
            spelled = [name for name in (key, f"{prefix}{key}", key.removeprefix(prefix)) if name in reverted]
            values |= {key: reverted[spelled[0]]} if spelled else {}
    lost = [key for key in wanted if key not in values]
    if lost:
        raise ValueError(
            f"transformers made {', '.join(found.converted[lost[0]])} of {lost[0]} and others, and does not make them "
            f"of it again ({len(lost)} keys of the source); such a model cannot be exported in the form of its source"
        )
    return values


def text_only(core: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of the `weights` that text goes through.

    The others, such as a vision tower, have no gradient, and yet weight decay would shrink them.
    """
    if core.config.get_text_config() is core.config:
        return dict(weights)
    decoder = core.base_model
    inner = decoder.get_decoder() if hasattr(decoder, "get_decoder") else decoder
    parts = [inner, core.get_output_embeddings(), core.get_input_embeddings()]
    known = {id(tensor) for part in parts for tensor in (*part.parameters(), *part.buffers())}
    tensors = [*core.named_parameters(), *core.named_buffers()]
    inside = {name.replace(BASE_LAYER, ".") for name, tensor in tensors if id(tensor) in known}
    return {name: tensor for name, tensor in weights.items() if name in inside}

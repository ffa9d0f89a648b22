"""A model before its weights are loaded: what it can take, whether its folder has all of it, and whether it can be
scored packed. Read off config.json and the headers of the files of weights."""

from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from jpo_dist.batches.foreign.model_files import damage_of, reason_of, understood
from jpo_dist.batches.limits import ModelLimits, limits_of, refuse_quantised
from jpo_dist.config.run import JpoConfig, reference_model
from jpo_dist.config.sections import ModelConfig
from jpo_dist.config.sft import AnyConfig
from jpo_dist.model.attention import NO_ATTENTION_FUNCTION, SEGMENTS
from jpo_dist.model.export.names import unused
from jpo_dist.model.export.source import Source
from jpo_dist.model.export.twin import require_source, some
from jpo_dist.model.files import model_folder, pretrained, reading
from jpo_dist.model.scorer import Scorer

OF_NUMBERS = ("F64", "F32", "F16", "BF16")
"""Dtypes, as headers of safetensors name them, whose numbers are weights as they are."""


def without_weights(config: ModelConfig, key: str = "model.path", **settings: Any) -> tuple[Any, Any]:
    """The configuration of a model, and the model that it describes, on the `meta` device. `settings`: more of it.

    Raises ValueError, naming the setting `key`, where there is no such model, or none that goes from token to token.
    """
    described = pretrained(AutoConfig, config, key)
    if type(described) not in AutoModelForCausalLM._model_mapping and "AutoModelForCausalLM" not in getattr(
        described, "auto_map", {}
    ):
        raise ValueError(
            f"{key} ({config.path}) is of model type {described.model_type!r}, of which transformers has no causal "
            "language model (AutoModelForCausalLM); name a model that continues a text"
        )
    if getattr(described.get_text_config(), "use_bidirectional_attention", None):
        raise ValueError(
            f"{key} ({config.path}) attends to later tokens (use_bidirectional_attention in its config.json): it is no "
            "model that continues a text; name one that is"
        )
    with understood(key, config.path), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(described, trust_remote_code=config.trust_remote_code, **settings)
    return described, model


def model_limits(config: ModelConfig, key: str = "model.path", *, packed: bool = False) -> ModelLimits:
    """What the model can take. Raises ValueError for a quantised checkpoint, for one whose folder has not all of its
    weights, with `packed` for one that cannot be scored packed, and what `pretrained` raises."""
    refuse_quantised(pretrained(AutoConfig, config, key), key, config.path)
    settings, model = without_weights(config, key)
    if packed:
        _require_packed(config, key)
    _require_settings_of_answers(config, key)
    return limits_of(model, settings, key, config.path)._replace(unread=_held_to_weights(model, config, key))


def limits_of_run(config: AnyConfig, policy: tuple[str, ModelConfig] | None = None) -> list[ModelLimits]:
    """What the models of a run can take: the policy and its reference. `policy`: the setting that names it, where that
    is not model.path, and its model section. Raises what model_limits raises with `packed`."""
    models = [policy or ("model.path", config.model)]
    if isinstance(config, JpoConfig) and config.reference.mode != "none":
        reference = reference_model(config)
        models += [("reference.path", reference)] if reference.path != models[0][1].path else []
    return [model_limits(model, key, packed=True) for key, model in models]


def _require_settings_of_answers(config: ModelConfig, key: str) -> None:
    """Raises ValueError for a generation_config.json that transformers cannot take: it reads it with the weights. One
    that is no JSON it does without."""
    folder = Path(model_folder(config, key))
    if (folder / GENERATION_CONFIG_NAME).is_file():
        with understood(key, config.path), suppress(OSError):
            GenerationConfig.from_pretrained(folder)


def _require_packed(config: ModelConfig, key: str) -> None:
    """Raises ValueError for a model type whose items cannot be scored end to end."""
    try:
        Scorer(without_weights(config, key, attn_implementation=SEGMENTS)[1])
    except ValueError as error:
        said = NO_ATTENTION_FUNCTION if SEGMENTS in str(error) else str(error)
        raise ValueError(f"{key} ({config.path}): {said}") from None


def _held_to_weights(model: Any, config: ModelConfig, key: str) -> tuple[str, ...]:
    """Keys of weights in the folder that `model`, of which no weight is looked at, has no place for.

    Raises ValueError where the files of weights cannot be opened, lack a weight of the model, or have another shape or
    numbers that are no weights as they are. A model of the hub is not looked at: its weights need not be here yet.
    """
    folder = Path(model_folder(config, key))
    if not folder.is_dir():
        return ()
    with reading(config, key):
        source = _source(folder, config, key)
        if source is None:
            return ()
        found = require_source(model, source, f"{key} ({config.path})")
    made, kinds = model.state_dict(), source.kinds
    for weight, name in found.plain.items():
        there, kind = made.get(name), kinds[weight]
        if there is not None and tuple(there.shape) != kind.shape:
            raise ValueError(
                f"{key} ({config.path}): its config.json makes {weight} {list(there.shape)}, and its weights have "
                f"{list(kind.shape)}; they are of different models: fetch the model again"
            )
    packed = [
        weight
        for weight, name in found.plain.items()
        if name in made and made[name].is_floating_point() and kinds[weight].dtype not in OF_NUMBERS
    ]
    if packed:
        raise ValueError(
            f"{key} ({config.path}) has weights of dtype {kinds[packed[0]].dtype} ({some(packed)}): they are "
            "quantised, and would be read without their scales; name the unquantised model"
        )
    return tuple(unused(model, found, kinds))


def _source(folder: Path, config: ModelConfig, key: str) -> Source | None:
    """The files of weights; None for a pickle from before archives, of which all would be read."""
    old = [file for file in folder.glob("*.bin") if not is_zipfile(file)]
    try:
        return None if old and not any(folder.glob("*.safetensors")) else Source(folder)
    except SafetensorError as error:
        for file in sorted(folder.glob("*.safetensors")):
            try:
                Source(folder, file.name)
            except SafetensorError as damage:
                raise ValueError(f"{key} ({config.path}): {damage_of(file, damage)}") from None
        raise ValueError(f"{key} ({config.path}): {reason_of(error)}; fetch the model again") from None
    except FileNotFoundError as error:
        raise ValueError(f"{key} ({config.path}): {error}") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{key} ({config.path}): its index of weights cannot be read: {reason_of(error)}; fetch the model again"
        ) from None

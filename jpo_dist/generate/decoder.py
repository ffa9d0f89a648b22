"""A transformers model as something that gives the next token's logits of many rows at once.

Legend: B rows, N new tokens of each, V vocabulary.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from jpo_dist.batches.ids.encode import encode_instructions
from jpo_dist.batches.prepare import vocabulary_of
from jpo_dist.batches.template import (
    CHAT,
    RefusedByTemplate,
    Template,
    instruction_prefix,
    make_template,
    own_templates,
)
from jpo_dist.config.sections import ModelConfig
from jpo_dist.generate.cache import CACHED, Cache, Looked
from jpo_dist.model.device import device, torch_dtype
from jpo_dist.model.files import model_folder, pretrained
from jpo_dist.model.load import silence
from jpo_dist.model.scorer import ATTENTION_KINDS
from jpo_dist.records.comparisons import Item, Message, digest

log = logging.getLogger(__name__)

PACKED_FOR = 256
"""Rows for which oneDNN chooses how a weight lies; other numbers of rows read it just as well."""
UNKNOWN = "keeps its past in a way that generation here does not know; serve it, and name the server in endpoint"


class Prompts:
    """Tokenizer and template of a model: instructions to ids, ids to answers. No weights are read."""

    def __init__(
        self, config: ModelConfig, template: str, args: Mapping[str, Any] | None = None, *, follow: bool = False
    ) -> None:
        """`args`, `follow`: as in Template. Raises ValueError where the template does not fit the tokenizer, or there
        is no such model."""
        self.tokenizer: Any = pretrained(AutoTokenizer, config)
        self.template: Template = make_template(self.tokenizer, template, args, follow=follow)
        ends = (self.template.end_ids[-1], self.tokenizer.eos_token_id, *ends_of_model(config, self.tokenizer))
        self.ends: frozenset[int] = frozenset(end for end in ends if end is not None)

    def encode(self, instructions: Sequence[tuple[Message, ...]]) -> list[list[int]]:
        """The very tokens that training puts before a response."""
        return encode_instructions(self.tokenizer, self.template, [Item(turns, "") for turns in instructions])

    def refused(self, instructions: Sequence[tuple[Message, ...]]) -> dict[tuple[Message, ...], str]:
        """Instructions that the chat template cannot write, and why."""
        found = {}
        for turns in instructions:
            try:
                instruction_prefix(self.tokenizer, self.template, turns)
            except RefusedByTemplate as error:
                found[turns] = str(error)
        return found

    def ends_with(self, stop: Sequence[str]) -> frozenset[int]:
        """What ends an answer, with those of the texts `stop` that are a token by themselves: answers are searched as
        text, from which such tokens are gone. Raises ValueError for a text that has one beside others."""
        apart = self.tokenizer.get_added_vocab()
        for text in stop:
            inside = [token for token in self.tokenizer.all_special_tokens if token in text and token != text]
            if inside:
                raise ValueError(
                    f"stop ({text!r}) has the special token {inside[0]} beside other text, and answers are searched as "
                    f"text without such tokens; write {inside[0]} alone, which ends an answer, or the text without it"
                )
        return self.ends | {apart[text] for text in stop if text in apart}

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def mark(self) -> str:
        """A digest of what decides which tokens a prompt is and which text an answer: vocabulary, chat templates,
        tokens that begin and end."""
        templates = own_templates(self.tokenizer) if self.template.text == CHAT else []
        return digest([*vocabulary_of(self.tokenizer), templates, sorted(self.ends)])


def ends_of_model(config: ModelConfig, tokenizer: Any) -> list[int]:
    """Tokens with which the model ends an answer, by its generation_config.json or, without one, its config.json, as
    transformers' `generate` has them. Of these only tokens that are no text: in a configuration that nobody has set
    stands 2, whatever that is in the vocabulary."""
    try:
        named: Any = GenerationConfig.from_pretrained(model_folder(config), revision=config.revision).eos_token_id
    except OSError:  # there is none, or none that can be read
        named = pretrained(AutoConfig, config).get_text_config().eos_token_id
    ends = [named] if isinstance(named, int) else list(named or ())
    apart = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    for end in ends:
        if end not in apart:
            log.info(
                "eos_token_id %s of model.path (%s) is text in its tokenizer, and ends no answer", end, config.path
            )
    return [end for end in ends if end in apart]


class Decoder:
    """A model with its weights, ready to go on from what a cache holds."""

    def __init__(self, config: ModelConfig) -> None:
        """Raises ValueError for a model whose past is more than keys and values."""
        self.is_float32 = torch_dtype(config.dtype) == torch.float32
        self.model: Any = _loaded(config)
        self.vocabulary = int(self.model.get_output_embeddings().weight.shape[0])
        if device().type == "cpu" and can_pack(torch_dtype(config.dtype)):
            try:
                pack_linear_layers(self.model)
                self.logits(Cache(1, 1), 0, [[0]], [0])
            except Exception as error:  # it reads weights in a way of its own; which error that gives is its affair
                log.warning("model type %r computes with plain weights, which is slower: %s",
                            self.model.config.model_type, error)  # fmt: skip
                self.model = _loaded(config)

    @torch.no_grad()
    def logits(self, cache: Cache, first: int, ids: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        """(B, V) float32 logits of the token after `ids`, which go into the rows from `first` on, behind the `starts`
        tokens that are there already.

        Shorter rows are padded on the left, so that the last column is every row's last token.
        """
        longest = max(map(len, ids))
        where = device()
        pads_B1 = torch.tensor([[longest - len(row)] for row in ids])
        column_N = torch.arange(longest)[None] - pads_B1
        positions_BN = column_N.clamp(min=0) + torch.tensor(starts)[:, None]
        cells_BN = torch.where(column_N < 0, cache.width, positions_BN)
        ids_BN = torch.tensor([[0] * (longest - len(row)) + list(row) for row in ids])
        seen = max(start + len(row) for start, row in zip(starts, ids, strict=True))
        looked = Looked(cache, first, cells_BN.to(where), positions_BN.to(where), seen, {}, {})
        out = self.model(
            input_ids=ids_BN.to(where),
            position_ids=looked.positions_BN,
            looked=looked,
            use_cache=False,
            logits_to_keep=1,
        )
        return out.logits[:, -1].float()

    def alone(self, ids: Sequence[int]) -> torch.Tensor:
        """(1, V): the same logits of one row by itself, from its first token on and with one thread: a function of its
        tokens and of the machine, whatever batch it was in."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self.logits(Cache(1, len(ids)), 0, [ids], [0])
        finally:
            torch.set_num_threads(threads)


def _loaded(config: ModelConfig) -> Any:
    try:
        model: Any = pretrained(
            AutoModelForCausalLM, config, dtype=torch_dtype(config.dtype), attn_implementation=CACHED
        )
    except KeyError as error:
        if CACHED not in str(error):
            raise
        raise ValueError(f"model.path ({config.path}) {UNKNOWN}") from None
    others = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - ATTENTION_KINDS
    if others or not model._supports_attention_backend:
        raise ValueError(f"model type {model.config.model_type!r} {UNKNOWN}")
    silence(model).to(device())
    model.config.use_cache = False
    return model


class _NoNumbers(torch.Tensor):
    """A weight that can be looked at, but not computed with. One on the device `meta` can: a product with it is no
    error, but whatever was in memory (torch 2.13)."""

    _LOOKS = frozenset(
        getattr(torch.Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_meta", "requires_grad")
    ) | {torch.Tensor.size, torch.Tensor.dim, torch.Tensor.numel, torch.Tensor.is_floating_point}

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in cls._LOOKS:
            raise TypeError(f"{getattr(func, '__name__', func)} of a weight that is packed")
        return super().__torch_function__(func, types, args, kwargs)


class _Packed(torch.nn.Module):
    """A linear layer whose weight lies as oneDNN's products read it: the plain layout is reordered for each product.

    The weight that a model sees has its shape, dtype and device, and no numbers: its memory is not there twice.
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.weight = linear.weight.new_zeros(()).expand(linear.weight.shape).as_subclass(_NoNumbers)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous(), PACKED_FOR)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        made = torch.ops.mkldnn._linear_pointwise(input, self._weight, self.bias, "none", [], "")
        return cast(torch.Tensor, made)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of torch and this CPU have products with packed weights."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    vectors = torch.cpu._is_avx512_supported()  # what was measured; without them MKL is as fast
    return there and vectors and (dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack_linear_layers(model: torch.nn.Module) -> int:
    """Replace the linear layers of `model` on the CPU by packed ones; returns how many. A weight that something else
    uses too, such as an embedding, stays there beside its packed copy."""
    linear = [(name, layer) for name, layer in model.named_modules() if type(layer) is torch.nn.Linear]
    for name, layer in linear:
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, _Packed(layer))
    return len(linear)

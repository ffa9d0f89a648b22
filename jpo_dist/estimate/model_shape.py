"""A model's numbers from its configuration alone: parameters, order of its layers, memory of a pass. No weights.

The model is built of tensors that have a shape and no contents, and the very code that training runs is run on them.
What that allocates is what training allocates, whatever the model type and however scoring is tuned.

Legend: T tokens of a row end to end, R rows that are scored. Sizes of parameters are in elements.
"""

import copy
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface, AutoModelForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer

from jpo_dist.config.sections import ModelConfig
from jpo_dist.model.adapter import add_adapter
from jpo_dist.model.attention import SEGMENTS, segment_attention
from jpo_dist.model.device import torch_dtype
from jpo_dist.model.load import silence
from jpo_dist.model.scorer import Packed, Scorer


class Part(NamedTuple):
    """A module as a forward calls it. DeepSpeed looks ahead at each of them, also at those without parameters."""

    parameters: tuple[tuple[int, int, bool], ...]
    """(number, elements, whether it trains) of each parameter of its own. A tied one has one number in both places."""
    layer: int | None
    """Number of the block it is in, of those that checkpointing recomputes; None: in none."""


@dataclass(frozen=True)
class ModelShape:
    """What the arithmetic of memory and time needs to know of a model. Counts are of elements."""

    name: str
    total: int
    trainable: int
    embedding: int
    """Elements of the embedding table."""
    head: int
    """Elements of the vocabulary projection, which are the table's where they are tied."""
    tied: bool
    adapters: int
    """Elements of LoRA's matrices; 0: all weights train."""
    largest: int
    """Elements of the largest parameter."""
    largest_trained: int
    layers: int
    width: int
    vocabulary: int
    calls: tuple[Part, ...]
    """The modules in the order in which a forward enters them."""
    returns: tuple[Part, ...]
    """The modules in the order in which a forward leaves them; a backward enters them in the reverse of it."""

    @property
    def in_body(self) -> int:
        """Parameters that every token is multiplied with: all but table and head; norms are too few to tell."""
        return self.total - self.embedding - (0 if self.tied else self.head)

    @property
    def head_trained(self) -> bool:
        return self.adapters == 0


class Passes(NamedTuple):
    """Lengths, in tokens, of the items in the largest forward of each kind; empty where there is no such forward."""

    training: tuple[int, ...]
    scoring: tuple[int, ...]
    """A forward without gradient beside the policy: a reference pass, or evaluation."""
    filling: tuple[int, ...]
    """A forward that fills the reference cache."""


class Activations(NamedTuple):
    """Bytes that the same forwards need at their peaks beside weights and their gradients."""

    training: int
    """Forward and backward of the policy: activations, attention, tiles of the head, gradients on their way."""
    scoring: int
    filling: int


def model_shape(settings: Any, config: ModelConfig) -> ModelShape:
    """The shape of the model that `config` names. `settings`: its transformers configuration."""
    model = build(settings, config)
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    text = core.config.get_text_config()
    head, table = core.get_output_embeddings().weight, core.get_input_embeddings().weight
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    calls, returns = _parts(model)
    adapters = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    return ModelShape(
        name=str(core.config.model_type),
        total=sum(size for size, _ in sizes),
        trainable=sum(size for size, trained in sizes if trained),
        embedding=table.numel(),
        head=head.numel(),
        tied=head is table,
        adapters=adapters,
        largest=max(size for size, _ in sizes),
        largest_trained=max(size for size, trained in sizes if trained),
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        vocabulary=text.vocab_size,
        calls=calls,
        returns=returns,
    )


def activations(settings: Any, config: ModelConfig, passes: Passes, *, on_gpu: bool) -> Activations:
    """Bytes of activations of each kind of forward in `passes`. `settings`: the model's transformers configuration.

    Layers are alike, so a model of three is enough to look at: the third says what each of the others adds.
    """
    layers = settings.get_text_config().num_hidden_layers
    peaks = {}
    for count in {min(layers, 2), min(layers, 3)}:
        scorer, mode = Scorer(build(_shallow(settings, count), config)), FakeTensorMode(allow_non_fake_inputs=True)
        pretend(scorer, mode)
        with mode, _attention(on_gpu):
            peaks[count] = [
                peak_bytes(scorer, lengths, trains=kind == "training") if lengths else 0
                for kind, lengths in passes._asdict().items()
            ]
    (least, first), (most, last) = min(peaks.items()), max(peaks.items())
    more = [(b - a) * (layers - most) for a, b in zip(first, last, strict=True)] if most > least else [0, 0, 0]
    return Activations(*(int(b + m) for b, m in zip(last, more, strict=True)))


def build(settings: Any, config: ModelConfig) -> Any:
    """What load.load_model makes, but of a configuration and on the meta device: shapes without contents."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            copy.deepcopy(settings),
            trust_remote_code=config.trust_remote_code,
            dtype=torch_dtype(config.dtype),
            attn_implementation=SEGMENTS,
        )
        model.config.use_cache = False
        if config.gradient_checkpointing:
            with warnings.catch_warnings(action="ignore", category=FutureWarning):
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if config.lora.rank:
            model = add_adapter(model, config.lora)
    return silence(model)


def pretend(model: torch.nn.Module, mode: FakeTensorMode) -> None:
    """Exchange the tensors of the meta device for fake ones that say they are on the CPU: code that asks then goes the
    way it goes there. Done by hand, since `Module.to` would part tied parameters."""
    made: dict[int, torch.Tensor] = {}
    with mode:
        for module in model.modules():
            for group in (module._parameters, module._buffers):
                for name, old in group.items():
                    if old is None:
                        continue
                    if id(old) not in made:
                        new = torch.empty(old.shape, dtype=old.dtype, device="cpu")
                        trains = old.requires_grad
                        made[id(old)] = torch.nn.Parameter(new, trains) if isinstance(old, torch.nn.Parameter) else new
                    group[name] = made[id(old)]  # type: ignore[assignment]


def _shallow(settings: Any, layers: int) -> Any:
    """The same model with fewer layers."""
    settings = copy.deepcopy(settings)
    text = settings.get_text_config()
    text.num_hidden_layers = layers
    for name in ("layer_types", "mlp_layer_types"):
        if getattr(text, name, None):
            setattr(text, name, getattr(text, name)[:layers])
    return settings


def _parts(model: Any) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The modules as a forward enters them, and as it leaves them. A forward of two tokens shows it: many models
    register their modules in another order."""
    scorer, mode = Scorer(model), FakeTensorMode(allow_non_fake_inputs=True)
    pretend(scorer, mode)
    blocks = [module for module in scorer.modules() if isinstance(module, GradientCheckpointingLayer)]
    inside = {id(module): number for number, block in enumerate(blocks) for module in block.modules()}
    numbers = {id(parameter): number for number, parameter in enumerate(scorer.parameters())}
    orders: tuple[list[Part], list[Part]] = ([], [])

    def note(order: list[Part], module: Any, *_: Any) -> None:
        own = tuple((numbers[id(p)], p.numel(), p.requires_grad) for p in module.parameters(recurse=False))
        order.append(Part(own, inside.get(id(module))))

    with mode, torch.no_grad():
        for module in scorer.modules():
            module.register_forward_pre_hook(partial(note, orders[0]))
            module.register_forward_hook(partial(note, orders[1]))
        scorer(_batch((2,)))
    return tuple(orders[0]), tuple(orders[1])


def _batch(lengths: tuple[int, ...]) -> Packed:
    """Items of these lengths without contents; every token but the first of an item is scored."""
    tokens = sum(lengths)
    nothing_T, nothing_R = (torch.zeros(n, dtype=torch.long) for n in (tokens, tokens - len(lengths)))
    bounds = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    return Packed(nothing_T[None], nothing_T[None], nothing_R, nothing_R, nothing_R, lengths, bounds, len(lengths))


def peak_bytes(scorer: Scorer, lengths: tuple[int, ...], *, trains: bool) -> int:
    """Most bytes alive at once during a pass. A gradient is gone as soon as it is made: who keeps it counts it."""
    trained = [p for p in scorer.parameters() if p.requires_grad]
    hooks = [p.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None)) for p in trained]
    with _Alive() as alive, torch.set_grad_enabled(trains):
        logps_R = scorer(_batch(lengths))
        if trains:
            logps_R.sum().backward()
    for hook in hooks:
        hook.remove()
    return alive.peak


class _Alive(TorchDispatchMode):
    """Counts the bytes of storages that operators return, until these are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        # Storages of arguments are older than this mode or known already; an alias of one allocates nothing.
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor) and id(leaf.untyped_storage()) not in given:
                self._add(leaf.untyped_storage())
        return found

    def _add(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def freed() -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.finalize(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


class _FusedKernel(torch.autograd.Function):
    """Allocates what a fused attention kernel keeps on a GPU: its inputs, its output, and a number a token and head."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        return tuple(torch.empty_like(saved) for saved in ctx.saved_tensors[:3])


def _on_gpu(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: None, **_: Any
) -> tuple[torch.Tensor, None]:
    """Stands in for attention.segment_attention: allocates what it would on a GPU, and computes nothing."""
    out: torch.Tensor = _FusedKernel.apply(query, key, value)
    return out.transpose(1, 2), None


@contextmanager
def _attention(on_gpu: bool) -> Iterator[None]:
    """Inside, attention allocates what it would on a GPU, if `on_gpu`; the fake tensors say that they are on the
    CPU."""
    if on_gpu:
        AttentionInterface.register(SEGMENTS, _on_gpu)
    try:
        yield
    finally:
        AttentionInterface.register(SEGMENTS, segment_attention)

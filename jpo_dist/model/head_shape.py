"""What a model makes of its head's product: asked of the model itself.

Names of settings do not tell. `logits_scaling` divides in Granite and multiplies in HyperCLOVA X, other models have
other names for it, and some have layers between their decoder and their head: scores would be wrong in silence.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from jpo_dist.model.head import HeadShape

FAR = 2.0**20
"""A product so large that a softcap of it is the cap itself."""

UNKNOWN = (
    "packed scoring multiplies the last hidden state by the head in blocks and knows no other way to this model's "
    "logits; use a model type whose head is one product with an optional scale and softcap"
)


class _Decoded(tuple[torch.Tensor]):
    """The output of a decoder that did not run: its last hidden state; whatever else is asked of it is None."""

    @property
    def last_hidden_state(self) -> torch.Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        return None


def shape_of(model: Any) -> HeadShape:
    """How the model's logits come from its head's product.

    The model's own forward runs once on two tokens, with known numbers in place of what its decoder and its head
    compute: this needs no weights, which may be partitioned or not there at all, and draws no random numbers.

    Raises ValueError for a model whose logits are not softcap(scale * product) of the last hidden state.
    """
    head, text = model.get_output_embeddings(), model.config.get_text_config()
    width, vocabulary = getattr(head, "in_features", text.hidden_size), getattr(head, "out_features", text.vocab_size)
    hidden_1TD = (torch.arange(2 * width) % 64).double().view(1, 2, width)  # exact in every dtype
    product_1TV = (torch.arange(2 * vocabulary) % 81 - 40).double().view(1, 2, vocabulary)
    product_1TV[0, 0, :2] = torch.tensor([1.0, FAR])
    given: list[torch.Tensor] = []

    def decode(*_: Any, **__: Any) -> _Decoded:
        return _Decoded((hidden_1TD,))

    def multiply(hidden: torch.Tensor) -> torch.Tensor:
        given.append(hidden)
        return product_1TV.clone()  # some models scale in place

    decoder = model.base_model
    inner = decoder.get_decoder() if hasattr(decoder, "get_decoder") else decoder  # which some models call directly
    kind = f"model type {model.config.model_type!r}"
    with _instead(decoder, decode), _instead(inner, decode), _instead(head, multiply), torch.no_grad():
        try:
            logits = model(input_ids=torch.zeros(1, 2, dtype=torch.long), use_cache=False).logits.double()
        except Exception as error:
            raise ValueError(f"{kind}: {UNKNOWN} ({type(error).__name__}: {error})") from error
    if len(given) != 1 or given[0].shape != hidden_1TD.shape or not torch.equal(given[0].double(), hidden_1TD):
        raise ValueError(f"{kind} has layers or factors between its last hidden state and its head: {UNKNOWN}")
    one, limit = logits[0, 0, :2].tolist()
    capped = abs(limit - one * FAR) > 1e-3 * abs(limit)
    # Under a softcap a scale of 1 comes back as 1 and the rounding of whoever computed it.
    shape = HeadShape(round(limit * math.atanh(one / limit), 8), limit) if capped else HeadShape(one)
    expected = shape.scale * product_1TV
    if shape.softcap is not None:
        expected = shape.softcap * torch.tanh(expected / shape.softcap)
    if logits.shape != expected.shape or not torch.allclose(logits, expected, rtol=1e-5, atol=1e-5):
        raise ValueError(f"{kind} makes its logits in another way than softcap(scale * product): {UNKNOWN}")
    return shape


@contextmanager
def _instead(module: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """`module(...)` calls `forward` for the length of the block."""
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before

"""The vocabulary projection as log-probs of the given targets: the (tokens x vocabulary) tensor never exists.

Legend: R rows that are scored (positions that predict a token), D width, V vocabulary. A block is a slice of V.

The head module keeps its place in the model and its `forward` is exchanged, so that one call of the module covers all
blocks. Under ZeRO-3 the weight is then gathered once in the forward and once in the backward pass; a module call a
block would gather it again for each. Reading `head.weight` outside a call would find an empty tensor.

Blocks are of the vocabulary, not of the rows: each block of the weight has its whole gradient in one product, while
blocks of rows would each add to all of it, a pass over V x D in float32 every time.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch

ALIGNED = 64
"""Width of a block on a GPU is a multiple of this: products of other widths go to slower kernels."""


class HeadShape(NamedTuple):
    """How logits come from the product: softcap(scale * product), and how much of them exists at a time."""

    scale: float = 1.0
    softcap: float | None = None
    tile: int = 2**22
    """Elements of logits that exist at a time, in float32. More leave the processor's cache, fewer make thin
    products."""
    narrowest: int = 512
    """Least width of a block, however many rows there are."""


def replace_head_forward(head: Any, shape: HeadShape) -> None:
    """Make `head(hidden_RD, targets_R)` return log-probs, (R,) in float32 (float64 for a float64 model)."""
    head.forward = partial(_head_forward, head, shape)


def _head_forward(head: Any, shape: HeadShape, hidden_RD: torch.Tensor, targets_R: torch.Tensor) -> torch.Tensor:
    return target_logps(hidden_RD, head.weight, getattr(head, "bias", None), targets_R, shape)


def target_logps(
    hidden_RD: torch.Tensor,
    weight_VD: torch.Tensor,
    bias_V: torch.Tensor | None,
    targets_R: torch.Tensor,
    shape: HeadShape = HeadShape(),  # noqa: B008 (a frozen tuple)
) -> torch.Tensor:
    """log softmax(softcap(scale * (h W^T + b)))[target] of each row in nats, (R,).

    The log-sum-exp and everything after it are float32 or better, whatever the dtype of the product.
    """
    # A frozen head (LoRA) needs no second look at the logits: what the backward pass needs, the forward pass knows.
    trained = weight_VD.requires_grad or (bias_V is not None and bias_V.requires_grad)
    how = _FrozenHead if hidden_RD.requires_grad and not trained else _TrainedHead
    return how.apply(hidden_RD, weight_VD, bias_V, targets_R, shape)


def _blocks(weight_VD: torch.Tensor, rows: int, shape: HeadShape) -> Iterator[slice]:
    width = max(shape.narrowest, shape.tile // max(1, rows))
    if weight_VD.is_cuda:
        width = width // ALIGNED * ALIGNED or width
    return (slice(start, min(start + width, len(weight_VD))) for start in range(0, len(weight_VD), width))


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b with a result that is not rounded to bfloat16, where the device has such a product (the CPU has not).

    Rounding is small beside that of the shares that are multiplied: with two products on the CPU, as `_wide_product`
    has them, the gradient of hidden was off by 0.25 % instead of 0.29 % (rounding it at the end: 0.17 %).
    """
    if a.is_cuda and a.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(a, b, out_dtype=torch.float32)
    return a @ b


def _wide_product(hidden: torch.Tensor, weight: torch.Tensor, near_R: torch.Tensor | None) -> torch.Tensor:
    """hidden @ weight.T in float32 or better, on the CPU too.

    There a product of bfloat16 adds up in float32 and rounds what comes out, by 0.06 nats for a logit of 20. The same
    product less what came out is what the rounding took: the two are good to 2^-17 of a logit. Less a number `near_R`
    that the logits of a row are about, one product is enough for gradients: rounded is how far a logit is below the
    log-sum-exp, and the farther it is the less it weighs. Where a library rounds on its way as well, nothing is gained
    and nothing lost. Products of float32 copies take as long as two of bfloat16 at the least, four at the most.
    """
    if hidden.is_cuda or hidden.dtype != torch.bfloat16:
        product = _product(hidden, weight.T)
        return product.to(torch.promote_types(product.dtype, torch.float32))
    known = hidden @ weight.T if near_R is None else near_R[:, None].to(hidden.dtype)
    return torch.addmm(known, hidden, weight.T, beta=-1).float().add_(known)


def _logits(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    shape: HeadShape,
    near_R: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits of a block, and d(logits)/d(product) where it is not the constant `scale`."""
    logits = _wide_product(hidden, weight, near_R)
    if bias is not None:
        logits += bias
    if shape.scale != 1.0:
        logits *= shape.scale
    if shape.softcap is None:
        return logits, None
    squashed = torch.tanh(logits / shape.softcap)
    return squashed * shape.softcap, 1 - squashed**2


class _Found(NamedTuple):
    """Where the targets of the rows are in a block. Rows whose target is elsewhere have place 0 and `here` False."""

    place_R1: torch.Tensor
    here_R: torch.Tensor

    @classmethod
    def of(cls, targets_R: torch.Tensor, block: slice) -> "_Found":
        here_R = (targets_R >= block.start) & (targets_R < block.stop)
        return cls(torch.where(here_R, targets_R - block.start, 0)[:, None], here_R)


def _part(bias_V: torch.Tensor | None, block: slice) -> torch.Tensor | None:
    return None if bias_V is None else bias_V[block]


def _nothing_seen(hidden_RD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logit of the target and log-sum-exp of each row before the first block, (R,)."""
    dtype = torch.promote_types(hidden_RD.dtype, torch.float32)
    chosen_R = torch.zeros(len(hidden_RD), dtype=dtype, device=hidden_RD.device)
    return chosen_R, torch.full_like(chosen_R, float("-inf"))


def _seen(
    chosen_R: torch.Tensor, lse_R: torch.Tensor, logits: torch.Tensor, found: _Found
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logit of the target and log-sum-exp of each row after one block more, (R,)."""
    chosen_R = torch.where(found.here_R, logits.gather(-1, found.place_R1).squeeze(-1), chosen_R)
    return chosen_R, torch.logaddexp(lse_R, torch.logsumexp(logits, -1))


class _TrainedHead(torch.autograd.Function):
    """Log-probs under a head that trains: its backward pass computes each block's logits again instead of keeping
    them."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_RD: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_R: torch.Tensor,
        shape: HeadShape,
    ) -> torch.Tensor:
        chosen_R, lse_R = _nothing_seen(hidden_RD)
        for block in _blocks(weight_VD, len(targets_R), shape):
            logits, _ = _logits(hidden_RD, weight_VD[block], _part(bias_V, block), shape)
            chosen_R, lse_R = _seen(chosen_R, lse_R, logits, _Found.of(targets_R, block))
        ctx.save_for_backward(hidden_RD, targets_R, lse_R)
        # The parameters themselves, not saved copies: ZeRO-3 empties and refills their storage between the passes.
        ctx.weight, ctx.bias, ctx.shape = weight_VD, bias_V, shape
        return chosen_R - lse_R

    @staticmethod
    def backward(ctx: Any, grad_R: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        hidden_RD, targets_R, lse_R = ctx.saved_tensors
        weight_VD, bias_V, shape = ctx.weight, ctx.bias, ctx.shape
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        d_hidden = torch.zeros(hidden_RD.shape, dtype=lse_R.dtype, device=lse_R.device) if wants_hidden else None
        d_weight = torch.empty_like(weight_VD) if wants_weight else None
        d_bias = torch.empty_like(bias_V) if wants_bias else None
        near_R = lse_R / shape.scale
        for block in _blocks(weight_VD, len(targets_R), shape):
            logits, slope = _logits(hidden_RD, weight_VD[block], _part(bias_V, block), shape, near_R)
            # d logp / d logits = onehot(target) - softmax
            d_logits = logits.sub_(lse_R[:, None]).exp_().mul_(-grad_R[:, None])
            found = _Found.of(targets_R, block)
            d_logits.scatter_add_(-1, found.place_R1, (grad_R * found.here_R)[:, None].to(d_logits.dtype))
            if slope is not None:
                d_logits *= slope
            if shape.scale != 1.0:
                d_logits *= shape.scale
            if d_bias is not None:
                d_bias[block] = d_logits.sum(0)
            d_logits = d_logits.to(weight_VD.dtype)
            if d_hidden is not None:
                d_hidden += _product(d_logits, weight_VD[block])
            if d_weight is not None:
                torch.mm(d_logits.T, hidden_RD, out=d_weight[block])
        d_hidden = None if d_hidden is None else d_hidden.to(hidden_RD.dtype)
        return d_hidden, d_weight, d_bias, None, None


class _FrozenHead(torch.autograd.Function):
    """Log-probs under a head that does not train: d logp / d hidden comes with the forward pass. It is a mean of the
    weights under softmax, which grows block by block as the log-sum-exp does. The backward pass then has no product."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_RD: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_R: torch.Tensor,
        shape: HeadShape,
    ) -> torch.Tensor:
        chosen_R, lse_R = _nothing_seen(hidden_RD)
        slope_R = torch.full_like(lse_R, shape.scale)
        mean_RD = torch.zeros(hidden_RD.shape, dtype=lse_R.dtype, device=hidden_RD.device)
        for block in _blocks(weight_VD, len(targets_R), shape):
            logits, slope = _logits(hidden_RD, weight_VD[block], _part(bias_V, block), shape)
            found = _Found.of(targets_R, block)
            if slope is not None:
                at_target_R = slope.gather(-1, found.place_R1).squeeze(-1) * shape.scale
                slope_R = torch.where(found.here_R, at_target_R, slope_R)
            before_R = lse_R
            chosen_R, lse_R = _seen(chosen_R, lse_R, logits, found)
            shares = logits.sub_(lse_R[:, None]).exp_()
            if slope is not None:
                shares *= slope
            shrink_R = torch.exp(before_R - lse_R)  # of the shares of earlier blocks, now that there is one more
            mean_RD.mul_(shrink_R[:, None]).add_(_product(shares.to(weight_VD.dtype), weight_VD[block]))
        mean_RD.mul_(shape.scale)
        ctx.save_for_backward((slope_R[:, None] * weight_VD[targets_R] - mean_RD).to(hidden_RD.dtype))
        return chosen_R - lse_R

    @staticmethod
    def backward(ctx: Any, grad_R: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (d_RD,) = ctx.saved_tensors
        return (grad_R[:, None] * d_RD).to(d_RD.dtype), None, None, None, None

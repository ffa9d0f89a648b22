"""The vocabulary projection as log-probs of the given targets: the (tokens x vocabulary) tensor never exists.

Legend: R rows (positions that predict a token), D hidden size, V vocabulary.

The head module keeps its place in the model and its `forward` is exchanged, so that one call of the module covers all
chunks. Under ZeRO-3 the weight is then gathered once in the forward and once in the backward pass; a module call a
chunk would gather it again for each. Reading `head.weight` outside a call would find an empty tensor.
"""

from functools import partial
from typing import Any

import torch
from torch import nn

ROWS_PER_CHUNK = 256  # fewer costs time (a weight pass a chunk), more costs memory (rows x vocabulary in float32)


def replace_head_forward(head: Any, logit_scale: float = 1.0, softcap: float | None = None) -> None:
    """Make `head(hidden_RD, targets_R)` return log-probs in float32 (float64 for a float64 model)."""
    head.forward = partial(_head_forward, head, logit_scale, softcap)


def _head_forward(
    head: Any, logit_scale: float, softcap: float | None, hidden_RD: torch.Tensor, targets_R: torch.Tensor
) -> torch.Tensor:
    return target_logps(hidden_RD, head.weight, getattr(head, "bias", None), targets_R, logit_scale, softcap)


def target_logps(
    hidden_RD: torch.Tensor,
    weight_VD: torch.Tensor,
    bias_V: torch.Tensor | None,
    targets_R: torch.Tensor,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    rows_per_chunk: int = ROWS_PER_CHUNK,
) -> torch.Tensor:
    """log softmax(softcap(scale * (h W^T + b)))[target] for each row, (R,).

    The log-sum-exp and everything after it are float32 or better, whatever the dtype of the product.
    """
    return _TargetLogps.apply(hidden_RD, weight_VD, bias_V, targets_R, logit_scale, softcap, rows_per_chunk)


def _logits(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, scale: float, softcap: float | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits of a chunk, and d(logits)/d(product) where it is not the constant `scale`."""
    logits = nn.functional.linear(hidden, weight, bias)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if scale != 1.0:
        logits = logits * scale
    if softcap is None:
        return logits, None
    squashed = torch.tanh(logits / softcap)
    return squashed * softcap, 1 - squashed**2


class _TargetLogps(torch.autograd.Function):
    """Backward recomputes each chunk's logits instead of keeping them; gradients accumulate in float32 over chunks."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_RD: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_R: torch.Tensor,
        scale: float,
        softcap: float | None,
        rows: int,
    ) -> torch.Tensor:
        wide = torch.promote_types(hidden_RD.dtype, torch.float32)
        logps_R, lse_R = (torch.empty(len(targets_R), dtype=wide, device=hidden_RD.device) for _ in range(2))
        for start in range(0, len(targets_R), rows):
            part = slice(start, start + rows)
            logits, _ = _logits(hidden_RD[part], weight_VD, bias_V, scale, softcap)
            lse_R[part] = logits.logsumexp(-1)
            logps_R[part] = logits.gather(-1, targets_R[part, None]).squeeze(-1) - lse_R[part]
        ctx.save_for_backward(hidden_RD, targets_R, lse_R)
        # The parameters themselves, not saved copies: ZeRO-3 empties and refills their storage between the passes.
        ctx.weight, ctx.bias, ctx.shape = weight_VD, bias_V, (scale, softcap, rows)
        return logps_R

    @staticmethod
    def backward(ctx: Any, grad_R: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        hidden_RD, targets_R, lse_R = ctx.saved_tensors
        weight_VD, bias_V, (scale, softcap, rows) = ctx.weight, ctx.bias, ctx.shape
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        d_hidden = torch.empty_like(hidden_RD) if wants_hidden else None
        d_weight = torch.zeros(weight_VD.shape, dtype=lse_R.dtype, device=lse_R.device) if wants_weight else None
        d_bias = torch.zeros(len(weight_VD), dtype=lse_R.dtype, device=lse_R.device) if wants_bias else None
        for start in range(0, len(targets_R), rows):
            part = slice(start, start + rows)
            logits, slope = _logits(hidden_RD[part], weight_VD, bias_V, scale, softcap)
            # d logp / d logits = onehot(target) - softmax
            d_logits = torch.exp(logits.sub_(lse_R[part, None])).mul_(-grad_R[part, None])
            d_logits.scatter_add_(-1, targets_R[part, None], grad_R[part, None].to(d_logits.dtype))
            d_logits = (
                (d_logits if slope is None else d_logits * slope) * scale if softcap or scale != 1.0 else d_logits
            )
            if d_bias is not None:
                d_bias += d_logits.sum(0)
            d_logits = d_logits.to(weight_VD.dtype)
            if d_hidden is not None:
                d_hidden[part] = d_logits @ weight_VD
            if d_weight is not None:
                d_weight += d_logits.T @ hidden_RD[part]
        d_weight = None if d_weight is None else d_weight.to(weight_VD.dtype)
        d_bias = None if d_bias is None or bias_V is None else d_bias.to(bias_V.dtype)
        return d_hidden, d_weight, d_bias, None, None, None, None

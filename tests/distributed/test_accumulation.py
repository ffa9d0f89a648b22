"""Gradients of many bfloat16 micro-steps, added up by DeepSpeed, against their sum in float64."""

from typing import Any

import pytest
import torch
from torch import nn

from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.sections import OptimConfig
from tests.support.procs import run_ranks

pytestmark = pytest.mark.slow
MICRO_STEPS = 16
SETTINGS = [(stage, dtype) for stage in (2, 3) for dtype in ("model", "float32")]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 16)).bfloat16()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.net(batch)


def loss_of(net: Any, batch: torch.Tensor) -> torch.Tensor:
    return (net(batch[:, :32]) * batch[:, 32:]).sum()


def batches(rank: int) -> list[torch.Tensor]:
    """(8 rows, input and coefficients) for each micro-step. Coefficients lean to one side, so that sums grow."""
    generator = torch.Generator().manual_seed(rank)
    drawn = torch.randn(MICRO_STEPS, 8, 48, generator=generator)
    drawn[..., 32:] += 0.5
    return list(drawn.bfloat16())


def exact_gradients(ranks: int) -> list[torch.Tensor]:
    """Mean over ranks of the sum over micro-steps. Gradients of one micro-step are bfloat16, their sum is not."""
    net = Net()
    sums = [torch.zeros(p.shape, dtype=torch.float64) for p in net.parameters()]
    for batch in (batch for rank in range(ranks) for batch in batches(rank)):
        found = torch.autograd.grad(loss_of(net, batch), list(net.parameters()))
        sums = [total + gradient.double() / ranks for total, gradient in zip(sums, found, strict=True)]
    return sums


def accumulate(rank_count: int) -> list[tuple[float, list[bool]]]:
    """For each of SETTINGS: error of the accumulated gradient, norm over norm; and whether three steps were applied,
    the second of which has a loss that is not a number."""
    from deepspeed.utils import safe_get_full_grad

    from jpo_dist.distributed import ranks
    from jpo_dist.model.engine import Engine, connect

    connect(60)
    exact, found = exact_gradients(rank_count), []
    for stage, dtype in SETTINGS:
        settings = EngineConfig(
            zero_stage=stage, grad_accum_dtype=dtype, param_persistence_threshold=0, reduce_bucket_size=4096
        )
        engine = Engine(Net(), settings, OptimConfig(), torch.bfloat16)
        applied, error = [], 0.0
        for bad in (False, True, False):
            for number, batch in enumerate(batches(ranks.rank())):
                loss = loss_of(engine, batch)
                engine.backward(loss * float("nan") if bad and number == 1 else loss, last=number == MICRO_STEPS - 1)
            if not applied:
                gathered = [safe_get_full_grad(p).double() for p in engine.module.parameters()]
                apart = sum(float((a - b).square().sum()) for a, b in zip(gathered, exact, strict=True))
                error = (apart / sum(float(b.square().sum()) for b in exact)) ** 0.5
            applied.append(engine.step(1e-3).applied)
        found.append((error, applied))
    return found


def test_float32_accumulation_does_not_round_sums() -> None:
    """What is left is the sum of two ranks, which travels in bfloat16 and is rounded once a micro-step."""
    both = run_ranks(accumulate, 2, 2, group=False)
    assert [applied for _, applied in both[0]] == [[True, False, True]] * len(SETTINGS)
    for (stage, dtype), (error, _) in zip(SETTINGS, both[0], strict=True):
        assert (error < 1.5e-3) == (dtype == "float32"), f"ZeRO-{stage}, {dtype}: {error}"
        assert error < 6e-3

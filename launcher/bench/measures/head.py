"""The vocabulary projection against the plain one, in memory and time.

Legend: R rows, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from jpo_dist.model.head import target_logps
from launcher.bench.clock import in_turns
from launcher.bench.sizes import Figures, Sizes

MIB = 2**20


def naive(hidden_RD: torch.Tensor, weight_VD: torch.Tensor, targets_R: torch.Tensor) -> torch.Tensor:
    """Logits of all rows, a log-softmax in float32, one entry of each row."""
    logits_RV = torch.nn.functional.linear(hidden_RD, weight_VD).float()
    return torch.log_softmax(logits_RV, -1).gather(-1, targets_R[:, None]).squeeze(-1)


def ours(hidden_RD: torch.Tensor, weight_VD: torch.Tensor, targets_R: torch.Tensor) -> torch.Tensor:
    return target_logps(hidden_RD, weight_VD, None, targets_R)


def measure(sizes: Sizes) -> Figures:
    """Memory and time of forward and backward. Peak memory is of all that is allocated on the way; the gradients that
    both must give are counted in `with_gradients`. `frozen`: a head that is not trained (LoRA) gives none for its
    weight."""
    rows, width, vocabulary = sizes.head
    dtype = getattr(torch, sizes.dtype)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator).to(dtype).requires_grad_()
    weight = (torch.randn(vocabulary, width, generator=generator) / width**0.5).to(dtype).requires_grad_()
    targets = torch.randint(vocabulary, (rows,), generator=generator)
    given = weight.nbytes + hidden.nbytes
    arms: list[Callable[[], object]] = [
        lambda: _pass(naive, hidden, weight, targets),
        lambda: _pass(ours, hidden, weight, targets),
    ]
    _check(hidden, weight, targets)
    plain_time, our_time = in_turns(arms, sizes.repetitions)
    plain, mine = (peak(arm) for arm in arms)
    weight.requires_grad_(False)
    plain_frozen, mine_frozen = (peak(arm) for arm in arms)
    return {
        "head.memory_ratio": round((plain - given) / (mine - given), 2),
        "head.memory_ratio_with_gradients": round(plain / mine, 2),
        "head.memory_ratio_frozen": round(plain_frozen / mine_frozen, 2),
        "head.cpu_ratio_to_naive": round(our_time.cpu / plain_time.cpu, 3),
        "head.peak_mib": round(mine / MIB),
        "head.naive_peak_mib": round(plain / MIB),
        "head.frozen_peak_mib": round(mine_frozen / MIB),
        "head.naive_frozen_peak_mib": round(plain_frozen / MIB),
        "head.gradients_mib": round(given / MIB),
        "head.cpu_s": round(our_time.cpu, 2),
        "head.naive_cpu_s": round(plain_time.cpu, 2),
        "head.shape": " x ".join(map(str, sizes.head)),
    }


def _pass(logps: Callable[..., torch.Tensor], hidden: Any, weight: Any, targets: torch.Tensor) -> list[torch.Tensor]:
    wanted = [tensor for tensor in (hidden, weight) if tensor.requires_grad]
    return list(torch.autograd.grad(logps(hidden, weight, targets).sum(), wanted))


def _check(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> None:
    """Both arms give the same log-probs, but for the rounding of the products."""
    apart = (naive(hidden, weight, targets) - ours(hidden, weight, targets)).abs().max()
    assert apart < 0.1, f"log-probs of the two heads are {apart:.3f} nats apart"


def peak(work: Callable[[], object]) -> int:
    """Most bytes that `work` holds at a time beyond what was there before, its result included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        kept = work()
    held = most = 0
    for event in recorded.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    del kept
    return most

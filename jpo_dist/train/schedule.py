"""What happens at which step: the learning rate, and what is done every so many steps."""

import math

from jpo_dist.config.sections import OptimConfig


def is_due(step: int, every: int, num_steps: int) -> bool:
    return step == num_steps or (every > 0 and step % every == 0)


def learning_rate(optim: OptimConfig, index: int, num_steps: int) -> float:
    """Rate of step `index` (from 0). A function of the step alone: a skipped update cannot make the schedule lag."""
    if index < optim.warmup_steps:
        return optim.lr * (index + 1) / optim.warmup_steps
    progress = (index - optim.warmup_steps) / max(1, num_steps - optim.warmup_steps)
    if optim.schedule == "cosine":
        return optim.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return optim.lr * (1 - progress) if optim.schedule == "linear" else optim.lr

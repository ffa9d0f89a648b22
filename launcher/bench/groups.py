"""The groups of figures: on how many ranks each is measured, and by which function."""

import importlib

from launcher.bench.sizes import Figures, Sizes

# In the order in which they run. Functions by name: who only lists the groups need not import torch for it.
GROUPS: dict[str, tuple[int, str, str]] = {
    "machine": (1, "machine", "measure"),
    "training": (1, "measures.training", "one_process"),
    "cached": (1, "measures.training", "cached"),
    "ranked": (1, "measures.ranked", "measure"),
    "head": (1, "measures.head", "measure"),
    "products": (1, "measures.products", "measure"),
    "balance": (1, "measures.balance", "measure"),
    "planning": (1, "measures.planning", "measure"),
    "generating": (1, "measures.generating", "measure"),
    "sampling": (1, "measures.generating", "sampled"),
    "gpu": (1, "measures.finetune", "measure"),
    "collectives": (2, "measures.collectives", "measure"),
    "two_ranks": (2, "measures.training", "two_ranks"),
}


def measure(group: str, sizes: Sizes) -> Figures:
    """The figures of one group, measured in this process or rank."""
    _, module, function = GROUPS[group]
    figures: Figures = getattr(importlib.import_module(f"launcher.bench.{module}"), function)(sizes)
    return figures

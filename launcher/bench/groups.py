"""The groups of figures: on how many ranks each is measured, and by which function."""

import importlib

from launcher.bench.sizes import Figures, Sizes

# In the order in which they run. Functions by name: who only lists the groups need not import torch for it.
GROUPS: dict[str, tuple[int, str, str]] = {
    "machine": (1, "machine", "measure"),
    "training": (1, "training", "one_process"),
    "cached": (1, "training", "cached"),
    "ranked": (1, "ranked", "measure"),
    "head": (1, "head", "measure"),
    "products": (1, "products", "measure"),
    "balance": (1, "balance", "measure"),
    "planning": (1, "balance", "planning"),
    "gpu": (1, "finetune", "measure"),
    "collectives": (2, "collectives", "measure"),
    "two_ranks": (2, "training", "two_ranks"),
}


def measure(group: str, sizes: Sizes) -> Figures:
    _, module, function = GROUPS[group]
    figures: Figures = getattr(importlib.import_module(f"launcher.bench.{module}"), function)(sizes)
    return figures

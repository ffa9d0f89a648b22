"""Joint Preference Optimization (Bansal et al., arXiv 2404.00530): items, comparisons, scores, margins, training.

`import jpo_dist as jpo` gives a notebook the names below, which docs/python.md explains; they are stable. They are
imported when they are first used: the import itself loads no torch. Everything else lives in rooms, which
docs/architecture.md lists from top to bottom; a room imports only from those below it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jpo_dist.api import (
        AlignResult,
        Comparison,
        ComparisonSet,
        Item,
        ReadReport,
        RunConfig,
        align,
        comparison_losses,
        held_out,
        load,
        log_probs,
        margins,
        margins_table,
        read,
        read_set,
        total_margin,
        write_set,
    )

__all__ = [
    "AlignResult",
    "Comparison",
    "ComparisonSet",
    "Item",
    "ReadReport",
    "RunConfig",
    "align",
    "comparison_losses",
    "held_out",
    "load",
    "log_probs",
    "margins",
    "margins_table",
    "read",
    "read_set",
    "total_margin",
    "write_set",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(import_module("jpo_dist.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

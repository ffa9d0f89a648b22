"""What all pictures as files share: a figure without a display, its axes, and its bytes."""

from pathlib import Path
from typing import Any


def figure_class() -> Any | None:
    """matplotlib's Figure; None where it is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    return Figure


def save(figure: Any, path: Path) -> Path:
    """Write a figure as PNG: the same figures, the same bytes. Returns `path`."""
    figure.savefig(path, dpi=100, bbox_inches="tight", metadata={"Software": None})
    return path


def axes_of(figure: Any, x: str, y: str, place: tuple[int, int, int] = (1, 1, 1)) -> Any:
    """New axes of a figure with their labels; `place`: rows, columns and which of these, from 1."""
    axes = figure.add_subplot(*place)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes

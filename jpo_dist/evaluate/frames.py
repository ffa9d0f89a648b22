"""Metrics of a run and margins of a set as data frames of pandas, for notebooks. Legend: C comparisons, N items.

pandas and matplotlib come with mlflow; they are imported when they are used.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.text import as_text

if TYPE_CHECKING:
    import pandas as pd

CURVES = ("loss", "rewards/margins", "margin/instruction", "margin/response")
"""What a picture of a run shows unless told."""


def of_metrics(rows: Sequence[dict[str, float]]) -> "pd.DataFrame":
    """A row a step and a column a name; what was not measured at a step is NaN."""
    import pandas as pd

    return pd.DataFrame(rows).set_index("step")


def plot(table: "pd.DataFrame", names: Sequence[str]) -> Any:
    """A panel for each name, or for those of CURVES that are there, with the held-out values in it. Returns
    matplotlib's axes. Raises ValueError for a name that `table` has not."""
    chosen = names or [name for name in CURVES if name in table]
    for name in chosen:
        if name not in table:
            raise ValueError(f"plot({name!r}) was not measured; measured were {', '.join(map(str, table))}")
    panels = [tuple(one for one in (name, f"eval/{name}") if one in table) for name in chosen]
    # Between two evaluations a straight line: points with gaps around them would not be drawn.
    shown = table[[one for panel in panels for one in panel]].interpolate(method="index", limit_area="inside")
    return shown.plot(subplots=panels, figsize=(7, 2 * len(panels)))


def of_margins(comparisons: ComparisonSet, margins_C2: np.ndarray, z_C: np.ndarray) -> "pd.DataFrame":
    """A row for each comparison: texts of its two ends, `joint`, `tie`, `weight`, both parts of the margin and `z`."""
    import pandas as pd

    items, columns = comparisons.all_items(), dict[str, Any]()
    for end, rows_C in (("winner", comparisons.winners_C), ("loser", comparisons.losers_C)):
        columns[f"{end}_instruction"] = [as_text(items[row].instruction) for row in rows_C]
        columns[f"{end}_response"] = [items[row].response for row in rows_C]
    columns |= {"joint": comparisons.is_joint_C, "tie": comparisons.is_tie_C, "weight": comparisons.weights_C}
    return pd.DataFrame(columns | {"instruction": margins_C2[:, 0], "response": margins_C2[:, 1], "z": z_C})

"""Settings with where they come from, as a table."""

import json
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from jpo_dist.redact import visible
from launcher.config.origins import DEFAULT, Setting


def table(settings: Sequence[Setting]) -> Table:
    """A row for each setting; those that nobody has set are dim."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("setting", "value", "from"):
        made.add_column(name, overflow="fold")
    for one in settings:
        value = one.value if isinstance(one.value, str) and one.value else json.dumps(one.value, ensure_ascii=False)
        cells = [Text(visible(text)) for text in (one.key, value, one.origin)]
        made.add_row(*cells, style="dim" if one.origin == DEFAULT else "")
    return made

"""What a look at a tokenizer's chat template found, as plain data for `jpo data inspect`."""

from typing import Any

from jpo_dist.batches.template_check import look_at, mend
from jpo_dist.config.sections import TokensConfig
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.shapes import samples


def template_report(tokenizer: Any, comparisons: ComparisonSet) -> dict[str, Any] | None:
    """{"looked_at", "differences", "refused", "fix"} of items of each shape, with the settings as they are unless set;
    None where the tokenizer has no chat template."""
    if not tokenizer.chat_template:
        return None
    rows, data = samples(comparisons), TokensConfig()
    try:
        look = look_at(tokenizer, rows, data)
    except ValueError as error:
        return {"looked_at": 0, "differences": [], "refused": [], "fix": str(error)}
    return {
        "looked_at": look.looked_at,
        "differences": [
            {**found.difference._asdict(), "items": found.items, "source": found.source} for found in look.differences
        ],
        "refused": [{"source": one.source, "items": one.alike, "reason": reason} for one, reason in look.refused],
        "fix": mend(tokenizer, rows, data, look) if look.stopping else None,
    }

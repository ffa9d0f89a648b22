"""Settings of `jpo evaluate`."""

from typing import Annotated

from pydantic import Field

from jpo_dist.config.base import Section


class EvaluateConfig(Section):
    """What `jpo evaluate` looks at, beside the held-out comparisons of the data section."""

    policy: str | None = None
    """The model to evaluate; None: `<run.dir>/export`."""
    instructions: str | None = None
    """JSONL of {"instruction", "constraints"}: answers are generated and checked by program. None: no generation."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    """Length of an answer; one that is cut off here fails its constraints."""

"""Settings of `jpo evaluate` and `jpo score`."""

from typing import Annotated

from pydantic import Field

from jpo_dist.config.addresses import OnDisk
from jpo_dist.config.base import Section


class EvaluateConfig(Section):
    """What `jpo evaluate` looks at, beside the held-out comparisons of the data section."""

    policy: str | None = None
    """The model to evaluate; None: `<run.dir>/export`."""
    instructions: str | None = None
    """JSONL of {"instruction", "constraints"}: answers are generated and checked by program. None: no generation."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    """Length of an answer; one that is cut off here fails its constraints."""


class ScoreConfig(Section):
    """What `jpo score` scores, and with which policy; the reference is that of the section `reference`."""

    data: str | list[str] | None = None
    """Comparisons, ratings or responses, as in data.train, or folders of answers. Null: `jpo score` asks for it."""
    policy: str | None = None
    """The model whose rewards they are, or an adapter on model.path; null: `<run.dir>/export`."""
    output: OnDisk | None = None
    """Folder of items.parquet, margins.parquet and report.json; null: `<run.dir>/scores`."""

"""Settings of sets that are altered on purpose. Validation and test stay as they are: what is measured on is whole."""

from typing import Annotated, Literal

from pydantic import Field

from jpo_dist.config.base import Count, Section

Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0)]


class KeepConfig(Section):
    """Which instructions for training, and which answers to them, stay; for studies of how much data a method needs."""

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the instructions for training that stay, to the nearest whole one. Their texts and `seed` say which:
    those of a smaller share are among those of a larger one."""
    answers: Count | None = None
    """Most answers to an instruction for training that stay; 2 are among 4. None: all."""
    comparable: Share | None = None
    """Take only instructions for training whose answers differ in score. This share of them keeps them all; of each
    other the best ones stay, or the worst, in turn, so that nothing compares within it. None: all as they are."""
    seed: Seed = 0
    """What is drawn from: instructions, and answers."""


class FlipConfig(Section):
    """Wrong labels on purpose, for controls: comparisons for training whose winner and loser change places."""

    share: Share = 0.0
    """Share of the comparisons of `among` that change, to the nearest whole one. The two items and `seed` say which;
    those of a smaller share are among those of a larger one. 0.5: labels tell nothing. Ties have none."""
    among: Literal["all", "conditional", "joint"] = "all"
    """Of which comparisons: all, those within an instruction, or those across two."""
    seed: Seed = 0
    """What is drawn from."""

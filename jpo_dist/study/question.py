"""What a study asks: one primary metric, which arms are compared, and what difference would not matter."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jpo_dist.config.base import Section

Metric = Literal["pass", "finished", "pass_of_finished", "score", "tokens", "win"]
RATES = ("pass", "finished", "pass_of_finished", "win")
"""Metrics that are shares of answers: 0, 1, or of a tie one half each."""


class QuestionConfig(Section):
    """Said before the first cell runs. The report says when it was said, and whether it was changed since."""

    primary: Metric = "pass"
    """The one figure that decides. pass: the share of answers that end and that the checker passes; finished: the share
    that end; pass_of_finished: of those that end, the share that pass; score: the checker's mean score; tokens: mean
    length; win: the win rate of the verdicts of a winrate stage, ties one half."""
    answers: str
    """The stage of `measure` whose answers count; a winrate stage where primary is `win`."""
    checker: str | None = None
    """`module:function`, called with each answer as an Item: its score, 1 for pass and 0 for fail, or None where it
    cannot tell. Needed by pass, pass_of_finished and score."""
    compare: list[tuple[str, str]] = Field(default=[])
    """Pairs of arms: the first minus the second is tested, with Holm's adjustment over all pairs of the study."""
    trend: str | None = None
    """A number of `grid`: for each pair it is tested too whether its difference grows with it, by how much for each
    doubling. None: no such test."""
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.02
    """The largest difference that would not matter: equivalence is tested against it. 0.02 is 2 points of a rate."""

    @model_validator(mode="after")
    def _a_metric_that_can_be_taken(self) -> Self:
        if self.primary in ("pass", "pass_of_finished", "score") and self.checker is None:
            raise ValueError(f"primary ({self.primary}) needs a checker; set checker to module:function")
        return self

    @model_validator(mode="after")
    def _two_different_arms(self) -> Self:
        for at, (first, second) in enumerate(self.compare):
            if first == second:
                raise ValueError(f"compare.{at} ({first}, {second}) compares an arm with itself; name two arms")
        if len(set(map(frozenset, self.compare))) < len(self.compare):
            raise ValueError("compare names a pair twice; name each once")
        return self

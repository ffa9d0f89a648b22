"""The YAML of `jpo study`: arms, the stages that they share and those of their own, and what is varied."""

import itertools
import re
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from cluster.config import ClusterConfig
from jpo_dist.config.addresses import OnDisk
from jpo_dist.config.base import Count, Section
from jpo_dist.config.sections import TrackingConfig
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.tables import SEED
from launcher.config.pipeline import NAME, POLICY, Share, entry_of

VARIABLE = r"^[a-z][a-z0-9_]*$"
Stages = list[dict[str, Any]]


class MatchConfig(Section):
    """A metric of training that every arm is to have alike, so that arms are compared at the same strength."""

    metric: str = "loss"
    """As in metrics.jsonl; its mean over the last quarter of the steps of the arm's last training."""
    value: float
    """The trial in which it is nearest to this is chosen."""


class TuneConfig(Section):
    """Settings that are chosen for each arm before its cells run: the same trials for every arm."""

    over: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]
    """Values by name, for example {lr: [1.0e-5, 4.0e-5], beta: [0.1, 0.3]}: every combination is a trial. Text `$NAME`
    in a stage stands for the value."""
    measure: Annotated[Stages, Field(min_length=1)]
    """Stages after the arm's own, as `measure` of the study, on instructions that are in no other `measure`."""
    answers: str
    """The stage of these whose answers count; the trial with the highest primary metric is chosen."""
    match: MatchConfig | None = None
    """Choose by a metric of training instead of the primary metric. None: by the primary metric."""
    seed: int = 0
    """The value of `$seed` in a trial; other names of `grid` have their first value."""


class StudyConfig(Section):
    """A grid of training runs and what it is to answer."""

    dir: OnDisk = Field(min_length=1)
    """Folder of the study: the folders of all stages, results.json, report.md, report.html. Shared by all hosts."""
    name: Annotated[str, Field(pattern=NAME)] = "study"
    """Name of the study's run in MLflow, the parent of its cells' runs."""
    question: QuestionConfig
    seeds: Annotated[list[int], Field(min_length=1)]
    """Training runs of each arm: `$seed` in a stage. An interval for other runs takes two, an honest one five."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Further values that are varied, by name, for example {share: [0.25, 1.0]}: every arm at every combination."""
    shared: dict[str, Any] = Field(default_factory=dict)
    """Settings of every stage that has them, as in `jpo run`."""
    stages: Stages = Field(default=[])
    """Stages before those of every arm. What does not depend on the arm or the seed is made once for all."""
    arms: Annotated[dict[str, Stages], Field(min_length=1)]
    """Stages of each arm by its name; []: the arm is what `stages` has made."""
    measure: Annotated[Stages, Field(min_length=1)]
    """Stages after those of every arm, the same for all; `@policy` is the model that was trained last, or the
    shared one."""
    kl: str | None = None
    """A score stage of `measure`, for answers that the policy drew at temperature 1: the mean over those that end of
    log pi(R | I) - log ref(R | I), the sampled KL, is a figure of the arm. An arm that trains nothing has none."""
    strata: str | None = None
    """`module:function`, called with each instruction as an Item without a response: its label. The primary metric is
    then also told for each label. None: for all instructions together only."""
    tune: TuneConfig | None = None
    at_once: Count = 1
    """Stages that run at the same time, each a process of this host. Of `cluster`, those alone that have workers of
    their own: what these wait for is room in the cluster."""
    cluster: ClusterConfig | None = None
    """Where stages without workers of their own run: Ray tasks, `workers` at the most at a time, each with
    cpus_per_worker and gpus_per_worker. `dir` must be shared by all hosts. None: processes of this host."""
    reuse: list[str] = Field(default=[])
    """Folders (`dir`) of other studies: a stage that was done there with the same settings and inputs, such as the SFT
    model that several studies begin from, is taken over instead of being run again."""
    max_failed: Share = 0.0
    """Largest share of a stage's requests to a server that may be without an answer at its end, as in `jpo run`. Of a
    stage that has more the cells fail, and the same command asks them again."""
    keep_models: bool = False
    """Keep the models of measured cells, about 2 GB each for 135M parameters; false: their answers alone are kept."""
    tracking: TrackingConfig = TrackingConfig()
    """Here uri=None means: mlflow.db in `dir`."""

    @property
    def variables(self) -> set[str]:
        """Names that may follow `$`."""
        return {SEED, *self.grid, *(self.tune.over if self.tune else {})}

    @model_validator(mode="after")
    def _names_of_variables(self) -> Self:
        names = [*self.grid, *(self.tune.over if self.tune else {})]
        for name in names:
            if not re.match(VARIABLE, name):
                raise ValueError(f"grid or tune.over: {name!r} is no name; write small letters, digits and _")
            if name == SEED:
                raise ValueError("grid or tune.over: seed is varied by `seeds`; write its values there")
            if names.count(name) > 1:
                raise ValueError(f"{name} is varied by both grid and tune.over; leave one out")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names one twice: the same run would count as two; name each once")
        return self

    @model_validator(mode="after")
    def _values_that_differ(self) -> Self:
        for key, axes in (("grid", self.grid), ("tune.over", self.tune.over if self.tune else {})):
            for name, values in axes.items():
                for at, one in enumerate(values):
                    same = next((other for other in values[:at] if _same(one, other)), None)
                    if same is not None:
                        raise ValueError(
                            f"{key}.{name} ({values}) names one value twice ({same} and {one}): the same run would "
                            "count as two; name each once"
                        )
        return self

    @model_validator(mode="after")
    def _arms_that_there_are(self) -> Self:
        for name in self.arms:
            if not re.match(NAME, name) or name == POLICY:
                raise ValueError(f"arms.{name!r} is no name; write letters, digits, '-', '_' and '.', and not 'policy'")
        for pair in self.question.compare:
            for arm in pair:
                if arm not in self.arms:
                    raise ValueError(
                        f"question.compare names {arm}, which is no arm; there are: {', '.join(self.arms)}"
                    )
        return self

    @model_validator(mode="after")
    def _a_trend_over_numbers(self) -> Self:
        trend = self.question.trend
        if trend is None:
            return self
        values = self.grid.get(trend, [])
        if len(values) < 2 or not all(isinstance(one, int | float) and one > 0 for one in values):
            raise ValueError(
                f"question.trend ({trend}) must name two or more numbers above 0 of grid; there: {values or 'nothing'}"
            )
        return self

    @model_validator(mode="after")
    def _answers_that_are_made(self) -> Self:
        parts = [("question.answers", self.question.answers, self.measure)]
        if self.tune:
            parts.append(("tune.answers", self.tune.answers, self.tune.measure))
        wanted = "winrate" if self.question.primary == "win" else "generate"
        for key, name, stages in parts:
            _require(key, name, stages, wanted, f", since primary is {self.question.primary}")
        if self.kl:
            _require("kl", self.kl, self.measure, "score", "")
        return self

    @model_validator(mode="after")
    def _variables_that_are_known(self) -> Self:
        for where in (self.stages, self.arms, self.measure, self.tune.measure if self.tune else None, self.shared):
            for name in used_variables(where):
                if name not in self.variables:
                    known = sorted(self.variables)
                    raise ValueError(
                        f"${name} is varied by nothing; known: {', '.join(f'${one}' for one in known)} "
                        "(text that begins with a $ is written $$)"
                    )
        return self


def _same(one: Any, other: Any) -> bool:
    """Whether two values of an axis are one: 1 and 1.0, and text that reads like another value, but not 1 and true."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if one == other or str(one) == str(other):
        return True
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return False


def _require(key: str, name: str, stages: Stages, command: str, why: str) -> None:
    """Raises ValueError where `name` is no stage with this command."""
    found = {entry.name: entry.command for entry in map(entry_of, stages, itertools.count())}
    if found.get(name) != command:
        there = ", ".join(one for one, its in found.items() if its == command) or "none"
        raise ValueError(f"{key} ({name}) must be a {command} stage of its `measure`{why}; there are: {there}")


def used_variables(value: Any) -> list[str]:
    """The names behind `$` in all texts of `value`."""
    if isinstance(value, dict):
        return [name for one in value.values() for name in used_variables(one)]
    if isinstance(value, list | tuple):
        return [name for one in value for name in used_variables(one)]
    is_variable = isinstance(value, str) and value.startswith("$") and not value.startswith("$$")
    return [value[1:]] if is_variable else []


def with_values(value: Any, values: dict[str, Any]) -> Any:
    """`value` with values in the place of `$NAME`, of their own type."""
    if isinstance(value, dict):
        return {name: with_values(one, values) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [with_values(one, values) for one in value]
    if isinstance(value, str) and value.startswith("$"):
        return value[1:] if value.startswith("$$") else values[value[1:]]
    return value

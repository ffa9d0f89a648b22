"""Settings of `jpo winrate`."""

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jpo_dist.config.addresses import OnDisk
from jpo_dist.config.base import ROW_MIB, Count, Section
from jpo_dist.config.groups import GroupNames
from jpo_dist.config.sections import TrackingConfig
from jpo_dist.judge.config import JudgingConfig


class ControlsConfig(Section):
    """Answers that no model gave, judged like the others: what the judge makes of nothing."""

    prompts: Count | None = None
    """Instructions on which the constant answer is judged, the same ones in every run. None: 50 with kind=llm, else
    all."""
    answer: str = "Thank you for your question. I am happy to help you with it."
    """The constant answer."""


class AlpacaConfig(Section):
    """AlpacaEval's files: its program runs in an environment of its own (docs/winrate.md)."""

    write: bool = False
    """Write model_outputs.json and reference_outputs.json for it to `<output>/alpaca`."""
    annotations: str | None = None
    """An annotations.json that it wrote: its win rate and standard error are put into the report."""


class WinRateConfig(JudgingConfig):
    """Everything one `jpo winrate` needs to know, beside the machines."""

    EXPERT = ("max_row_mib",)

    answers: str | Annotated[list[str], Field(min_length=1)]
    """Folder of answers of `jpo generate`. A list: one folder a training run (seed) of the same model; the interval is
    then for other runs too."""
    against: str | Annotated[list[str], Field(min_length=1)]
    """Files of any layout with gold responses (in a column `gold_response`, or what the layout calls good), or the
    answers folder of another model."""
    output: OnDisk
    """Folder for the report, the verdicts and the judge's replies; shared by all hosts. Naming it again resumes."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "winrate"
    """Name of the MLflow run."""
    compare: list[str] = Field(default=[])
    """Answers folders of other models: each is judged against the same opponent, and the difference is tested."""
    groups: GroupNames = Field(default=[])
    """Columns of the gold file by which the report is split too, such as the country of who wrote the response."""
    group: str | None = None
    """One such column: `group: topic` is `groups: [topic]`."""
    on_bad_row: Literal["error", "skip"] = "error"
    """A row of the gold file that cannot be read: stop with file, line, field and reason, or count it and go on."""
    max_row_mib: Count = ROW_MIB
    """As data.max_row_mib of a run: most MiB of one row, a longer one is bad."""
    unfinished: Literal["judged", "loses", "left_out"] = "judged"
    """An answer that was cut off: judged as it is, a loss without asking, or counted and in no denominator."""
    empty: Literal["left_out", "loses", "judged"] = "left_out"
    """An answer of white space only: the same choices."""
    controls: ControlsConfig = ControlsConfig()
    alpaca: AlpacaConfig = AlpacaConfig()
    tracking: TrackingConfig = TrackingConfig()
    """Here uri=None means: no MLflow."""

    @property
    def runs(self) -> list[str]:
        """The answers folders, one a training run."""
        return [self.answers] if isinstance(self.answers, str) else list(self.answers)

    @property
    def split_by(self) -> list[str]:
        """The columns that the report is split by."""
        return list(self.groups) if self.group is None else [self.group]

    @model_validator(mode="after")
    def _group_or_groups(self) -> Self:
        if self.group is not None and self.groups:
            raise ValueError(f"group ({self.group}) and groups ({', '.join(self.groups)}): name all columns in groups")
        return self

    @model_validator(mode="after")
    def _every_folder_once(self) -> Self:
        against = [self.against] if isinstance(self.against, str) else self.against
        named = [*self.runs, *self.compare, *against]
        if "" in named:
            raise ValueError("answers, against or compare names nothing (''); name a folder or file")
        if twice := [one for one, count in Counter(named).items() if count > 1]:
            raise ValueError(f"answers, against and compare name {twice[0]} twice; name each folder once")
        return self

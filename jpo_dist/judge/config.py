"""The settings of `jpo judge`: what to compare, who judges, and what it may cost."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jpo_dist.config.addresses import OnDisk
from jpo_dist.config.base import ROW_MIB, Count, NonNegative, Section, TemplateArgs
from jpo_dist.config.groups import GroupsToJudge
from jpo_dist.config.sections import TrackingConfig
from jpo_dist.endpoint.config import BudgetConfig, EndpointConfig


class PromptsConfig(Section):
    """Text files with {fields}; copy one, edit it, and name it here."""

    EXPERT = ("again",)

    conditional: str = "package:jpo_dist/judge/prompts/conditional.txt"
    """For one instruction: {instruction}, {response_a}, {response_b}."""
    joint: str = "package:jpo_dist/judge/prompts/joint.txt"
    """For two: {instruction_a}, {response_a}, {instruction_b}, {response_b}."""
    again: str = "package:jpo_dist/judge/prompts/again.txt"
    """Added to the prompt when the reply before was unparsable. No fields."""


class CheckerConfig(Section):
    """A program as the judge."""

    function: str = ""
    """`module:function` that is called with an Item and returns a number, or None where it cannot tell."""
    tie_band: NonNegative = 0.0
    """Scores that differ by no more than this are a tie."""


class RewardModelConfig(Section):
    """A sequence-classification model with one output as the judge."""

    EXPERT = ("dtype", "tokens_per_batch", "max_length")

    path: str = ""
    """A Hugging Face folder or hub id."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Dtype of the reward model, one of those of model.dtype."""
    template: str = "chat"
    """`chat`: the tokenizer's chat template over instruction and response. Otherwise text with {instruction} and
    {response}."""
    template_args: TemplateArgs = {}  # noqa: RUF012
    """Variables of the chat template."""
    tokens_per_batch: Count = 8192
    """Most tokens in one forward, padding included. Changes speed, memory and the last bits of scores."""
    max_length: Count = 4096
    """An item with more tokens gets no score; it is counted as unparsable, never cut."""
    tie_band: NonNegative = 0.0
    """Scores that differ by no more than this are a tie."""


class JudgingConfig(Section):
    """Who judges, and what it may cost."""

    kind: Literal["llm", "checker", "reward_model"] = "llm"
    """Who judges: a language model behind `endpoint`, the program in `checker`, or `reward_model`."""
    endpoint: EndpointConfig = EndpointConfig()
    budget: BudgetConfig = BudgetConfig()
    prompts: PromptsConfig = PromptsConfig()
    checker: CheckerConfig = CheckerConfig()
    reward_model: RewardModelConfig = RewardModelConfig()

    @model_validator(mode="after")
    def _the_judge_is_named(self) -> Self:
        if self.kind == "llm" and not self.endpoint.model:
            raise ValueError("endpoint.model ('') is needed with kind=llm; name the judge's model")
        if self.kind == "checker" and self.checker.function.count(":") != 1:
            raise ValueError(
                f"checker.function ({self.checker.function!r}) must be module:function with kind=checker; name one"
            )
        if self.kind == "reward_model" and not self.reward_model.path:
            raise ValueError("reward_model.path ('') is needed with kind=reward_model; name a folder or hub id")
        return self

    @model_validator(mode="after")
    def _a_cost_needs_prices(self) -> Self:
        free = not (self.endpoint.input_price or self.endpoint.output_price)
        if self.budget.max_cost is not None and free:
            raise ValueError(
                f"budget.max_cost ({self.budget.max_cost:g}) would never be reached with both prices 0; "
                "set endpoint.input_price and endpoint.output_price"
            )
        return self

    @property
    def annotator(self) -> str:
        """Who stands in the records as the judge."""
        names = {"llm": self.endpoint.model, "checker": self.checker.function, "reward_model": self.reward_model.path}
        return names[self.kind]


class JudgeConfig(JudgingConfig):
    """Everything one run of the judge needs to know."""

    EXPERT = ("max_row_mib",)

    candidates: str | list[str]
    """Files, folders, globs or hub ids with pairs of items. Preferences in them are not looked at."""
    groups: GroupsToJudge = Field(default=[])
    """Columns of the candidates, such as country or topic, that are kept in the comparisons and reported by."""
    on_bad_row: Literal["error", "skip"] = "error"
    """A row that cannot be read: stop with file, line, field and reason, or count it and go on."""
    max_row_mib: Count = ROW_MIB
    """As data.max_row_mib of a run: most MiB of one row, a longer one is bad."""
    output: OnDisk
    """Folder for the comparisons, the report and the answers; shared by all hosts. Naming it again resumes."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "judge"
    """Name of the MLflow run."""
    tracking: TrackingConfig = TrackingConfig()
    """Here uri=None means: no MLflow."""

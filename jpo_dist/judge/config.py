"""The settings of `jpo judge`: what to compare, who judges, and what it may cost."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from jpo_dist.config import Count, NonNegative, Positive, Section, TrackingConfig

Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None


class EndpointConfig(Section):
    """A server that speaks the OpenAI chat API. `base_url`, `name` and all that is sent decide what is asked anew."""

    base_url: str = "https://api.openai.com/v1"
    name: str | None = None
    """What the store of answers calls this server; None: base_url. Set it for a server whose address changes."""
    model: str = ""
    """The judge's model id. Required with kind=llm."""
    key_env: str | None = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key. None: the server wants none."""
    key_file: str | None = None
    """File that holds the key and nothing else; it goes before key_env."""
    temperature: NonNegative | None = 0.0
    """None: not sent, the server's own default (as in the paper)."""
    max_tokens: Count = 16
    """Longest reply. A judge that is to reason first needs more."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the request calls it: newer OpenAI models only know the second."""
    seed: int | None = 0
    """Sent with each request; asking again after an unparsable reply adds 1, 2, … None: not sent."""
    extra_body: dict[str, Any] = Field(default={})
    """More fields of the request, for example {"chat_template_kwargs": {"enable_thinking": false}}. No secrets."""
    ask_again: Annotated[int, Field(ge=0)] = 2
    """Times a question is asked again after an unparsable reply."""
    concurrency: Count = 8
    """Requests under way at a time, over all tasks."""
    timeout_s: Positive = 60.0
    """Longest silence of the server within a request."""
    max_retries: Annotated[int, Field(ge=0)] = 6
    """Tries after the first, for one request: after 429, 5xx, a timeout, a lost connection, or broken JSON."""
    max_wait_s: Positive = 300.0
    """Longest pause between two tries. A server that asks for a longer one (Retry-After) ends the run."""
    max_failures: Count = 10
    """Questions in a row without an answer that end the run: the server is down, or the request is wrong."""
    input_price: NonNegative = 0.0
    """Price of a million input tokens, in any currency."""
    output_price: NonNegative = 0.0
    """Price of a million output tokens, in the same currency."""

    @field_validator("base_url")
    @classmethod
    def _address_without_secrets(cls, value: str) -> str:
        parts = urlsplit(value)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                " has a user, a query or a fragment in it; configs are logged: "
                "give scheme://host:port/path, and the key in key_env or key_file"
            )
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f" ({value}) is not an address; write for example http://localhost:8000/v1")
        return value.rstrip("/")


class BudgetConfig(Section):
    """Limits on all answers in the output folder, earlier runs included. None: no limit."""

    max_requests: Count | None = None
    """Answered requests."""
    max_tokens: Count | None = None
    """Input and output tokens."""
    max_cost: Limit = None
    """In the currency of endpoint.input_price and endpoint.output_price."""


class PromptsConfig(Section):
    """Text files with {fields}; copy one, edit it, and name it here."""

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

    path: str = ""
    """A Hugging Face folder or hub id."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    template: str = "chat"
    """`chat`: the tokenizer's chat template over instruction and response. Otherwise text with {instruction} and
    {response}."""
    tokens_per_batch: Count = 8192
    """Most tokens in one forward, padding included. Changes speed, memory and the last bits of scores."""
    max_length: Count = 4096
    """An item with more tokens gets no score; it is counted as unparsable, never cut."""
    tie_band: NonNegative = 0.0
    """Scores that differ by no more than this are a tie."""


class JudgeConfig(Section):
    """Everything one run of the judge needs to know."""

    candidates: str | list[str]
    """Files, folders, globs or hub ids with pairs of items. Preferences in them are not looked at."""
    on_bad_row: Literal["error", "skip"] = "error"
    """A row that cannot be read: stop with file, line, field and reason, or count it and go on."""
    output: str
    """Folder for the comparisons, the report and the answers; shared by all hosts. Naming it again resumes."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "judge"
    """Name of the MLflow run."""
    kind: Literal["llm", "checker", "reward_model"] = "llm"
    endpoint: EndpointConfig = EndpointConfig()
    budget: BudgetConfig = BudgetConfig()
    prompts: PromptsConfig = PromptsConfig()
    checker: CheckerConfig = CheckerConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    tracking: TrackingConfig = TrackingConfig()
    """Here uri=None means: no MLflow."""

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

"""The settings of `jpo generate`: what is asked, who answers, and how."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_serializer, model_validator

from jpo_dist.config.addresses import OnDisk
from jpo_dist.config.base import ROW_MIB, Count, NonNegative, Section, TemplateArgs
from jpo_dist.config.sections import ModelConfig, TrackingConfig
from jpo_dist.endpoint.config import BudgetConfig, EndpointConfig

OF_THE_JUDGE = {"temperature": "temperatures", "max_tokens": "max_new_tokens", "seed": "seed", "ask_again": "samples"}
"""Settings of an endpoint that generation has under other names, since they are the same for a local model."""


class GenerateConfig(Section):
    """Everything one run of generation needs to know."""

    EXPERT = ("max_row_mib", "tokens_per_batch", "on_template_difference")

    instructions: str | list[str] = Field(min_length=1)
    """Files, folders, globs or hub ids: instructions as JSONL, data of any layout, sets, and the prompt files of
    AlpacaEval, IFEval and MT-Bench. Each instruction is asked once, however often it is there."""
    on_bad_row: Literal["error", "skip"] = "error"
    """A row that cannot be read: stop with file, line, field and reason, or count it and go on."""
    max_row_mib: Count = ROW_MIB
    """As data.max_row_mib of a run: most MiB of one row, a longer one is bad."""
    output: OnDisk = Field(min_length=1)
    """Folder for the answers and the report; shared by all hosts. Naming it again resumes."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "generate"
    """Name of the MLflow run."""
    model: ModelConfig | None = None
    """A model that answers in this job; or set `endpoint`."""
    endpoint: EndpointConfig | None = None
    """A server that answers; temperatures, max_new_tokens, seed and samples stand beside it, not in it."""
    budget: BudgetConfig = BudgetConfig()
    template: str = "chat"
    """How an instruction is written for `model`; the same values as data.template. A server has its own."""
    template_args: TemplateArgs = {}  # noqa: RUF012
    """Variables of the chat template, as data.template_args."""
    on_template_difference: Literal["note", "follow"] = "note"
    """follow: what stands before an answer is what a finished conversation has there, as in
    data.on_template_difference. note: the template's prompt for an answer, as a server sends it."""
    temperatures: Annotated[list[NonNegative], Field(min_length=1)] = Field(default_factory=lambda: [1.0])
    """Every instruction is answered at each of them. 0: always the most likely token."""
    samples: Count = 1
    """Answers to an instruction at each temperature; at 0 one, since all would be equal."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Only the likeliest tokens that make up this share of the probability are drawn from; 1: all."""
    stop: list[str] = Field(default_factory=list)
    """Texts that end an answer; they are no part of it."""
    max_new_tokens: Count = 256
    """An answer is cut off after so many tokens, and marked as cut."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """What answers are drawn from, with instruction, sample and temperature: the rest of a run changes nothing."""
    tokens_per_batch: Count = 32_768
    """Most tokens of a task's batch, prompts and answers: their keys and values are kept. Changes speed and memory, and
    in bfloat16 the last bits. An answer that needs more has the batch to itself."""
    tracking: TrackingConfig = TrackingConfig()
    """Here uri=None means: no MLflow."""

    @model_validator(mode="after")
    def _one_who_answers(self) -> Self:
        if (self.model is None) == (self.endpoint is None):
            raise ValueError(
                "model and endpoint: exactly one answers; set model.path, or endpoint.model and its base_url"
            )
        if self.model is not None and self.model.lora.rank:
            raise ValueError(
                f"model.lora.rank ({self.model.lora.rank}) is for training; name a merged folder and drop it"
            )
        if self.endpoint is not None:
            self._fits_a_server(self.endpoint)
        return self

    def _fits_a_server(self, endpoint: EndpointConfig) -> None:
        if not endpoint.model:
            raise ValueError("endpoint.model ('') is needed; name the model that the server has")
        for theirs, ours in OF_THE_JUDGE.items():
            if theirs in endpoint.model_fields_set:
                raise ValueError(f"endpoint.{theirs} is not read here; set {ours} instead")
        if self.template != "chat":
            raise ValueError(f"template ({self.template!r}): a server writes prompts by its own; drop it, or use model")
        if self.budget.max_cost is not None and not (endpoint.input_price or endpoint.output_price):
            raise ValueError(
                f"budget.max_cost ({self.budget.max_cost:g}) would never be reached with both prices 0; "
                "set endpoint.input_price and endpoint.output_price"
            )

    @model_validator(mode="after")
    def _values_that_say_something(self) -> Self:
        if len(set(self.temperatures)) < len(self.temperatures):
            raise ValueError(f"temperatures ({self.temperatures}) names one twice; drop it, or raise samples")
        if "" in self.stop:
            raise ValueError("stop: an empty text would end every answer; drop it")
        if self.template != "chat" and "{instruction}" not in self.template:
            raise ValueError(f"template ({self.template!r}) has no {{instruction}}; add it, or say chat")
        if self.template_args and (self.template != "chat" or self.model is None):
            raise ValueError(
                f"template_args ({self.template_args}) are for a model with template=chat; drop them, or send them to "
                'a server: endpoint.extra_body={"chat_template_kwargs": …}'
            )
        if "" in ([self.instructions] if isinstance(self.instructions, str) else self.instructions):
            raise ValueError("instructions: an empty name; name a file, folder, glob or hub id")
        return self

    @field_serializer("endpoint", mode="wrap")
    def _what_is_read(self, endpoint: EndpointConfig | None, written: SerializerFunctionWrapHandler) -> Any:
        """Without the defaults of what is refused here: settings that are written out can be read again."""
        found = written(endpoint)
        return found and {name: value for name, value in found.items() if name not in OF_THE_JUDGE}

    @property
    def engine(self) -> str:
        """Who answers, as answers name it."""
        return "local" if self.endpoint is None else self.endpoint.name or self.endpoint.base_url

    def samples_at(self, temperature: float) -> int:
        """Answers to an instruction at this temperature."""
        return self.samples if temperature else 1

"""What every section of a config is made of: closed, frozen, documented."""

import re
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]

ROW_MIB = 256
"""MiB of one row, unless a setting says otherwise: a packed file of some megabytes may hold a line of gigabytes."""

OURS = frozenset(
    {"messages", "conversation", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize", "padding",
     "continue_final_message", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs",
     "return_assistant_tokens_mask", "sanitize_control_tokens", "conversations"}
)  # fmt: skip
"""What a chat template is called with in any case, or what the call itself takes: no variables for a user to set."""


def _of_the_template(given: dict[str, Any]) -> dict[str, Any]:
    taken = sorted(OURS & given.keys())
    if taken:
        raise ValueError(f"{taken[0]} is set by the program, not by a template's user; drop it")
    return given


TemplateArgs = Annotated[dict[str, Any], AfterValidator(_of_the_template)]
"""Variables of a chat template, by name."""


class Section(BaseModel):
    """A closed, frozen group of settings: an unknown key is an error, a value never changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_switches(cls, given: Any) -> Any:
        """`max_steps=true` would be one step."""
        for name, value in given.items() if isinstance(given, dict) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None:
                kinds = _kinds(field.annotation)
                if kinds & {int, float} and not kinds & {bool, Any}:
                    raise ValueError(f"{name} ({str(value).lower()}) is no number; write one")
        return given

    EXPERT: ClassVar[tuple[str, ...]] = ()
    """Settings that hardly a run needs: docs/config.md keeps them apart. What a config of configs/ sets is none."""


def _kinds(annotation: Any) -> set[Any]:
    """The types that a value may have."""
    parts = get_args(annotation)
    return set().union(*map(_kinds, parts)) if parts and get_origin(annotation) is not Literal else {annotation}


def is_commit(revision: str | None) -> bool:
    """Whether a revision names one commit: 40 hex digits, which no one can move to other contents."""
    return re.fullmatch("[0-9a-fA-F]{40}", revision or "") is not None

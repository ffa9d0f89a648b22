"""Settings of an OpenAI-compatible server and of what may be spent on it."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from jpo_dist.config.base import Count, NonNegative, Positive, Section
from jpo_dist.redact import is_pasted_key

Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None

RESERVED_FOR = {
    "messages": "the questions are in it",
    "model": "endpoint.model says it",
    "temperature": "endpoint.temperature, or that of sampling, says it",
    "max_tokens": "endpoint.max_tokens, or that of sampling, says it",
    "max_completion_tokens": "endpoint.max_tokens, or that of sampling, says it",
    "seed": "endpoint.seed, or that of sampling, says it",
    "stream": "replies are read whole",
    "stream_options": "replies are read whole",
}
"""Fields of a request that `extra_body` must not have, since it goes over all others, and why."""
RESERVED = frozenset(RESERVED_FOR)


class EndpointConfig(Section):
    """A server that speaks the OpenAI chat API. `base_url`, `name` and all that is sent decide what is asked anew."""

    EXPERT = (
        "name", "max_tokens_field", "seed", "extra_body", "ask_again", "timeout_s", "max_retries", "max_wait_s",
        "max_failures",
    )  # fmt: skip

    base_url: str = "https://api.openai.com/v1"
    """Address of the API, as its clients take it: with the version, without a path behind it."""
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
    """Longest reply. A judge that is to reason first needs more: what is cut off is no verdict."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the request calls it. A server that refuses one name gets the other."""
    seed: int | None = 0
    """Sent with each request; asking again after an unparsable reply adds 1, 2, … None: not sent."""
    extra_body: dict[str, Any] = Field(default={})
    """More fields of the request, for example {"chat_template_kwargs": {"enable_thinking": false}}. No secrets, and
    none of the fields that other settings stand for."""
    ask_again: Annotated[int, Field(ge=0)] = 2
    """Times a question is asked again after an unparsable reply."""
    concurrency: Count = 8
    """Requests under way at a time, over all tasks."""
    timeout_s: Positive = 60.0
    """Longest silence of the server within a request; the whole of it may last 30 times as long."""
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

    @field_validator("key_env", "key_file")
    @classmethod
    def _name_and_no_key(cls, value: str | None, about: ValidationInfo) -> str | None:
        if about.field_name == "key_env" and value is not None and not re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII):
            raise ValueError(" must be the name of an environment variable (letters, digits, _), not what is in it")
        if value is not None and is_pasted_key(value):
            raise ValueError(
                " looks like a key; write where the key is: the name of a variable or a file that holds it"
            )
        return value

    @field_validator("extra_body")
    @classmethod
    def _more_and_nothing_else(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in sorted(RESERVED & value.keys()):
            raise ValueError(f"{name} of a request is not to be replaced: {RESERVED_FOR[name]}; drop it")
        return value

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

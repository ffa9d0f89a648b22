"""What the judge is asked.

A *question* is one prompt: two items shown in one order as (a) and (b). Item text goes into the prompt by one pass of
replacement: what stands in an item is not expanded.
"""

import difflib
import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.endpoint.config import EndpointConfig
from jpo_dist.endpoint.many import Request
from jpo_dist.files import text_of
from jpo_dist.judge.config import PromptsConfig
from jpo_dist.paths import resolve
from jpo_dist.records.comparisons import Item
from jpo_dist.records.text import as_text

FIELDS = {
    "conditional": ("instruction", "response_a", "response_b"),
    "joint": ("instruction_a", "response_a", "instruction_b", "response_b"),
    "again": (),
}
_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")


class Prompts(NamedTuple):
    """The text of the template files."""

    conditional: str
    joint: str
    again: str


def read_prompts(config: PromptsConfig) -> Prompts:
    """Raises FileNotFoundError, and ValueError for a template that lacks a field or has one it should not have."""
    return Prompts(*[_read_template(name, getattr(config, name)) for name in Prompts._fields])


def _read_template(name: str, where: str) -> str:
    path = Path(resolve(where))
    if not path.is_file():
        raise FileNotFoundError(f"prompts.{name} ({where}): no such file, seen from {Path.cwd()}; correct the path")
    text = text_of(path).rstrip("\n")
    found, known = set(_FIELD.findall(text)), set(FIELDS[name])
    if unknown := sorted(found - known):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {{{near[0]}}}?" if near else f"it knows: {' '.join(sorted(known)) or 'none'}"
        raise ValueError(f"prompts.{name} ({where}): {{{unknown[0]}}} is not a field of it; {hint}")
    if missing := sorted(known - found):
        raise ValueError(f"prompts.{name} ({where}) lacks {{{missing[0]}}}; put it where that text shall stand")
    return text


def fill(template: str, values: dict[str, str]) -> str:
    """Every {field} of `values` replaced in one pass: a `{response_b}` inside a value stays as it is.

    >>> fill("{x} or {y}?", {"x": "{y}", "y": "2"})
    '{y} or 2?'
    """
    return _FIELD.sub(lambda found: values.get(found[1], found[0]), template)


def prompt_of(prompts: Prompts, a: Item, b: Item) -> str:
    """The question that shows `a` as (a) and `b` as (b)."""
    instruction_a, instruction_b = as_text(a.instruction), as_text(b.instruction)
    responses = {"response_a": a.response, "response_b": b.response}
    if a.instruction == b.instruction:
        return fill(prompts.conditional, {"instruction": instruction_a, **responses})
    return fill(prompts.joint, {"instruction_a": instruction_a, "instruction_b": instruction_b, **responses})


def request_of(prompt: str, attempt: int, config: EndpointConfig, again: str) -> Request:
    """`attempt` 0 asks the question; 1, 2, … ask it again: with a reminder, and with another seed.

    The prompt is the same but for the reminder: an unparsable reply is not shown to the model, or it would be judged
    by what it said before.
    """
    content = prompt if attempt == 0 else f"{prompt}\n\n{again}"
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [{"role": "user", "content": content}],
        config.max_tokens_field: config.max_tokens,
    }
    if config.temperature is not None:
        body["temperature"] = config.temperature
    if config.seed is not None:
        body["seed"] = config.seed + attempt
    if config.extra_body:
        body["extra_body"] = config.extra_body
    asked = json.dumps([config.name or config.base_url, body, attempt], sort_keys=True, separators=(",", ":"))
    return Request(hashlib.sha256(asked.encode()).hexdigest(), body)

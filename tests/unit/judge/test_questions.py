"""The judge's prompts, byte for byte: stored answers are found by them."""

import pytest

from jpo_dist.endpoint.config import EndpointConfig
from jpo_dist.judge.config import PromptsConfig
from jpo_dist.judge.questions import prompt_of, read_prompts, request_of
from jpo_dist.records.comparisons import Item, Message

TURNS = (
    Message("system", "Be {brief}."),
    Message("user", "Name a fruit."),
    Message("assistant", "A fig."),
    Message("user", "Another, nächste?"),
)
PEAR, FIELD, OAK = Item(TURNS, "A pear."), Item(TURNS, "{response_a}"), Item.of("Name a tree.", "An oak.")


@pytest.mark.parametrize(
    ("shown", "keys"),
    [
        (
            (PEAR, FIELD),
            (
                "7d03fd26069096fa1d085806ea209840c8cdc01ada069d17ea0a20bed583260b",
                "caf33044875ced9d96000f48a3915cbb68c2127ac9e5f22fab5a76588d99e3dc",
            ),
        ),
        (
            (PEAR, OAK),
            (
                "93f34a81fc7eb4576966691150db8a65f07aacd8e5d3db97a802d5efff7d618a",
                "d0b9e2b126a0ddbc3700a4d490f1f8595029db10ff0d821e2c80f6e058c0ac1e",
            ),
        ),
    ],
    ids=["conditional", "joint"],
)
def test_answers_paid_for_before_are_found_again(shown: tuple[Item, Item], keys: tuple[str, str]) -> None:
    """The keys were computed before instructions were written by records.text: they hash every byte of the request."""
    prompts, endpoint = read_prompts(PromptsConfig()), EndpointConfig(model="judge")
    prompt = prompt_of(prompts, *shown)
    assert "System: Be {brief}.\n\nUser: Name a fruit.\n\nAssistant: A fig.\n\nUser: Another, nächste?" in prompt
    assert tuple(request_of(prompt, attempt, endpoint, prompts.again).key for attempt in (0, 1)) == keys

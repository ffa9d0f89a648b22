"""The judge's prompts, byte for byte, since stored replies are found by them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jpo_dist.judge
from jpo_dist.endpoint.config import EndpointConfig
from jpo_dist.judge.config import PromptsConfig
from jpo_dist.judge.questions import fill, prompt_of, read_prompts, request_of
from jpo_dist.records.comparisons import Item, Message
from tests.support.openai_server import answers_in

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


PROMPTS = read_prompts(PromptsConfig())


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=200, deadline=None)
@given(
    TEXT, TEXT, st.sampled_from(["{response_b}", "{instruction}", "{0}", "{}", "%s", "{a.__class__}", "\\1", "\\g<0>"])
)
def test_item_text_stands_in_the_prompt_as_it_is(text, other, trap):
    """Cut at the fields, the template's own text and the values alternate: nothing was expanded, dropped or escaped."""
    a, b = Item.of(f"{trap}{text}", trap + other), Item.of(f"{trap}{text}", other + trap + "!")
    expected = PROMPTS.conditional.split("{instruction}", 1)
    head, rest = expected[0], expected[1]
    middle, rest = rest.split("{response_a}", 1)
    between, tail = rest.split("{response_b}", 1)
    assert prompt_of(PROMPTS, a, b) == head + f"{trap}{text}" + middle + a.response + between + b.response + tail


def test_fields_may_repeat_and_other_braces_stay():
    assert fill('{x} {x} {"k": 1} {unknown}', {"x": "1"}) == '1 1 {"k": 1} {unknown}'


def test_joint_prompt_shows_whole_items_and_turns_with_roles():
    chat = Item((Message("system", "Be kind."), Message("user", "Hi")), "Hello")
    prompt = prompt_of(PROMPTS, chat, Item.of("Name a thing.", "Rope"))
    assert "System: Be kind.\n\nUser: Hi" in prompt
    assert answers_in(prompt) == ("Hello", "Rope")
    assert prompt.index("Hello") < prompt.index("Name a thing.") < prompt.index("Rope")


def test_the_mark_of_an_encoding_is_no_part_of_a_template(tmp_path):
    (tmp_path / "mine.txt").write_text("{instruction} {response_a} {response_b}", encoding="utf-8-sig")
    assert read_prompts(PromptsConfig(conditional=str(tmp_path / "mine.txt"))).conditional[0] == "{"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{instruction} {response_a}", r"lacks \{response_b\}"),
        (
            "{instruction} {response_a} {response_b} {respons_a}",
            r"\{respons_a\} is not a field.*did you mean \{response_a",
        ),
    ],
)
def test_a_template_that_cannot_work_is_named(tmp_path, text, message):
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_prompts(PromptsConfig(conditional=str(tmp_path / "mine.txt")))


def test_a_request_is_known_by_all_that_is_sent():
    config = EndpointConfig(model="m")
    keys = {
        request_of("p", 0, config, "again").key,
        request_of("p", 1, config, "again").key,
        request_of("p", 2, config, "again").key,
        request_of("q", 0, config, "again").key,
        *(
            request_of("p", 0, EndpointConfig(**{"model": "m", **change}), "again").key
            for change in ({"model": "n"}, {"temperature": None}, {"max_tokens": 9}, {"seed": None}, {"name": "mine"})
        ),
    }
    assert len(keys) == 9
    elsewhere = [EndpointConfig(model="m", name="mine", base_url=url) for url in ("http://a/v1", "http://b/v1/")]
    assert len({request_of("p", 0, one, "again").key for one in elsewhere}) == 1
    same = EndpointConfig(model="m", timeout_s=1, concurrency=99, max_retries=0, input_price=3)
    assert request_of("p", 0, same, "again").key == request_of("p", 0, config, "other reminder").key
    body = request_of("p", 2, config, "again").body
    assert (body["messages"], body["seed"]) == ([{"role": "user", "content": "p\n\nagain"}], 2)


def test_packaged_templates_are_files_of_the_package():
    assert sorted(p.name for p in (Path(jpo_dist.judge.__file__).parent / "prompts").iterdir()) == [
        "again.txt",
        "conditional.txt",
        "joint.txt",
    ]

"""Every kind of constraint against hand-made responses, and properties over random text."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.evaluate.constraints import (
    KINDS,
    Constraint,
    check,
    constraints_held,
    constraints_of,
    instruction_with,
    passes,
)
from jpo_dist.evaluate.words_and_sentences import sentences, words
from jpo_dist.records.comparisons import Item

CASES: list[tuple[dict, list[str], list[str]]] = [
    (
        {"kind": "max_words", "n": 3},
        ["One two three.", "  one two \n", "well-known facts — yes", "3.5 is fine", "Ja, schön"],
        ["one two three four", "one—two–three four", "a\nb\nc\nd"],
    ),
    (
        {"kind": "min_words", "n": 3},
        ["one two three", "don't stop now!", "été est là"],
        ["one two", "one - two", "well-known fact", "… ! ? ."],
    ),
    (
        {"kind": "include_word", "word": "day"},
        ["What a DAY!", "day", '"Day" is a word', "a day-long walk", "day's end"],
        ["Today is fine", "days pass", "birthday", "d a y"],
    ),
    (
        {"kind": "avoid_word", "word": "the"},
        ["Cats sleep.", "They sleep there.", "Other themes"],
        ["The cat", "in the end", "THE", "over (the) hill", "the"],
    ),
    (
        {"kind": "lower_case"},
        ["cats sleep.", "3 cats", "été", "  naïve “quote”"],
        ["Cats sleep.", "cats Sleep", "123", "I am", "Élan", "ǅ a"],
    ),
    (
        {"kind": "bullets", "n": 2},
        ["- a\n- b", "* a\n\n* b\n", "• a\n•b", "Here you go:\n  - a\n  - b", "-\ta\n- b"],
        ["- a", "- a\n- b\n- c", "1. a\n2. b", "**a**\n**b**", "-a\n-b", "a - b\nc - d", "---\n- \n- a", "- a - b"],
    ),
    (
        {"kind": "ends_with_question"},
        ["Nice. Right?", "Why?  \n", 'He said "why?"', "Really?!?", "为什么？", "**Shall we?**", "(or not?)"],
        ["Why? Because.", "Why", "?!", "Really?!", "why? ok"],
    ),
    (
        {"kind": "one_sentence"},
        [
            "Cats sleep.",
            "Cats sleep",
            "Dr. Lee likes 3.5 cats, e.g. mine.",
            '"Really?" he asked.',
            "J. R. R. Tolkien wrote it.",
            "At 5 p.m. we eat.",
            "Well... maybe.",
            "Yes!!!",
            "(It works.)",
            "1. Sleep more.",
        ],
        [
            "Cats sleep. Dogs run.",
            "cats sleep. dogs run.",
            "Stop! Go.",
            "A heading\nA line",
            'He said "Go." She went.',
            "It is me and I. You too.",
            "We eat at 5 p.m. Then we sleep.",
            "It is 5. Go.",
            "你好。再见。",
        ],
    ),
    (
        {"kind": "json_keys", "keys": ["name", "reason"]},
        [
            '{"name": "a", "reason": "b"}',
            ' {"reason": null, "name": {"x": 1}}\n',
            '```json\n{"name": 1, "reason": 2}\n```',
            '```\n{"name": 1,\n "reason": 2}\n```',
        ],
        [
            '{"name": "a"}',
            '{"name": "a", "reason": "b", "x": 1}',
            '{"name": "a", "name": "a", "reason": "b"}',
            "{'name': 'a', 'reason': 'b'}",
            'Sure: {"name": "a", "reason": "b"}',
            '{"name": NaN, "reason": 1}',
            '["name", "reason"]',
            '{"name": "a", "reason": "b"',
            '{"Name": "a", "reason": "b"}',
            '{"name": 1, "reason": ' + "[" * 100_000,
            '{"name": 1, "reason": ' + "9" * 10_000 + "}",
        ],
    ),
    (
        {"kind": "starts_with", "word": "I think"},
        ["I think so.", "  i THINK, yes", '"I think"', "**I think** so"],
        ["I thinking", "Well, I think", "I", "Ithink"],
    ),
    ({"kind": "no_commas"}, ["Cats sleep.", "a; b"], ["Cats, dogs", "猫，狗", "1,000"]),
    ({"kind": "has_number"}, ["3 cats", "Route66", "٣ cats"], ["three cats", "IV cats"]),
    (
        {"kind": "sentences", "n": 2},
        ["Cats sleep. Dogs run.", "Dr. Lee sleeps at 3.5. He is fine!", "One line\nAnother", "Well... maybe. Yes?"],
        ["Cats sleep.", "Cats sleep. Dogs run. Cows eat.", "Dr. Lee likes 3.5 cats."],
    ),
    (
        {"kind": "ends_with", "word": "again"},
        ["Do it again.", 'He said "again!"', "AGAIN", "and **again**.", "once more, again?!"],
        ["again and on", "against", "do it gain", "Do it again. Now.", "reagain"],
    ),
]
POSITIVE = [(constraint, text) for constraint, good, _ in CASES for text in good]
NEGATIVE = [(constraint, text) for constraint, _, bad in CASES for text in bad]


def test_the_cases_cover_every_kind() -> None:
    assert {constraint["kind"] for constraint, _, _ in CASES} == set(KINDS)


@pytest.mark.parametrize(("constraint", "response"), POSITIVE)
def test_obeying_responses_pass(constraint: dict, response: str) -> None:
    assert check(constraint, response)


@pytest.mark.parametrize(("constraint", "response"), NEGATIVE)
def test_disobeying_responses_fail(constraint: dict, response: str) -> None:
    assert not check(constraint, response)


@pytest.mark.parametrize("constraint", [case[0] for case in CASES])
@pytest.mark.parametrize("response", ["", " \n\t", "...", "?", "—"])
def test_a_response_without_words_fails_everything(constraint: dict, response: str) -> None:
    assert not check(constraint, response)
    assert not passes([constraint], response)
    assert not passes([], response)


def test_equal_text_in_another_unicode_spelling_gives_the_same_verdict() -> None:
    assert check({"kind": "include_word", "word": "café"}, "A cafe\u0301 nearby")
    assert check({"kind": "include_word", "word": "don't"}, "I don\u2019t")


def test_passes_needs_every_constraint() -> None:
    both = [Constraint("max_words", 3), Constraint("ends_with_question")]
    assert passes(both, "Is it so?")
    assert not passes(both, "Is it so, my friend?")
    assert not passes(both, "It is.")


any_constraint = st.one_of(
    st.builds(Constraint, st.sampled_from(["max_words", "min_words", "bullets"]), st.integers(1, 60)),
    st.builds(
        Constraint,
        st.sampled_from(["include_word", "avoid_word", "starts_with"]),
        st.sampled_from(["the", "I think", "don't", "3.5", "a.b*c", "Ünder"]),
    ),
    st.builds(Constraint, st.sampled_from([name for name, kind in KINDS.items() if kind.argument is None])),
    st.lists(st.sampled_from(["name", "the reason", "x", "1"]), min_size=1, unique=True).map(
        lambda keys: Constraint("json_keys", tuple(keys))
    ),
)


@given(any_constraint, st.text(max_size=80), st.sampled_from(["", " ", "\n\n", "\t "]))
def test_outer_white_space_never_matters_and_no_text_crashes(constraint: Constraint, response: str, space: str) -> None:
    assert check(constraint, space + response + space) == check(constraint, response)


@given(any_constraint, st.text(max_size=60))
def test_a_constraint_survives_json(constraint: Constraint, response: str) -> None:
    value = json.loads(json.dumps(constraint.as_json()))
    assert Constraint.of(value) == constraint
    assert check(value, response) == check(constraint, response)


@given(st.lists(any_constraint, max_size=3), st.integers(0, 5), st.sampled_from(["Why nap?", "tell me, of rain."]))
def test_constraints_are_read_back_from_the_instruction(wanted: list[Constraint], wording: int, request_: str) -> None:
    assert list(constraints_of(instruction_with(request_, wanted, wording))) == wanted


@given(st.text(max_size=80), st.integers(1, 20))
def test_at_most_n_words_is_the_opposite_of_at_least_n_plus_one(response: str, n: int) -> None:
    if words(response):
        assert check(Constraint("max_words", n), response) != check(Constraint("min_words", n + 1), response)


@given(st.text(max_size=80), st.sampled_from(["the", "a", "1"]))
def test_including_a_word_is_the_opposite_of_avoiding_it(response: str, word: str) -> None:
    if words(response):
        assert check(Constraint("include_word", word), response) != check(Constraint("avoid_word", word), response)


@given(st.lists(st.sampled_from(["Cats sleep.", "Dogs run!", "Is it so?", "Dr. Lee ate 3.5 figs."]), max_size=5))
def test_joined_sentences_are_split_where_they_were_joined(parts: list[str]) -> None:
    assert sentences(" ".join(parts)) == parts


@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), min_size=1
    )
)
def test_every_json_object_passes_with_its_own_keys_only(value: dict) -> None:
    text = json.dumps(value)
    assert check(Constraint("json_keys", tuple(value)), text)
    assert not check(Constraint("json_keys", (*value, "more")), text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "max_word", "n": 1}, "did you mean max_words"),
        ({"kind": "max_words"}, "needs n"),
        ({"kind": "max_words", "n": 0}, "at least 1"),
        ({"kind": "max_words", "n": True}, "whole number"),
        ({"kind": "max_words", "n": "3"}, "whole number"),
        ({"kind": "lower_case", "n": 3}, "does not take n"),
        ({"kind": "avoid_word", "word": " the"}, "outer space"),
        ({"kind": "avoid_word", "word": ""}, "needs word"),
        ({"kind": "json_keys", "keys": []}, "needs keys"),
        ({"kind": "json_keys", "keys": ["a", "a"]}, "different"),
        ({}, "unknown"),
    ],
)
def test_a_malformed_constraint_is_named(value: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Constraint.of(value)


def test_importing_the_checkers_loads_no_heavy_package() -> None:
    heavy = "{'torch', 'numpy', 'pyarrow', 'ray'}"
    code = f"import sys, jpo_dist.evaluate.constraints; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_constraints_held_is_a_checker():
    asks = 'Name a fruit. Use at most 2 words. Do not use the word "mud".'
    assert [constraints_held(Item.of(asks, text)) for text in ("A pear", "Mud", "A lot of mud")] == [1.0, 0.5, 0.0]
    assert constraints_held(Item.of("Name a fruit.", "A pear.")) is None

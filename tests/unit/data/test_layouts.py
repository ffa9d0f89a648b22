"""Each layout by hand-made rows; the text rule against TRL's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.data.layouts import Names, layout_of, read_row
from jpo_dist.data.row_values import BadField
from jpo_dist.records.comparisons import Comparison, Item, Message


def turns(*contents: str, first: str = "user") -> list[dict[str, str]]:
    """Alternating turns."""
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]


def compile_row(row: dict) -> Comparison:
    layout = layout_of(row.keys())
    assert layout is not None
    found = read_row(layout, row, Names("here", "here")).comparison
    assert found is not None
    return found


def bad(row: dict) -> tuple[str, str]:
    with pytest.raises(BadField) as caught:
        compile_row(row)
    return caught.value.field, caught.value.reason


PAPER = {"i_chosen": "Name a fruit.", "r_chosen": "A pear.", "i_reject": "Name a fruit.", "r_reject": "A brick."}
SYSTEM = {"role": "system", "content": "Be brief."}


def test_paper_layout_with_equal_instructions_is_conditional():
    found = compile_row(PAPER)
    assert found == Comparison(Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "A brick."), 1.0, "here")
    assert found.protocol == "conditional"


def test_paper_layout_with_different_instructions_is_joint_and_keeps_text_exactly():
    row = {"i_chosen": " Où? 🍐\r\n", "r_chosen": "\tici ", "i_reject": "أين؟", "r_reject": "\ufffd U+2028:\u2028."}
    found = compile_row(row)
    assert (found.winner, found.loser) == (Item.of(" Où? 🍐\r\n", "\tici "), Item.of("أين؟", "\ufffd U+2028:\u2028."))
    assert found.protocol == "joint"


def test_explicit_strings():
    found = compile_row({"prompt": "2+2?", "chosen": "4", "rejected": "5", "weight": 2, "score": None})
    assert found == Comparison(Item.of("2+2?", "4"), Item.of("2+2?", "5"), 2.0, "here")


@pytest.mark.parametrize("prompt", ["2+2?", turns("2+2?")])
@pytest.mark.parametrize("whole", [False, True], ids=["response only", "prompt repeated"])
def test_explicit_messages_equal_explicit_strings(prompt, whole):
    before = ["2+2?"] if whole else []
    first = "user" if whole else "assistant"
    row = {"prompt": prompt, "chosen": turns(*before, "4", first=first), "rejected": turns(*before, "5", first=first)}
    assert compile_row(row) == compile_row({"prompt": "2+2?", "chosen": "4", "rejected": "5"})


def test_explicit_prompt_of_several_turns_and_a_response_of_several_turns():
    row = {
        "prompt": [SYSTEM, *turns("2+2?")],
        "chosen": turns("4", "Sure?", "Yes.", first="assistant"),
        "rejected": turns("5", first="assistant"),
    }
    found = compile_row(row)
    assert found.winner.instruction == (
        Message("system", "Be brief."), Message("user", "2+2?"), Message("assistant", "4"), Message("user", "Sure?"),
    )  # fmt: skip
    assert found.winner.response == "Yes."
    assert found.loser == Item((Message("system", "Be brief."), Message("user", "2+2?")), "5")
    assert found.protocol == "joint"


def test_explicit_prompt_below_a_system_turn_is_not_asked_twice():
    row = {"prompt": "2+2?", "chosen": [SYSTEM, *turns("2+2?", "4")], "rejected": [SYSTEM, *turns("2+2?", "5")]}
    assert compile_row(row).winner.instruction == (Message("system", "Be brief."), Message("user", "2+2?"))


def test_explicit_prompt_missing_from_a_whole_conversation_is_bad():
    row = {"prompt": "3+3?", "chosen": turns("2+2?", "4"), "rejected": turns("2+2?", "5")}
    assert bad(row) == ("chosen", "does not start with the prompt")


@pytest.mark.slow  # imports TRL
def test_implicit_messages_with_equal_turns_before_the_last_are_conditional_as_in_trl():
    from trl.data_utils import extract_prompt

    row = {"chosen": [SYSTEM, *turns("a", "b", "c", "yes")], "rejected": [SYSTEM, *turns("a", "b", "c", "no")]}
    found, theirs = compile_row(row), extract_prompt(row)
    assert found.protocol == "conditional"
    assert [m._asdict() for m in found.winner.instruction] == theirs["prompt"]
    assert [{"role": "assistant", "content": found.winner.response}] == theirs["chosen"]
    assert [{"role": "assistant", "content": found.loser.response}] == theirs["rejected"]


def test_implicit_messages_that_part_before_the_last_turn_are_joint_and_whole():
    found = compile_row({"chosen": turns("a", "b", "c", "yes"), "rejected": turns("a", "B", "c", "no")})
    assert found.protocol == "joint"
    assert [m.content for m in found.winner.instruction] == ["a", "b", "c"]
    assert [m.content for m in found.loser.instruction] == ["a", "B", "c"]


@pytest.mark.parametrize(
    ("chosen", "rejected", "instruction"),
    [
        ("The sky is blue.", "The sky is green.", "The sky is"),  # TRL's own example: the space goes to the response
        ("Q: fruit?\n\nA pear", "Q: fruit?\n\nOne brick", "Q: fruit?\n\n"),
        ("Q: fruit? A: Apple", "Q: fruit? A: Apricot", "Q: fruit? A:"),  # not "… A: Ap"
        ("Say it: don't", "Say it: don", "Say it:"),
        ("Name it. Yes. Sure.", "Name it. Yes.", "Name it."),  # a response may not be empty
        ("水果？苹果", "水果？苹子", "水果？"),  # no spaces: a full stop ends a word
        ("Q:  two", "Q:  spaces", "Q: "),
    ],
)
def test_implicit_strings_are_cut_between_words(chosen, rejected, instruction):
    found = compile_row({"chosen": chosen, "rejected": rejected})
    assert found.winner == Item.of(instruction, chosen[len(instruction) :])
    assert found.loser == Item.of(instruction, rejected[len(instruction) :])


@pytest.mark.slow  # imports TRL
@given(st.text("ab. \n", min_size=1), st.text("ab", min_size=1), st.text("ab", min_size=1))
def test_implicit_strings_never_lose_text_and_agree_with_trl_between_words(prompt, first, second):
    """With a first response word of its own on each side the common prefix ends at a space, where TRL cuts too."""
    from trl.data_utils import extract_prompt

    row = {"chosen": f"x{prompt} 1{first}", "rejected": f"x{prompt} 2{second}"}
    found, theirs = compile_row(row), extract_prompt(row)
    assert (found.winner, found.loser) == (
        Item.of(theirs["prompt"], theirs["chosen"]),
        Item.of(theirs["prompt"], theirs["rejected"]),
    )


@given(st.text("ab. \n？"), st.text("ab. \n？"))
def test_any_two_strings_are_split_without_loss_or_named_bad(chosen, rejected):
    try:
        found = compile_row({"chosen": chosen, "rejected": rejected})
    except BadField as error:
        assert error.reason in {"empty", "winner equals loser", "no common instruction"}  # noqa: PT017
        return
    for item, text in ((found.winner, chosen), (found.loser, rejected)):
        instruction = item.instruction[0].content
        assert instruction + item.response == text
        assert instruction.strip()
        assert item.response.strip()
        assert not (instruction[-1] in "ab" and item.response[0] in "ab"), "cut inside a word"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"r_chosen": ""}, ("r_chosen", "empty")),
        ({"r_chosen": " \r\n\u2003"}, ("r_chosen", "empty")),
        ({"i_chosen": None}, ("i_chosen", "not a string")),
        ({"r_reject": True}, ("r_reject", "not a string")),
        ({"r_reject": 42}, ("r_reject", "not a string")),
        ({"r_reject": ["x"]}, ("r_reject[0]", "not a message")),
        ({"i_reject": "a\0b"}, ("i_reject", "nul character")),
        ({"i_reject": "half a pear \ud83c"}, ("i_reject", "lone surrogate")),
        ({"r_reject": "A pear."}, ("r_reject", "winner equals loser")),
        ({"weight": None}, ("weight", "bad weight")),
        ({"weight": True}, ("weight", "bad weight")),
        ({"weight": "2"}, ("weight", "bad weight")),
        ({"weight": 0}, ("weight", "bad weight")),
        ({"weight": -1.5}, ("weight", "bad weight")),
        ({"weight": float("nan")}, ("weight", "not finite")),
        ({"weight": float("inf")}, ("weight", "not finite")),
        ({"weight": 10**400}, ("weight", "not finite")),
    ],
)
def test_bad_values_are_named(change, expected):
    assert bad(PAPER | change) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"chosen": [], "rejected": turns("a", "b")}, ("chosen", "empty")),
        ({"chosen": turns("a", "b"), "rejected": "b"}, ("rejected", "not a list of messages")),
        ({"chosen": None, "rejected": "b"}, ("chosen", "not a string")),
        ({"chosen": ["a", "b"], "rejected": turns("a", "b")}, ("chosen[0]", "not a message")),
        ({"chosen": [{"role": "user"}], "rejected": turns("a", "b")}, ("chosen[0].content", "missing field")),
        ({"chosen": [{"content": "a"}], "rejected": turns("a", "b")}, ("chosen[0].role", "missing field")),
        ({"chosen": turns("a", ""), "rejected": turns("a", "b")}, ("chosen[1].content", "empty")),
        (
            {"chosen": turns("a", "b"), "rejected": turns("a", "b", "c")},
            ("rejected[2].role", "last turn not assistant"),
        ),
        ({"chosen": turns("b", first="assistant"), "rejected": turns("a", "b")}, ("chosen", "no instruction")),
        ({"chosen": turns("a", "b"), "rejected": turns("a", "b")}, ("rejected", "winner equals loser")),
        ({"chosen": "one two", "rejected": "three four"}, ("chosen", "no common instruction")),
        ({"prompt": {"role": "user"}, "chosen": "x", "rejected": "y"}, ("prompt", "not a string")),
        ({"prompt": [], "chosen": "x", "rejected": "y"}, ("prompt", "empty")),
    ],
)
def test_bad_conversations_are_named(row, expected):
    assert bad(row) == expected


def test_more_columns_mean_the_more_explicit_layout():
    assert layout_of({"chosen", "rejected"}).columns == ("chosen", "rejected")
    assert layout_of({"id", "chosen", "rejected", "prompt"}).columns == ("prompt", "chosen", "rejected")
    assert layout_of({"chosen", "prompt"}) is None

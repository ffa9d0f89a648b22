"""Each layout by hand-made rows; the text rule against TRL's own."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.data.layouts import Names, layout_of, read_row
from jpo_dist.data.read import read
from jpo_dist.data.row_values import BadField
from jpo_dist.records.comparisons import Comparison, Item, Message, Rating
from tests.support.rows import HERE, bad, reading


def turns(*contents: str, first: str = "user") -> list[dict[str, str]]:
    """Alternating turns."""
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]


def compile_row(row: dict) -> Comparison:
    layout = layout_of(row.keys())
    assert layout is not None
    found = read_row(layout, row, Names("here", "here", "here")).comparison
    assert found is not None
    return found


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
        ({"weight": True}, ("weight", "bad weight")),
        ({"weight": "2"}, ("weight", "bad weight")),
        ({"weight": 0}, ("weight", "bad weight")),
        ({"weight": -1.5}, ("weight", "bad weight")),
        ({"weight": 1e300}, ("weight", "not from 1e-100 to 1e+100")),
        ({"weight": 1e-300}, ("weight", "not from 1e-100 to 1e+100")),
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
        ({"prompt": {"role": "user"}, "chosen": "x", "rejected": "y"}, ("prompt[0].content", "missing field")),
        ({"prompt": [], "chosen": "x", "rejected": "y"}, ("prompt", "empty")),
    ],
)
def test_bad_conversations_are_named(row, expected):
    assert bad(row) == expected


def test_more_columns_mean_the_more_explicit_layout():
    assert layout_of({"chosen", "rejected"}).columns == ("chosen", "rejected")
    assert layout_of({"id", "chosen", "rejected", "prompt"}).columns == ("prompt", "chosen", "rejected")
    assert layout_of({"chosen", "prompt"}) is None


def rated(row: dict[str, Any]) -> list[tuple[str, str, float]]:
    return [(r.item.instruction[-1].content, r.item.response, r.score) for r in reading(row).ratings]


@pytest.mark.parametrize(
    ("feedback", "winner", "tie"), [(0, "A pear.", False), (1, "Blue.", False), (2, "A pear.", True)]
)
def test_the_papers_verdicts_joint_and_conditional(feedback: int, winner: str, tie: bool):
    joint = {"instruction_0": "Fruit?", "response_0": "A pear.", "instruction_1": "Color?", "response_1": "Blue."}
    found = reading(joint | {"feedback": feedback}).comparison
    assert found is not None
    assert (found.winner.response, found.tie, found.protocol) == (winner, tie, "joint")
    same = {"instruction": "Say.", "response_0": "A pear.", "response_1": "Blue.", "feedback": feedback}
    found = reading(same).comparison
    assert found is not None
    assert (found.winner.response, found.tie, found.protocol) == (winner, tie, "conditional")


@pytest.mark.parametrize("feedback", [3, -1, None, "0", True, 0.5])
def test_a_verdict_is_0_1_or_2(feedback: Any):
    row = {"instruction": "Say.", "response_0": "a", "response_1": "b", "feedback": feedback}
    assert bad(row) == ("feedback", "not 0, 1 or 2")


def test_scored_pairs_give_a_comparison_and_two_ratings():
    row = {
        "prompt": "2+2?", "chosen": turns("2+2?", "4"), "rejected": turns("2+2?", "5"),
        "score_chosen": 8.5, "score_rejected": 3,
    }  # fmt: skip
    found = reading(row)
    good, poor = Item.of("2+2?", "4"), Item.of("2+2?", "5")
    assert found.comparison == Comparison(good, poor, source="a.jsonl:7")
    assert found.ratings == (Rating(good, 8.5, "a", "a.jsonl:7"), Rating(poor, 3.0, "a", "a.jsonl:7"))
    tied = reading(row | {"score_rejected": 8.5}).comparison
    assert tied is not None
    assert tied.tie
    assert bad(row | {"score_rejected": 9}) == ("score_chosen", "less than score_rejected")
    del row["prompt"]
    assert reading(row).comparison == found.comparison


@pytest.mark.parametrize("none", [None, "", float("nan")])
def test_a_pair_whose_scores_are_not_there_is_a_pair(none: Any):
    """As where rows with scores and rows without were put into one table."""
    row = {"prompt": "2+2?", "chosen": "4", "rejected": "5", "score_chosen": none, "score_rejected": none}
    found = reading(row)
    assert found.comparison == Comparison(Item.of("2+2?", "4"), Item.of("2+2?", "5"), source="a.jsonl:7")
    assert found.ratings == ()
    assert bad({**row, "score_chosen": 2})[0] == "score_rejected"


def test_confidence_and_weight_travel_and_are_checked():
    row = {"prompt": "2+2?", "chosen": "4", "rejected": "5", "weight": 2, "confidence": 0.75}
    found = reading(row).comparison
    assert found is not None
    assert (found.weight, found.confidence) == (2.0, 0.75)
    for value in (0, 1.5, "high", True, float("nan")):
        assert bad(row | {"confidence": value})[0] == "confidence"


def test_one_rated_response_a_row():
    assert rated({"prompt": "2+2?", "completion": "4", "score": 5}) == [("2+2?", "4", 5.0)]
    assert rated({"instruction": "2+2?", "response": "4", "score": -0.5}) == [("2+2?", "4", -0.5)]
    helpsteer = {"prompt": "2+2?", "response": "4", "helpfulness": 3, "correctness": 4, "verbosity": 1}
    assert rated(helpsteer) == [("2+2?", "4", 3.0)]
    assert bad({"prompt": "2+2?", "completion": "4", "score": None}) == ("score", "not a number")
    assert bad({"prompt": "2+2?", "completion": "4", "score": float("inf")}) == ("score", "not finite")


def test_thumbs():
    assert [rated({"prompt": "a", "completion": "b", "label": v})[0][2] for v in (True, False, 1, 0)] == [1, 0, 1, 0]
    assert bad({"prompt": "a", "completion": "b", "label": "yes"}) == ("label", "not true or false")
    chat = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}
    assert reading(chat | {"label": True}).ratings[0].item == Item.of("a", "b")


def test_several_responses_with_scores_in_a_row():
    flat = {"prompt": "2+2?", "responses": ["4", "5"], "scores": [1.0, 0.25]}
    assert rated(flat) == [("2+2?", "4", 1.0), ("2+2?", "5", 0.25)]
    assert bad(flat | {"scores": [1.0]}) == ("scores", "not as many as responses")
    ultra = {"instruction": "2+2?", "completions": [
        {"model": "m", "response": "4", "overall_score": 10, "fine-grained_score": 4.5},
        {"model": "n", "response": "5", "overall_score": 2},
    ]}  # fmt: skip
    assert rated(ultra) == [("2+2?", "4", 4.5), ("2+2?", "5", 2.0)]
    named = reading(ultra, HERE._replace(score=("overall_score",)))
    assert [r.score for r in named.ratings] == [10.0, 2.0]


def test_one_bad_response_does_not_hide_the_others():
    found = reading({"prompt": "2+2?", "responses": ["4", "", "5"], "scores": [1, 2, "x"]})
    assert [r.item.response for r in found.ratings] == ["4"]
    assert [(b.field, b.reason) for b in found.bad] == [("responses[1]", "empty"), ("scores[2]", "not a number")]


def test_a_ranking_is_a_scale_of_its_own():
    found = reading({"prompt": "2+2?", "responses": ["4", "four", "5"]})
    assert [(r.item.response, r.score, r.scale) for r in found.ratings] == [
        ("4", 0.0, "a.jsonl:7"), ("four", -1.0, "a.jsonl:7"), ("5", -2.0, "a.jsonl:7"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (("question", "good", "bad"), r"columns: \{prompt: …, chosen: good, rejected: bad\}"),
        (("problem", "incorrect_answer", "correct_answer"), "chosen: correct_answer, rejected: incorrect_answer"),
        (("x", "y_l", "y_w"), "chosen: y_w, rejected: y_l"),
        (("query", "neg", "pos"), "chosen: pos, rejected: neg"),
        (("system_prompt_a", "system_prompt_b", "talk_a", "talk_b"), "a: talk_a, b: talk_b"),
        (("query", "answer_1", "answer_2", "label"), r"layout: \{instruction: …, a: answer_1, b: answer_2, prefer: "),
        (("prompt", "Completion_A", "Completion_B", "vote"), r"a: Completion_A, b: Completion_B, prefer: "),
    ],
)
def test_two_responses_of_no_known_layout_are_not_told_to_become_one(tmp_path, columns, said):
    """`label` and `prompt` alone remind of thumbs up and down, which these rows are not."""
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps(dict.fromkeys(columns, "x")) + "\n")
    with pytest.raises(ValueError, match=said) as refused:
        read(str(file), on_bad_row="error")
    assert "completion label" not in str(refused.value)

"""What is read from a reply: one verdict, said to the end, after the reasoning; else nothing."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.endpoint.replies import Reply
from jpo_dist.judge.reading import letter_in, read_reply

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("(a)", "a"),
        ("(B)", "b"),
        ("答案：A", "a"),
        ("Réponse : (b)", "b"),
        ("Antwort: B", "b"),
        ("“(a)”", "a"),
        ('verdict: "B"', "b"),
        ("  b.\n", "b"),
        ("**(a)**", "a"),
        ("[[A]]", "a"),
        ("Output (b)", "b"),
        ("Answer: (a)", "a"),
        ("Final answer: **B**", "b"),
        ("The better answer is (b).", "b"),
        ("(b) is better.", "b"),
        ("Pair (a) is the better pair", "a"),
        ("（ａ）", "a"),
        ("b)", "b"),
        ("(a)\n(a)", "a"),
        ("Winner: A", "a"),
        ("The winner is B", "b"),
        ("Judgment: B", "b"),
        ("Decision: (a)", "a"),
        ("Preferred: B", "b"),
        ("Therefore, my verdict is [[A]].", "a"),
        ("Answer A wins.", "a"),
        ("I choose (b).", "b"),
        ("\\boxed{A}", "a"),
        ("My final answer is $\\boxed{\\text{B}}$.", "b"),
        ("I choose a bird.", None),
        ("Winner: A or B", None),
        ("[[A>>B]]", None),
        ("Answer (a) says more, answer (b) is rude.\n\nVerdict: (a)", "a"),
        ("<think>(b)\nno, rather</think>\n(a)", "a"),
        ("", None),
        ("(a)\n(b)", None),
        ("**Answer (a):**\nIt names a bird.", None),
        ("**Answer (a):**\nA bird.\n\n**Answer (b):**\nA tool.\n\nVerdict: (a)", "a"),
        ("(a) or (b)", None),
        ("(a) is worse", None),
        ("(a) is not better", None),
        ("A good answer.", None),
        ("Both are fine.", None),
        ("ab", None),
        ("(c)", None),
        ("<think>(a)", None),
        ("I would say a", None),
        ("(b)\nA better answer would name the bird.", "b"),
        ('(a)\nI would go with (b).\n{"score": 3}', None),
    ],
)
def test_a_label_is_a_whole_line_and_only_one(reply, letter):
    assert letter_in(reply) == letter


@pytest.mark.parametrize(
    "said",
    [
        "It is wrong.\nSo I'd go with (b).",
        "It is wrong. I'd go with (b).",
        "It is wrong.\nTherefore I prefer the second one, (b), over (a).",
        "Both are fine, but I would choose **(b)** in the end.",
        "Hence my pick is [[B]] here.",
        "I'd pick B, since it is right.",
        "I'd vote for answer b, since it is right.",
        "It is wrong, so response (b) is clearly better than (a).",
        "It is wrong: B wins on facts.",
        "It is worse than (b) by far.",
        "The better response is clearly (b): it is right.",
        "Of the two, “b” or (a), response b is the best one.",
    ],
)
@pytest.mark.parametrize("heading", ["Response (a)", "**Answer (a)**", "(a)", "A", '{"answer": "(a)"}'])
def test_a_label_before_a_sentence_that_decides_for_the_other_is_no_verdict(heading: str, said: str) -> None:
    reply = f"{heading}\n{said}"
    assert letter_in(reply) is None
    assert letter_in(re.sub(r"\b[abAB]\b", lambda found: "abAB"["baBA".index(found[0])], reply)) is None
    assert letter_in(f"{said}\n\n{heading}\nIt is wrong.") is None
    assert letter_in(f"{said}\n\n{heading}") == "a", "said last, it is the verdict"


@pytest.mark.parametrize(
    "said",
    [
        "It is better than (b).",
        "I prefer it to (b), and I'd choose (a) over (b).",
        "I prefer A over B.",
        "(b) is worse, and (b) is not better in any way.",
        "I would not go with (b), and I don't prefer (b).",
        "(b) names a bird. It chose a better word, though, than most.",
        "I'd go with a bird.",
        "B is wrong. Answer (a) is better.",
        "Better: A. Worse: B.",
    ],
)
def test_a_label_before_sentences_that_do_not_decide_for_the_other_is_the_verdict(said: str) -> None:
    assert letter_in(f"(a)\n{said}") == "a"


@pytest.mark.parametrize(
    "reply",
    [
        "Look at the answers.\n(a)\nIt may be off.\n</think>\n\n(b)",  # the template wrote the opening
        "<think>\n(a)\n</think>\n(b)",
        "<think>the text has a </think> in it\n(a)\n</think>\n(b)",
        "<THINKING>(a)</THINKING>(b)",
        "<reasoning>\n(a)\n</reasoning>\n<answer>(b)</answer>",
        "(a)\n</reasoning>\n<verdict>\nb\n</verdict>",
        "<thought type='long'>(a)</thought>\n(b)",
        "[THINK]\n(a)\n[/THINK](b)",
        "(a)\n[/THINK]\n(b)</s>",
        "◁think▷\n(a)\n◁/think▷\n(b)",
        "<seed:think>\n(a)\n</seed:think>\n(b)",
        "<|START_THINKING|>\n(a)\n<|END_THINKING|><|START_RESPONSE|>(b)<|END_RESPONSE|>",
        "<|channel|>analysis<|message|>\n(a)\n<|end|><|start|>assistant<|channel|>final<|message|>(b)<|return|>",
        '<|channel|>analysis<|message|>\n(a)<|end|><|channel|>final <|constrain|>json<|message|>{"verdict": "b"}',
        "analysisThey differ.\n(a)\nassistantfinal(b)",
        "<think>one</think>\n<think>\n(a)\n</think>\n(b)<|im_end|>",
    ],
)
def test_reasoning_is_no_verdict_with_or_without_its_opening(reply: str) -> None:
    assert letter_in(reply) == "b"


@pytest.mark.parametrize(
    "reply",
    [
        "<think>\n(a)",
        "  <reasoning>\n(a)\nand so",
        "[THINK](a)\n",
        "<think>one</think>\n<think>\n(a)",
        "<|channel|>analysis<|message|>\n(a)\n",
        "analysisThey differ.\n(a)\n",
        "(a)\n</think>",
    ],
)
def test_reasoning_without_an_answer_is_no_verdict(reply: str) -> None:
    assert letter_in(reply) is None


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ('{"verdict": "(b)"}', "b"),
        ('{"chosen": "B", "rejected": "A"}', "b"),
        ('{"preferred_response": "B"}', "b"),
        ('{"selected_option": "(b)"}', "b"),
        ('{"worse": "A", "loser": "A", "rejected": "A"}', None),
        ('{"VERDICT": "B"}', "b"),
        ('{"Final Verdict": "answer b"}', "b"),
        ('{"winner": "response_b"}', "b"),
        ('{"winner": "Assistant B"}', "b"),
        ('{"Verdict": {"Label": "(B)"}}', "b"),
        ('```json\n{\n  "reason": "(a)\nis short",\n  "verdict": "(b)"\n}\n```', "b"),
        ('Here it is:\n```\n{"better_answer": "[[B]]"}\n```\nI hope it helps.', "b"),
        ('{"result": {"verdict": "b", "why": "a"}}', "b"),
        ('{"verdict": {"label": "b", "confidence": 0.9}}', "b"),
        ('[{"verdict": "b"}]', "b"),
        ('{"scores": {"a": 3, "b": 9}, "steps": [{"best": "a"}, {"best": "b"}], "choice": "b"}', "b"),
        ('{"verdict": "b"}\n{"verdict": "b"}', "b"),
        ('The set {x} is small.\n{"verdict": "b"}', "b"),
        ('</think>{"verdict": "b"}', "b"),
        ('{"verdict": "b"}\n(b)', "b"),
        ('{"verdict": "b"}\n(a)', None),
        ('{"verdict": "b", "verdict": "a"}', None),
        ('{"verdict": "b"} or {"verdict": "a"}', None),
        ('{"verdict": "a", "inner": {"verdict": "b"}, "reason": "It is', None),
        ('{"labels": [\n"(a)",\n"(b)"\n]}', None),
        ('{"verdict": "tie"}', None),
        ('{"verdict": null}', None),
        ('{"verdict": "a or b"}', None),
        ('{"scores": {"a": 3, "b": 9}}', None),
        ('{"a": ' * 5000, None),
    ],
)
def test_a_verdict_in_json_is_the_value_of_its_key(reply: str, letter: str | None) -> None:
    assert letter_in(reply) == letter


@pytest.mark.parametrize("loop", ["[[", "*", "the better ", "(b) is clearly ", "answer ", " "])
def test_a_reply_that_ends_in_a_loop_is_read_at_once(loop: str) -> None:
    assert letter_in("(a)\nIt is so " + loop * 5000 + "x") == "a"


def reply_of(text: str, reason: str, tokens: int = 4, estimated: bool = False) -> Reply:
    return Reply("k", text, 9, tokens, estimated, 0.1, "s", reason)


@pytest.mark.parametrize(
    ("reply", "letter", "why"),
    [
        (reply_of("(a)", "stop"), "a", ""),
        (reply_of("(a)", "eos_token"), "a", ""),
        (reply_of("(a)", ""), "a", ""),
        (reply_of("(a)\nThe first one names a", "length"), None, "cut off"),
        (reply_of("(a)", "MAX_TOKENS"), None, "cut off"),
        (reply_of("(a)", "", tokens=16), None, "cut off"),  # records of old runs do not say
        (reply_of("(a)", "", tokens=16, estimated=True), "a", ""),
        (reply_of("(a)", "stop", tokens=16), "a", ""),
        (reply_of("(a)", "content_filter"), None, "withheld"),
        (reply_of("(a)", "refusal"), None, "refused"),
        (reply_of("(a)", "tool_calls"), None, "a call of a tool"),
        (reply_of("(a)", "abort"), None, "broken off"),
        (reply_of(" ", "stop"), None, "an empty reply"),
        (reply_of("Both.", "stop"), None, "no label"),
    ],
)
def test_only_a_reply_that_was_said_to_its_end_has_a_verdict(reply: Reply, letter: str | None, why: str) -> None:
    read = read_reply(reply, 16)
    assert read.letter == letter
    assert read.why.startswith(why)
    assert bool(read.why) == (letter is None)


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_reading_a_reply_never_fails(reply):
    assert letter_in(reply) in ("a", "b", None)


@settings(max_examples=300, deadline=None)
@given(st.recursive(st.none() | st.booleans() | TEXT | st.sampled_from(["a", "(b)"]), lambda inner: st.lists(inner) |
                    st.dictionaries(TEXT | st.sampled_from(["verdict", "winner", "x"]), inner), max_leaves=8),
       st.integers(0, 60))  # fmt: skip
def test_reading_json_never_fails_and_no_cut_object_is_a_verdict(value: object, kept: int) -> None:
    whole = json.dumps(value)
    assert letter_in(whole) in ("a", "b", None)
    if isinstance(value, dict) and kept < len(whole):
        assert letter_in(whole[:kept]) is None

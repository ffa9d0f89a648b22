"""Public data sets of pairs whose columns say by their names which response is better, as data."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.own import RATING_NAMES, rated_too
from jpo_dist.data.layouts.pairs import Pair, pairs, read_pair
from jpo_dist.data.layouts.values import of
from jpo_dist.data.layouts.verdicts import Always
from jpo_dist.data.messages.turns import conversation, messages
from jpo_dist.data.row_values import Row

_BIRD = "Name a bird."
_EQUAL = "; equal ratings beside them: a tie"


def _chat(*answers: str) -> list[dict[str, str]]:
    texts = (_BIRD, *answers)
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def _with_ratings(row: Row, names: Names, form: Pair) -> Reading:
    return rated_too(read_pair(row, names, form), row, names)


def _named(name: str, asked: str, winner: str, loser: str, form: str = "prompt", **about: Any) -> Layout:
    """The layout of rows with one instruction, the response that won, and the one that lost, perhaps with ratings."""
    pair = Pair(winner, loser, Always(), of(asked, form=form))
    turns: Any = _chat() if form == "turns" else _BIRD
    example = {asked: turns, winner: "A wren.", loser: "A spoon."}
    if "public" in about:
        about = {"example": (example,), **about}
    rated = {"also": RATING_NAMES, "numbers": frozenset(RATING_NAMES), "means": f"{winner} is better{_EQUAL}"}
    return pairs(name, pair, **{"read": partial(_with_ratings, form=pair), **rated, **about})


def _is_text(row: Row, column: str) -> bool:
    return isinstance(row.get(column), str) and bool(row[column].strip())


def _are_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)


TRAJECTORY = _named(
    "ultrainteract",
    "trajectory",
    "chosen",
    "rejected",
    form="turns",
    fits=lambda row: _is_text(row, "chosen") and _are_turns(row.get("trajectory")),
    carries_nothing=frozenset({"task", "dataset", "id", "parent_id"}),
    public="UltraInteract_pair (openbmb)",
)
_CHATS = {"chosen_conversations": _chat("A wren."), "rejected_conversations": _chat("A spoon.")}


def _beside() -> Iterator[Layout]:
    """A response under its usual name, and one that lost to it beside it (ms-swift's older form, H2O)."""
    answers = {
        "query": ("response",), "prompt": ("response", "completion", "output", "answer"),
        "instruction": ("output", "response", "answer", "completion"), "question": ("answer", "response"),
    }  # fmt: skip
    public = {"public": "ms-swift (DPO), its older form; H2O LLM Studio"}
    for asked, names in answers.items():
        for answer in names:
            losers = dict.fromkeys((f"rejected_{answer}", f"{answer}_rejected", "rejected_answer", "rejected"))
            for loser in losers:
                about = public if (answer, loser) == ("response", "rejected_response") and asked == "query" else {}
                yield _named("rejected-beside", asked, answer, loser, fits=partial(_is_text, column=loser), **about)


# Code that trains on it takes response_j for the preferred one, which had more votes; its card was not read.
STACK = pairs(
    "stack-exchange-paired",
    Pair("response_j", "response_k", Always(), of("question")),
    public="stack-exchange-paired (lvwerra)",
    carries_nothing=frozenset({"qid", "date", "metadata"}),
    example=({"question": _BIRD, "response_j": "A wren.", "response_k": "A spoon."},),
)
HELPSTEER3_EDIT = pairs(
    "helpsteer3-edit",
    Pair("good_edited_response", "bad_edited_response", Always(), of("context", form="turns")),
    public="HelpSteer3, quality of edits (nvidia)",
    carries_nothing=frozenset({"domain", "language", "original_response", "feedback"}),
    example=({"context": _chat(), "good_edited_response": "A wren.", "bad_edited_response": "A spoon."},),
)
ARGILLA = _named(
    "rated-pair",
    "instruction",
    "chosen_response",
    "rejected_response",
    carries_nothing=frozenset({"source", "chosen_model", "rejected_model", "metadata"}),
    public="UltraFeedback binarized (argilla), distilabel-math-preference-dpo",
    example=(
        {"instruction": _BIRD, "chosen_response": "A wren.", "rejected_response": "A spoon.",
         "chosen_avg_rating": 4.5, "rejected_avg_rating": 2.0},
    ),
)  # fmt: skip
ALPACA = pairs(
    "alpaca-pair",
    Pair("chosen", "rejected", Always(), of("instruction", "input", system=("system",), history="history")),
    public="LLaMA-Factory: alpaca with ranking",
    example=({"instruction": "Name one.", "input": "Birds", "chosen": "A wren.", "rejected": "A spoon."},),
)


def _sharegpt(conversation: str) -> Layout:
    where = of(conversation, form="turns", system=("system",))
    turns = [{"from": "human", "value": _BIRD}]
    example = {"conversations": turns, "chosen": {"from": "gpt", "value": "A wren."},
               "rejected": {"from": "gpt", "value": "A spoon."}}  # fmt: skip
    return pairs(
        "sharegpt-pair",
        Pair("chosen", "rejected", Always(), where),
        fits=partial(_is_one_message, column="chosen"),
        public="LLaMA-Factory: sharegpt with ranking",
        example=(example,) if conversation == "conversations" else (),
    )


OPENAI = pairs(
    "openai-preference",
    Pair("preferred_output", "non_preferred_output", Always(), of("input", form="turns")),
    public="OpenAI: files for preference fine-tuning",
    example=({"input": {"messages": _chat()}, "preferred_output": _chat("A wren.")[1:],
              "non_preferred_output": _chat("A spoon.")[1:]},),
)  # fmt: skip


def _swift(row: Row, names: Names) -> Reading:
    """A conversation, and another response to its last turn."""
    own = messages(row["messages"], "messages")
    before = conversation(own, "messages").instruction
    return read_pair({**row, "chosen": own, "before": before}, names, _SWIFT)


_SWIFT = Pair("chosen", "rejected_response", Always(), of("before", form="turns"))
SWIFT = (
    Layout(
        "swift",
        "pairs",
        ("messages", "rejected_response"),
        _swift,
        wholes=("messages",),
        public="ms-swift (DPO)",
        means="the answer at the end of messages is better",
        example=({"messages": _chat("A wren."), "rejected_response": "A spoon."},),
    ),
    pairs("swift", Pair("messages", "rejected_messages", Always())),
)


def _is_one_message(row: Row, column: str) -> bool:
    """An object, not a list: elsewhere the conversation is a copy of what both sides begin with."""
    return isinstance(row.get(column), dict)


ALPACA_AND_SHAREGPT = (ALPACA, _sharegpt("conversations"), _sharegpt("messages"), TRAJECTORY)
"""Their columns are those of `implicit` and more: they come before it."""
OF_PAIRS = (
    HELPSTEER3_EDIT, STACK, ARGILLA, OPENAI,
    _named(
        "chosen-response", "messages", "chosen_response", "rejected_response", form="turns",
        public="When2Call (nvidia), NeMo RL: binary preferences",
    ),
    _named("chosen-response", "prompt", "chosen_response", "rejected_response"),
    _named("chosen-response", "question", "chosen_response", "rejected_response"),
    _named("response-chosen", "question", "response_chosen", "response_rejected", public="MedicalGPT (shibing624)"),
    _named("response-chosen", "prompt", "response_chosen", "response_rejected"),
    _named("accepted", "input", "accepted", "rejected", public="Code-Preference-Pairs (Vezora)"),
    _named("accepted", "prompt", "accepted", "rejected"),
    _named("chosen-reject", "prompt", "chosen", "reject", public="REBEL: UltraFeedback with rewards (Cornell-AGI)"),
    pairs(
        "pair-messages", Pair("chosen_messages", "rejected_messages", Always()),
        public="LLaMA-Factory, its version 1: pairs as they are trained on",
        example=({"chosen_messages": _chat("A wren."), "rejected_messages": _chat("A spoon.")},),
    ),
    pairs(
        "torchtune", Pair("chosen_conversations", "rejected_conversations", Always()),
        public="torchtune: preference data", example=(_CHATS,),
    ),
)  # fmt: skip
"""Of two that fit a row the one with more columns comes first: `swift` has columns of the first."""
BESIDE = tuple(_beside())

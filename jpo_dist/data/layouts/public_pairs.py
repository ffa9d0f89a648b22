"""Public data sets whose rows are pairs, by their real columns; the direction of each label is that of its card.

Where a direction could not be read on a card, the line says so.
"""

from functools import partial

from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.own import RATING_NAMES, rated_too
from jpo_dist.data.layouts.pairs import Pair, pairs, read_pair
from jpo_dist.data.layouts.values import of, texts
from jpo_dist.data.layouts.verdicts import Always, Better, Flags, Labels, Sign
from jpo_dist.data.messages.turns import conversation, messages
from jpo_dist.data.row_values import BadField, Row

_BIRD = "Name a bird."
_WINNER = Labels(
    "winner", a=("model_a",), b=("model_b",), tie=("tie", "tie (inconsistent)", "tie (bothbad)", "both_bad")
)
"""Chatbot Arena: of two bad answers neither is better, which is a tie. A judge's verdict that changes with the order
(MT-Bench) is one too."""


def _chat(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": _BIRD}, {"role": "assistant", "content": answer}]


SHP = pairs(
    "shp",
    Pair("human_ref_A", "human_ref_B", Labels("labels", a=(1,), b=(0,)), of("history")),
    public="SHP, SHP-2 (stanfordnlp)",
    carries_nothing=frozenset(
        {"post_id", "domain", "upvote_ratio", "c_root_id_A", "c_root_id_B", "created_at_utc_A", "created_at_utc_B",
         "score_A", "score_B", "seconds_difference", "score_ratio"}
    ),
    example=({"history": _BIRD, "human_ref_A": "A wren.", "human_ref_B": "A spoon.", "labels": 1},),
)  # fmt: skip
HELPSTEER2 = pairs(
    "helpsteer2-preference",
    Pair("response_1", "response_2", Sign("preference_strength"), of("prompt", form="marked")),
    public="HelpSteer2, its preferences (nvidia)",
    carries_nothing=frozenset(
        {"split", "preference_statement", "preference_elaboration", "three_most_similar_preferences",
         "all_preferences_unprocessed"}
    ),
    example=({"prompt": _BIRD, "response_1": "A spoon.", "response_2": "A wren.", "preference_strength": 2},),
)  # fmt: skip
HELPSTEER3 = pairs(
    "helpsteer3",
    Pair("response1", "response2", Sign("overall_preference"), of("context", form="turns")),
    public="HelpSteer3, its preferences (nvidia)",
    carries_nothing=frozenset({"domain", "language", "individual_preference"}),
    example=({"context": _chat("")[:1], "response1": "A wren.", "response2": "A spoon.", "overall_preference": -3},),
)
HELPSTEER3_EDIT = pairs(
    "helpsteer3-edit",
    Pair("good_edited_response", "bad_edited_response", Always(), of("context", form="turns")),
    public="HelpSteer3, quality of edits (nvidia)",
    carries_nothing=frozenset({"domain", "language", "original_response", "feedback"}),
    example=({"context": _chat("")[:1], "good_edited_response": "A wren.", "bad_edited_response": "A spoon."},),
)
WEBGPT = pairs(
    "webgpt",
    Pair("answer_0", "answer_1", Better("score_0", "score_1"), of("question.full_text")),
    public="WebGPT comparisons (openai)",
    carries_nothing=frozenset({"quotes_0", "quotes_1", "tokens_0", "tokens_1"}),
    example=({"question": {"full_text": _BIRD}, "answer_0": "A wren.", "answer_1": "A spoon.", "score_0": 1.0,
             "score_1": -1.0},),
)  # fmt: skip
ARENA = pairs(
    "arena",
    Pair("conversation_a", "conversation_b", _WINNER, turn="turn"),
    public="Chatbot Arena conversations, arena-human-preference-100k and -140k, MT-Bench judgments (lmsys, lmarena-ai)",
    carries_nothing=frozenset(
        {"question_id", "id", "model_a", "model_b", "judge", "anony", "language", "tstamp", "timestamp",
         "openai_moderation", "toxic_chat_tag", "conv_metadata", "is_code", "is_refusal", "dedup_tag", "category_tag",
         "judge_hash", "evaluation_session_id", "evaluation_order", "full_conversation", "occupational_tags"}
    ),
    example=({"model_a": "m1", "model_b": "m2", "winner": "model_a", "conversation_a": _chat("A wren."),
             "conversation_b": _chat("A spoon.")},),
)  # fmt: skip


def _kaggle(row: Row, names: Names) -> Reading:
    """Turns as JSON text of lists: what the user said, and what each model answered."""
    asked = texts(row["prompt"], "prompt")
    sides = {side: texts(row[side], side) for side in ("response_a", "response_b")}
    for side, answers in sides.items():
        if len(answers) != len(asked):
            raise BadField(side, "not as many as prompts")
    spoken = {
        side: [
            {"role": role, "content": text}
            for turn in zip(asked, answers, strict=True)
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
        for side, answers in sides.items()
    }
    return read_pair({**row, **spoken}, names, Pair("response_a", "response_b", _FLAGS))


_FLAGS = Flags("winner_model_a", "winner_model_b", "winner_tie")
KAGGLE = Layout(
    "arena-kaggle",
    "pairs",
    ("prompt", "response_a", "response_b", *_FLAGS.paths),
    _kaggle,
    numbers=frozenset(_FLAGS.paths),
    carries_nothing=frozenset({"id", "model_a", "model_b"}),
    public="Chatbot Arena on Kaggle, lmsys-arena-human-preference-55k",
    means=_FLAGS.means("response_a", "response_b"),
    example=({"model_a": "m1", "model_b": "m2", "prompt": f'["{_BIRD}"]', "response_a": '["A wren."]',
             "response_b": '["A spoon."]', "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0},),
)  # fmt: skip
ARENA_TEXT = pairs(
    "arena-text",
    Pair("response_a", "response_b", _WINNER, of("prompt")),
    public="Chatbot Arena on Kaggle, the form without turns (WSDM Cup)",
    carries_nothing=frozenset({"id", "model_a", "model_b", "language"}),
    example=({"prompt": _BIRD, "response_a": "A spoon.", "response_b": "A wren.", "winner": "model_b"},),
)
_PKU = {"prompt": _BIRD, "response_0": "A wren.", "response_1": "A spoon.", "better_response_id": 0}
_PKU_NOTHING = frozenset(
    {"prompt_source", "response_0_source", "response_1_source", "is_response_0_safe", "is_response_1_safe",
     "response_0_harm_category", "response_1_harm_category", "response_0_severity_level", "response_1_severity_level",
     "response_0_sha256", "response_1_sha256"}
)  # fmt: skip
PKU = pairs(
    "pku-saferlhf",
    Pair("response_0", "response_1", Labels("better_response_id", a=(0,), b=(1,)), of("prompt")),
    public="PKU-SafeRLHF (PKU-Alignment), which is more helpful",
    # Two verdicts a row: `layout: pku-saferlhf-safer` reads the other.
    carries_nothing=_PKU_NOTHING | {"safer_response_id"},
    example=(_PKU,),
)
PKU_SAFER = pairs(
    "pku-saferlhf-safer",
    Pair("response_0", "response_1", Labels("safer_response_id", a=(0,), b=(1,)), of("prompt")),
    public="PKU-SafeRLHF (PKU-Alignment), which is safer: where it is named, or there is no better_response_id",
    carries_nothing=_PKU_NOTHING | {"better_response_id"},
    example=({"prompt": _BIRD, "response_0": "A spoon.", "response_1": "A wren.", "safer_response_id": 1},),
)
TLDR_TEMPLATES = (
    "SUBREDDIT: r/{info.subreddit}\n\nTITLE: {info.title}\n\nPOST: {info.post}\n\nTL;DR:",
    "TITLE: {info.title}\n\nARTICLE: {info.article}\n\nTL;DR:",
)
"""The words around a Reddit post are those of the paper (Stiennon et al., arXiv 2009.01325); around an article of
CNN/Daily Mail they are ours."""
TLDR = of("info.post", template=TLDR_TEMPLATES)
TLDR_NOTHING = frozenset({"split", "worker", "batch", "extra"})
TLDR_PAIRS = pairs(
    "tldr-comparisons",
    Pair("summaries.0.text", "summaries.1.text", Labels("choice", a=(0,), b=(1,)), TLDR),
    public="TL;DR comparisons (openai/summarize_from_feedback)",
    carries_nothing=TLDR_NOTHING,
    example=({"info": {"post": "I saw a wren.", "title": "A bird", "subreddit": "birds"},
             "summaries": [{"text": "Saw a wren."}, {"text": "A spoon."}], "choice": 0},),
)  # fmt: skip
# Code that trains on it takes response_j for the preferred one, which had more votes; its card was not read.
STACK = pairs(
    "stack-exchange-paired",
    Pair("response_j", "response_k", Always(), of("question")),
    public="stack-exchange-paired (lvwerra)",
    carries_nothing=frozenset({"qid", "date", "metadata"}),
    example=({"question": _BIRD, "response_j": "A wren.", "response_k": "A spoon."},),
)


IN_WORDS = Pair("chosen_response", "rejected_response", Always(), of("instruction"))


def _in_words(row: Row, names: Names) -> Reading:
    return rated_too(read_pair(row, names, IN_WORDS), row, names)


ARGILLA = pairs(
    "rated-pair",
    IN_WORDS,
    read=_in_words,
    also=RATING_NAMES,
    numbers=frozenset(RATING_NAMES),
    carries_nothing=frozenset({"source", "chosen_model", "rejected_model", "metadata"}),
    public="UltraFeedback binarized (argilla), distilabel-math-preference-dpo",
    means="chosen_response is better; equal ratings beside them: a tie",
    example=(
        {"instruction": _BIRD, "chosen_response": "A wren.", "rejected_response": "A spoon.",
         "chosen_avg_rating": 4.5, "rejected_avg_rating": 2.0},
    ),
)  # fmt: skip
# As programs that train on it take `status`; its card was not read.
_STATUS = Labels("status", a=("swapped", "unchanged"), b=(), tie=("tie",))
# Judged anew: what lost there has changed places (swapped), and both sides of a tie are kept as they were.
ORCA = pairs(
    "distilabel-orca",
    Pair("chosen", "rejected", _STATUS, of("input", system=("system",))),
    fits=lambda row: row.get("status") in _STATUS.a + _STATUS.tie,
    carries_nothing=frozenset(
        {"generations", "order", "rating", "rationale", "labelling_model", "labelling_prompt",
         "raw_labelling_response", "original_chosen", "original_rejected", "chosen_score", "in_gsm8k_train"}
    ),
    public="distilabel-intel-orca-dpo-pairs (argilla)",
    means="chosen is better; status: tie: a tie",
    example=({"system": "", "input": _BIRD, "chosen": "A wren.", "rejected": "A spoon.", "status": "swapped"},),
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
    example=({"input": {"messages": _chat("")[:1]}, "preferred_output": _chat("A wren.")[1:],
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


ALPACA_AND_SHAREGPT = (ORCA, ALPACA, _sharegpt("conversations"), _sharegpt("messages"))
"""Their columns are those of `implicit` and more: they come before it."""
OF_PAIRS = (
    SHP, HELPSTEER2, HELPSTEER3, HELPSTEER3_EDIT, WEBGPT, ARENA, KAGGLE, ARENA_TEXT, PKU, PKU_SAFER, TLDR_PAIRS, STACK,
    ARGILLA, OPENAI, *SWIFT,
)  # fmt: skip

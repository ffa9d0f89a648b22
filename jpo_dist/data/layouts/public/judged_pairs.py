"""Public data sets whose rows are pairs, by their real columns; the direction of each label is that of its card.

Where a direction could not be read on a card, the line says so.
"""

from jpo_dist.data.layouts.layout import Layout, Names, Reading
from jpo_dist.data.layouts.pairs import Pair, pairs, read_pair
from jpo_dist.data.layouts.values import is_none, of, texts
from jpo_dist.data.layouts.verdicts import Better, Flags, Labels, Nearer, Sign
from jpo_dist.data.messages.written import anything_in
from jpo_dist.data.row_values import BadField, Row

_BIRD = "Name a bird."
_WINNER = Labels(
    "winner", a=("model_a",), b=("model_b",), tie=("tie", "tie (inconsistent)", "tie (bothbad)", "both_bad")
)
"""Chatbot Arena: of two bad answers neither is better, which is a tie. A judge's verdict that changes with the order
(MT-Bench) is one too."""


def chat(answer: str) -> list[dict[str, str]]:
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
    Pair("response_1", "response_2", Sign("preference_strength", most=3), of("prompt", form="marked")),
    is_shared=True,
    public="HelpSteer2, its preferences (nvidia)",
    carries_nothing=frozenset(
        {"split", "preference_statement", "preference_elaboration", "three_most_similar_preferences",
         "all_preferences_unprocessed"}
    ),
    example=({"prompt": _BIRD, "response_1": "A spoon.", "response_2": "A wren.", "preference_strength": 2},),
)  # fmt: skip
HELPSTEER3 = pairs(
    "helpsteer3",
    Pair("response1", "response2", Sign("overall_preference", most=3), of("context", form="turns")),
    is_shared=True,
    public="HelpSteer3, its preferences (nvidia)",
    carries_nothing=frozenset({"domain", "language", "individual_preference"}),
    example=({"context": chat("")[:1], "response1": "A wren.", "response2": "A spoon.", "overall_preference": -3},),
)
WEBGPT = pairs(
    "webgpt",
    Pair("answer_0", "answer_1", Better("score_0", "score_1"), of("question.full_text")),
    public="WebGPT comparisons (openai)",
    carries_nothing=frozenset({"quotes_0", "quotes_1", "tokens_0", "tokens_1"}),
    example=({"question": {"full_text": _BIRD}, "answer_0": "A wren.", "answer_1": "A spoon.", "score_0": 1.0,
             "score_1": -1.0},),
)  # fmt: skip
_BATTLE = Pair("conversation_a", "conversation_b", _WINNER, turn="turn")
_CONTEXT = "full_conversation"
EARLIER = "later in a session, without the turns before it"
"""Why a battle is left out whose conversations begin after the first turn of their session: what each of the two models
was shown of the turns before is not said."""


def _battle(row: Row, names: Names) -> Reading:
    """Two conversations. Of arena-human-preference-140k, those of a later vote hold their own turns alone."""
    whole, own = (anything_in(value) for value in (row.get(_CONTEXT), row["conversation_a"]))
    if isinstance(whole, list) and isinstance(own, list):
        asked = sum(isinstance(turn, dict) and turn.get("role") == "user" for turn in own)
        if sum(isinstance(turn, dict) and turn.get("user") is not None for turn in whole) > asked:
            return Reading(left_out=(BadField(_CONTEXT, EARLIER),))
    return read_pair(row, names, _BATTLE)


ARENA = pairs(
    "arena",
    _BATTLE,
    read=_battle,
    also=("turn", "weight", "confidence", _CONTEXT),
    public="Chatbot Arena conversations, arena-human-preference-100k and -140k, MT-Bench judgments (lmsys, lmarena-ai)",
    carries_nothing=frozenset(
        {"question_id", "id", "model_a", "model_b", "judge", "anony", "language", "tstamp", "timestamp",
         "openai_moderation", "toxic_chat_tag", "conv_metadata", "is_code", "is_refusal", "dedup_tag", "category_tag",
         "judge_hash", "evaluation_session_id", "evaluation_order", "occupational_tags"}
    ),
    example=({"model_a": "m1", "model_b": "m2", "winner": "model_a", "conversation_a": chat("A wren."),
             "conversation_b": chat("A spoon.")},),
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
NO_VERDICT = "no verdict"
"""Why a battle is left out that nobody has voted on."""
_SEARCHED = Pair("messages_a", "messages_b", _WINNER, turn="turn")


def _searched(row: Row, names: Names) -> Reading:
    """A battle; about half of them have no vote."""
    if row["winner"] is None:
        return Reading(left_out=(BadField("winner", NO_VERDICT),))
    return read_pair(row, names, _SEARCHED)


SEARCH_ARENA = pairs(
    "search-arena",
    _SEARCHED,
    read=_searched,
    public="search-arena-24k (lmarena-ai)",
    carries_nothing=frozenset(
        {"model_a", "model_b", "judge", "timestamp", "system_a_metadata", "system_b_metadata", "conv_metadata",
         "primary_intent", "secondary_intent", "languages"}
    ),
    example=({"winner": "model_a", "messages_a": chat("A wren."), "messages_b": chat("A spoon.")},),
)  # fmt: skip
ARENA_PROXY = pairs(
    "arena-proxy",
    Pair("response_1", "response_2", _WINNER, of("prompt")),
    public="PPE-Human-Preference-V1 (lmarena-ai)",
    carries_nothing=frozenset(
        {"question_id", "model_a", "model_b", "language", "conv_metadata", "is_code", "is_refusal", "category_tag",
         "length_a", "length_b", "token_diff", "longer_won", "hard_prompt", "easy_prompt", "if_prompt", "math_prompt",
         "sim"}
    ),
    example=({"prompt": _BIRD, "response_1": "A spoon.", "response_2": "A wren.", "winner": "model_b"},),
)  # fmt: skip
_ALPACA = Pair("output_1", "output_2", Nearer("preference", 1, 2, tie=(0,)), of("instruction"))


def _alpaca(row: Row, names: Names) -> Reading:
    """Two outputs; AlpacaEval keeps null where its judge's reply could not be read."""
    if is_none(row["preference"]):
        return Reading(left_out=(BadField("preference", NO_VERDICT),))
    return read_pair(row, names, _ALPACA)


_OUTPUT = {"instruction": _BIRD, "output_1": "A wren.", "output_2": "A spoon."}
# Ties are 1.5, or 0 in its older files; a judge's probabilities lie between 1 and 2.
OUTPUTS = (
    pairs(
        "alpaca-farm",
        _ALPACA,
        read=_alpaca,
        is_shared=True,
        public="AlpacaFarm: preferences (tatsu-lab); AlpacaEval: annotations",
        carries_nothing=frozenset(
            {"raw_preference", "generator_1", "generator_2", "generator", "annotator", "annotator_index", "datasplit",
             "dataset", "time_per_example", "price_per_example", "raw_completion", "date", "version"}
        ),
        example=({**_OUTPUT, "preference": 1},),
    ),
    *(
        pairs(
            "output-label",
            Pair("output_1", "output_2", Labels("label", a=(1,), b=(2,)), of(asked)),
            is_shared=True,
            public="OffsetBias (NCSOFT), LLMBar" if asked == "instruction" else "",
            carries_nothing=frozenset({"bias_type"}),
            example=({**_OUTPUT, "label": 1},) if asked == "instruction" else (),
        )
        for asked in ("instruction", "input")
    ),
)  # fmt: skip
JUDGEBENCH = pairs(
    "judgebench",
    Pair("response_A", "response_B", Labels("label", a=("A>B",), b=("B>A",), tie=("A=B",)), of("question")),
    public="JudgeBench (ScalerLab)",
    carries_nothing=frozenset({"pair_id", "original_id", "source", "response_model"}),
    example=({"question": _BIRD, "response_A": "A spoon.", "response_B": "A wren.", "label": "B>A"},),
)
UNIFIED = pairs(
    "unified-feedback",
    Pair("conv_A", "conv_B", Better("conv_A_rating", "conv_B_rating")),
    public="Unified-Feedback (llm-blender)",
    carries_nothing=frozenset({"id", "num_turns", "source"}),
    example=({"conv_A": chat("A wren."), "conv_B": chat("A spoon."), "conv_A_rating": 1.0, "conv_B_rating": 0.0},),
)


OF_PAIRS = (
    SHP, HELPSTEER2, HELPSTEER3, WEBGPT, ARENA, KAGGLE, ARENA_TEXT, PKU, PKU_SAFER, TLDR_PAIRS, SEARCH_ARENA,
    ARENA_PROXY, *OUTPUTS, JUDGEBENCH, UNIFIED,
)  # fmt: skip

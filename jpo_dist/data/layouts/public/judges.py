"""Public data that measure judges: what people, or a judge, said of two responses. The direction of each label is that
of its card or paper."""

from jpo_dist.data.layouts.layout import Names, Reading
from jpo_dist.data.layouts.pairs import Pair, pairs, read_pair
from jpo_dist.data.layouts.public.judged_pairs import NO_VERDICT, chat
from jpo_dist.data.layouts.values import is_none, of, value_at
from jpo_dist.data.layouts.verdicts import Better, Labels, NameOf, Votes
from jpo_dist.data.messages.written import anything_in
from jpo_dist.data.row_values import BadField, Row

_BIRD = "Name a bird."
_PEOPLE = ("annotator1", "annotator2", "annotator3")
PANDALM = pairs(
    "pandalm",
    Pair("response1", "response2", Votes(_PEOPLE, a=(1,), b=(2,), tie=(0,)), of("instruction")),
    public="PandaLM, its test set (WeOpenML)",
    carries_nothing=frozenset({"idx", "motivation_app", "cmp_key"}),
    example=({"instruction": _BIRD, "response1": "A spoon.", "response2": "A wren.",
              "annotator1": 2, "annotator2": 1, "annotator3": 2},),
)  # fmt: skip
_JUDGELM = Pair("answer1_body", "answer2_body", Better("score.0", "score.1"), of("question_body"))
_UNREAD_REPLY = -1
"""The score of both where the judge's reply had none."""


def _judgelm(row: Row, names: Names) -> Reading:
    """Scores of a judge; both are -1 where its reply could not be read."""
    if all(value_at(row, path) == _UNREAD_REPLY for path in _JUDGELM.verdict.paths):  # type: ignore[union-attr]
        return Reading(left_out=(BadField("score", NO_VERDICT),))
    return read_pair(row, names, _JUDGELM)


JUDGELM = pairs(
    "judgelm",
    _JUDGELM,
    read=_judgelm,
    public="JudgeLM-100K (BAAI)",
    means="score: the higher is better, its first for answer1_body; equal: a tie; both -1: no verdict",
    carries_nothing=frozenset(
        {"question_id", "review_id", "reviewer_id", "answer1_model_id", "answer2_model_id", "answer1_metadata",
         "answer2_metadata", "question_metadata", "metadata", "text", "reference", "decoding_method"}
    ),
    example=({"question_body": _BIRD, "answer1_body": "A wren.", "answer2_body": "A spoon.", "score": [8.0, 2.0]},),
)  # fmt: skip
AUTO_J = pairs(
    "auto-j",
    Pair("response 1", "response 2", Labels("label", a=(0,), b=(1,), tie=(2,)), of("prompt")),
    is_shared=True,
    public="Auto-J, its pairwise test set (GAIR)",
    carries_nothing=frozenset({"scenario"}),
    example=({"prompt": _BIRD, "response 1": "A wren.", "response 2": "A spoon.", "label": 0},),
)
_A_OR_B = Votes(
    ("normal_worker_annotations", "expert_worker_annotations"),
    a=("A-is-clearly-better", "A-is-slightly-better"),
    b=("B-is-clearly-better", "B-is-slightly-better"),
    tie=("Tie",),
    key="overall_pref",
)
MULTIPREF = pairs(
    "multipref",
    Pair("completion_a", "completion_b", _A_OR_B, of("text")),
    public="MultiPref (allenai)",
    carries_nothing=frozenset(
        {"comparison_id", "prompt_id", "model_a", "model_b", "source", "category", "subject_of_study",
         "highest_level_degree"}
    ),
    example=({"text": _BIRD, "completion_a": "A spoon.", "completion_b": "A wren.",
              "normal_worker_annotations": [{"evaluator": "p1", "overall_pref": "B-is-slightly-better"}],
              "expert_worker_annotations": [{"evaluator": "p2", "overall_pref": "B-is-clearly-better"}]},),
)  # fmt: skip
_HUMAN = Labels("preference_labels.human", a=("response_1",), b=("response_2",))
DISSECTION = pairs(
    "preference-dissection",
    Pair("response_1.content", "response_2.content", _HUMAN, of("query")),
    public="preference-dissection (GAIR), its human label",
    carries_nothing=frozenset(
        {"scenario_auto-j", "scenario_group", "gpt-4-turbo_reference", "clear intent", "explicitly express feelings",
         "explicit constraints", "explicit subjective stances", "explicit mistakes or biases", "basic_response_1",
         "basic_response_2", "errors_response_1", "errors_response_2"}
    ),
    example=({"query": _BIRD, "response_1": {"content": "A wren."}, "response_2": {"content": "A spoon."},
              "preference_labels": {"human": "response_1"}},),
)  # fmt: skip
_VOTE = Pair(
    "conversation_a", "conversation_b", NameOf("chosen_model_name", "model_a_name", "model_b_name", tie="both_equal")
)


def _vote(row: Row, names: Names) -> Reading:
    """Two conversations, each under the system prompt of its model, where that had one."""
    if is_none(row["chosen_model_name"]) and row["both_equal"] in (False, None):
        return Reading(left_out=(BadField("chosen_model_name", NO_VERDICT),))
    told = {}
    for side in ("a", "b"):
        system, turns = row.get(f"system_prompt_{side}"), anything_in(row[f"conversation_{side}"])
        if system and isinstance(turns, list):
            told[f"conversation_{side}"] = [{"role": "system", "content": system}, *turns]
    return read_pair({**row, **told}, names, _VOTE)


COMPARIA = pairs(
    "comparia",
    _VOTE,
    read=_vote,
    also=("weight", "confidence", "system_prompt_a", "system_prompt_b"),
    numbers=frozenset({"both_equal", "weight", "confidence"}),
    public="comparia-votes (ministere-culture)",
    carries_nothing=frozenset(
        {"id", "timestamp", "model_pair_name", "opening_msg", "conversation_pair_id", "session_hash", "visitor_id",
         "conv_turns", "selected_category", "is_unedited_prompt", "mode"}
    ),
    example=({"model_a_name": "m1", "model_b_name": "m2", "chosen_model_name": "m1", "both_equal": False,
             "conversation_a": chat("A wren."), "conversation_b": chat("A spoon.")},),
)  # fmt: skip


OF_PAIRS = (PANDALM, JUDGELM, AUTO_J, MULTIPREF, DISSECTION, COMPARIA)

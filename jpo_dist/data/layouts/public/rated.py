"""Public data sets whose rows are responses with scores, ranks or thumbs, by their real columns.

The direction of each score is that of its card. Where it could not be read on a card, the line says so.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from jpo_dist.data.layouts.layout import Layout
from jpo_dist.data.layouts.public.judged_pairs import TLDR, TLDR_NOTHING
from jpo_dist.data.layouts.responses import One, Several, Thumb, one, several
from jpo_dist.data.layouts.values import entries, is_label, of
from jpo_dist.data.row_values import Row

_BIRD = "Name a bird."


def _has(row: Row, column: str, keys: frozenset[str]) -> bool:
    """Whether a column holds a list of objects with these keys."""
    found = entries(row.get(column))
    return isinstance(found, list) and bool(found) and isinstance(found[0], dict) and keys <= found[0].keys()


NECTAR = several(
    "nectar",
    Several(of("prompt", form="transcript"), "answers", response="answer", rank="rank"),
    fits=partial(_has, column="answers", keys=frozenset({"answer", "rank"})),
    public="Nectar (berkeley-nest)",
    carries_nothing=frozenset({"turns", "num_responses", "source", "good_natured"}),
    example=({"prompt": f"\n\nHuman: {_BIRD}\n\nAssistant: ",
             "answers": [{"answer": "A wren.", "model": "m1", "rank": 1.0},
                         {"answer": "A spoon.", "model": "m2", "rank": 2.0}]},),
)  # fmt: skip
NEMO = several(
    "nemo-rank",
    Several(of("context", form="turns"), "completions", response="completion", rank="rank"),
    public="NeMo RL",
    carries_nothing=frozenset({"task_name", "dataset"}),
    example=({"context": [{"role": "user", "content": _BIRD}],
             "completions": [{"rank": 0, "completion": [{"role": "assistant", "content": "A wren."}]},
                             {"rank": 1, "completion": [{"role": "assistant", "content": "A spoon."}]}]},),
)  # fmt: skip
_DISTILABEL_NOTHING = frozenset(
    {"rationales", "rationale", "types", "rationales-for-ratings", "generation_models", "generation_model",
     "model_name", "model_names", "distilabel_metadata", "ultrafeedback_model_name", "labelling_model",
     "labelling_prompt", "raw_labelling_response", "raw_generation_responses", "generation_prompt", "source"}
)  # fmt: skip
DISTILABEL = tuple(
    several(
        "distilabel",
        Several(of(asked, system=("system_prompt", "system")), "generations", scores=scores, may_be_null=True),
        public="distilabel, UltraFeedback made with it (argilla)",
        carries_nothing=_DISTILABEL_NOTHING,
        example=({asked: _BIRD, "generations": ["A wren.", "A spoon."], scores: [5, 1]},)
        if asked == "instruction"
        else (),
    )
    for asked, scores in (("instruction", "ratings"), ("input", "rating"), ("prompt", "ratings"))
)
STACK = several(
    "stack-exchange",
    Several(of("question"), "answers", response="text", score=("pm_score",)),
    fits=partial(_has, column="answers", keys=frozenset({"text", "pm_score"})),
    public="stack-exchange-preferences (HuggingFaceH4)",
    carries_nothing=frozenset({"qid", "date", "metadata"}),
    example=(
        {"question": _BIRD, "answers": [{"text": "A wren.", "pm_score": 4}, {"text": "A spoon.", "pm_score": 0}]},
    ),
)
TLDR_AXIS = one(
    "tldr-axis",
    One("summary.text", TLDR, score=("summary.axes.overall",), may_be_null=True),
    public="TL;DR ratings (openai/summarize_from_feedback, axis): overall, from 1 to 7",
    carries_nothing=TLDR_NOTHING,
    example=({"info": {"post": "I saw a wren.", "title": "A bird", "subreddit": "birds"},
             "summary": {"text": "Saw a wren.", "axes": {"overall": 6, "accuracy": 7}}},),
)  # fmt: skip


def _kto_messages() -> Iterator[Layout]:
    """Thumbs for the end of a conversation."""
    chat = [{"role": "user", "content": _BIRD}, {"role": "assistant", "content": "A wren."}]
    for conversation in ("messages", "conversations"):
        for label in ("label", "kto_tag"):
            first: dict[str, Any] = {"example": ({"messages": chat, "label": True},)}
            yield one(
                "kto-messages",
                One(conversation, thumb=Thumb(label)),
                fits=partial(is_label, column=label),
                public="KTO with messages; LLaMA-Factory: sharegpt with kto_tag",
                **(first if (conversation, label) == ("messages", "label") else {}),
            )


_ALPACA = of("instruction", "input", system=("system",), history="history")
KTO_ALPACA = one(
    "kto-alpaca",
    One("output", _ALPACA, thumb=Thumb("kto_tag")),
    public="LLaMA-Factory: alpaca with kto_tag",
    example=({"instruction": _BIRD, "input": "", "output": "A wren.", "kto_tag": True},),
)
ALPACA_LIST = several(
    "alpaca-list",
    Several(_ALPACA, "output"),
    fits=lambda row: isinstance(row.get("output"), list),
    public="LLaMA-Factory: alpaca with ranking, the older form",
    example=({"instruction": _BIRD, "input": "", "output": ["A wren.", "A spoon."]},),
)


def _demonstrations() -> Iterator[Layout]:
    """One response that nobody has rated, under the names that data for supervised fine-tuning have."""
    asked_and_said = {
        "instruction": ("output", "answer"), "question": ("answer", "response", "output"),
        "query": ("response", "answer", "output"), "prompt": ("output", "answer"), "input": ("output",),
    }  # fmt: skip
    alpaca: dict[str, Any] = {
        "fits": lambda row: not isinstance(row.get("output"), list),
        "public": "alpaca, OpenOrca, questions with answers: responses for jpo sft",
        "example": ({"instruction": _BIRD, "output": "A wren, unrated."},),
    }
    for asked, answers in asked_and_said.items():
        for answer in answers:
            about = alpaca if (asked, answer) == ("instruction", "output") else {}
            yield one("unscored", One(answer, of(asked)), **about)


DEMONSTRATIONS = tuple(_demonstrations())
"""Their columns are of no other layout alone, and come last: what is detected without them stays so."""
OF_RESPONSES = (*DISTILABEL, KTO_ALPACA, ALPACA_LIST, TLDR_AXIS, NEMO, NECTAR, STACK)
OF_CONVERSATIONS = tuple(_kto_messages())
"""Their columns are those of `conversation` and more: they come before it."""

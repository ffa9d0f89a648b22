"""Public data sets whose columns name the winner: real columns, invented texts, comparisons by hand."""

from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.sft import SftDataConfig
from jpo_dist.data.examples import read_demonstrations
from jpo_dist.records.comparisons import Item
from tests.support.rows import write_rows
from tests.support.said import said

BIRD, USER = "Name a bird.", [("user", "Name a bird.")]
TURN = [{"role": "user", "content": BIRD}]
ULTRAINTERACT = {
    "task": "Coding", "dataset": "taco", "trajectory": [{"from": "user", "value": BIRD}],
    "chosen": "A wren.", "rejected": "A spoon.", "id": "1", "parent_id": "0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "layout"),
    [
        (ULTRAINTERACT, "ultrainteract"),
        ({"input": BIRD, "accepted": "A wren.", "rejected": "A spoon.", "ID": 7}, "accepted"),
        ({"prompt": BIRD, "chosen_response": "A wren.", "rejected_response": "A spoon."}, "chosen-response"),
        (
            {"system": "", "history": [], "question": BIRD, "response_chosen": "A wren.",
             "response_rejected": "A spoon."},
            "response-chosen",
        ),
        ({"query": BIRD, "response": "A wren.", "rejected_response": "A spoon."}, "rejected-beside"),
        ({"instruction": BIRD, "output": "A wren.", "rejected_answer": "A spoon.", "id": 1}, "rejected-beside"),
        ({"prompt": BIRD, "response": "A wren.", "rejected": "A spoon."}, "rejected-beside"),
        ({"prompt_id": "1", "prompt": BIRD, "chosen": "A wren.", "chosen_reward": 0.2, "reject": "A spoon.",
          "reject_reward": 0.1}, "chosen-reject"),
        (
            {"chosen_conversations": [*TURN, {"role": "assistant", "content": "A wren."}],
             "rejected_conversations": [*TURN, {"role": "assistant", "content": "A spoon."}]},
            "torchtune",
        ),
        (
            {"chosen_messages": [{"role": "user", "content": [{"type": "text", "value": BIRD}]},
                                 {"role": "assistant", "content": [{"type": "text", "value": "A wren."}]}],
             "rejected_messages": [*TURN, {"role": "assistant", "content": "A spoon."}]},
            "pair-messages",
        ),
        (
            {"messages": TURN, "chosen_response": {"role": "assistant", "content": "A wren."},
             "rejected_response": {"role": "assistant", "content": "A spoon."}},
            "chosen-response",
        ),
    ],
)  # fmt: skip
def test_the_column_of_the_winner_wins(tmp_path: Path, row: dict[str, Any], layout: str) -> None:
    found = said(tmp_path, [row])
    assert (found.comparisons, found.instructions) == (["A wren. > A spoon."], [USER])
    assert found.report.layouts == {layout: 1}
    assert not found.report.tables[0].unread


def test_tools_history_and_system_of_such_pairs_are_kept(tmp_path: Path) -> None:
    tool = '{"name": "look", "parameters": {"type": "dict"}}'
    when2call = {
        "tools": [tool], "messages": TURN, "chosen_response": {"role": "assistant", "content": "A wren."},
        "rejected_response": {"role": "assistant", "content": "A spoon."},
    }  # fmt: skip
    ((tools, asked),) = said(tmp_path, [when2call]).instructions
    assert (tools[0], "look" in tools[1], asked) == ("tools", True, USER[0])
    swift = {"system": "Be brief.", "history": [["Hi", "Hello."]], "query": BIRD, "response": "A wren.",
             "rejected_response": "A spoon."}  # fmt: skip
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), *USER]
    assert said(tmp_path, [swift]).instructions == [turns]


def test_equal_ratings_beside_such_a_pair_make_a_tie(tmp_path: Path) -> None:
    row = {"prompt": BIRD, "chosen_response": "A wren.", "rejected_response": "A spoon."}
    assert said(tmp_path, [{**row, "chosen_rating": 3, "rejected_rating": 3}]).comparisons == ["A wren. = A spoon."]


def test_a_trajectory_beside_whole_conversations_is_no_instruction(tmp_path: Path) -> None:
    sides = {side: [*TURN, {"role": "assistant", "content": text}] for side, text in
             (("chosen", "A wren."), ("rejected", "A spoon."))}  # fmt: skip
    found = said(tmp_path, [{**ULTRAINTERACT, **sides}])
    assert (found.comparisons, found.report.layouts) == (["A wren. > A spoon."], {"implicit": 1})


@pytest.mark.parametrize("rejected", [True, None, 0, ""])
def test_a_response_beside_a_mark_is_one_response(tmp_path: Path, rejected: Any) -> None:
    found = said(tmp_path, [{"prompt": BIRD, "response": "A wren.", "rejected": rejected}])
    assert (found.comparisons, found.report.layouts) == ([], {"unscored": 1})


def test_sft_imitates_the_winner(tmp_path: Path) -> None:
    row = {"instruction": BIRD, "output": "A wren.", "rejected_output": "A spoon."}
    file = write_rows(tmp_path / "a.jsonl", [row])
    found, _ = read_demonstrations(file, SftDataConfig(train=file))
    assert found.all_items() == [Item.of(BIRD, "A wren.")]


def test_rewards_of_the_one_called_reject_are_held_against_those_of_chosen(tmp_path: Path) -> None:
    row = {"prompt": BIRD, "chosen": "A wren.", "chosen_reward": 0.1, "reject": "A spoon.", "reject_reward": 0.2}
    lines = said(tmp_path, [row]).report.lines()
    assert any(line.strip().startswith("chosen_reward is below reject_reward in 1 rows") for line in lines)

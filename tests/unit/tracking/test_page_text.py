"""What a page shows of our tags and texts: no id to decode, no markup of others, links that open pages of trainings."""

import re

from jpo_dist.tracking.page_text import input_tags, links, plain, short, table, tag_in_mlflow


def test_what_only_programs_ask_for_is_hidden() -> None:
    ids = ("jpo.uid", "jpo.key", "jpo.input.sft", "jpo.input_run.sft", "jpo.dataset", "jpo.checkpoint.path")
    assert [tag_in_mlflow(key) for key in ids] == [f"mlflow.{key}" for key in ids]
    words = ("jpo.pipeline", "jpo.stage", "jpo.study", "jpo.path", "mlflow.user", "team")
    assert [tag_in_mlflow(key) for key in words] == list(words)


def test_text_of_others_is_no_markup() -> None:
    said = plain("a|b [x](javascript:1) <script> `c` **d**\nsecond\x1b[2J")
    assert "\n" not in said
    assert "\x1b" not in said
    bare = said.replace("\\\\", "").split("\\")
    assert all(part[:1] in set("`*_{}[]<()#+!|~") for part in bare[1:]), "MLflow shows any other backslash"
    assert not set(re.sub("&#\\d+;", "", said)) & set("&>:")
    assert not any(c in part[1:] for part in bare[1:] for c in "[]<>()`*|")


def test_a_table_keeps_its_cells_whatever_is_in_them() -> None:
    made = table(["", "a|b"], [["<img src=x>", "1"], ["two\nlines", "2"]]).splitlines()
    assert len(made) == 4
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in made)
    assert "<" not in made[2].replace("\\<", "")


def test_columns_of_a_table_stand_apart_and_a_row_may_begin_with_a_link() -> None:
    head, _, one, two = table(["", "a", "b"], [["x", "1", "2"], ["y", "3", "4"]], ["", "[y](#/runs/1)"]).splitlines()
    assert head == "|  | &emsp;a | &emsp;b |"
    assert one == "| x | &emsp;1 | &emsp;2 |"
    assert two == "| [y](#/runs/1) | &emsp;3 | &emsp;4 |"


def test_the_key_of_a_stage_is_nothing_that_a_person_reads() -> None:
    assert short("/runs/helpful/after-aa457520") == "after"
    assert short("/runs/helpful/sft-f79f126e/export-merged") == "sft/export-merged"
    assert short("/runs/lr-2e-5") == "lr-2e-5"
    assert short("/runs/-f79f126e") == "-f79f126e"
    assert short("org/model-f79f126e") == "org/model-f79f126e", "a name on a hub is a name"


def test_a_link_to_an_input_opens_it_as_a_training_and_an_id_that_is_none_makes_none() -> None:
    tags = input_tags("sft", {"run_id": "a1", "experiment_id": "7"})
    assert links(tags).endswith(": [sft](#/experiments/7/runs/a1?workflowType=machine_learning)")
    assert all(tag_in_mlflow(key).startswith("mlflow.") for key in tags)
    assert links({"jpo.input_run.sft": "a1"}).endswith(": [sft](#/runs/a1)"), "of an earlier version"
    assert links({"jpo.input_run.x": "a](b", "jpo.stage": "y"}) == ""
    assert input_tags("sft", {}) == {}

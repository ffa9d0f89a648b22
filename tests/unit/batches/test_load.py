"""What a run reads: what is held out, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jpo_dist.batches.load import load_data, read_data, require_comparisons
from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sft import AnyConfig, SftConfig
from jpo_dist.data.read import read
from jpo_dist.evaluate.evaluation import evaluate_policy
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.folder import write_set
from jpo_dist.train.setup import remarks, set_up
from tests.support.rows import write_rows
from tests.support.runs import config_for, sft_config_for
from tests.support.tiny import byte_tokenizer, comparisons, save_tiny, write_jsonl


def validation_file(folder: Path, *, tie: bool) -> str:
    """Two comparisons of which nothing is left: ties, or a response of 200 tokens in each."""
    sides = {"response_0": "yes", "response_1": "no" if tie else "no " * 67, "feedback": 2 if tie else 0}
    path = folder / "validation.jsonl"
    path.write_text("".join(json.dumps({"instruction": f"say {i}", **sides}) + "\n" for i in range(2)))
    return str(path)


@pytest.mark.parametrize("tie", [True, False])
def test_held_out_comparisons_that_are_all_skipped_are_none_and_are_counted(tie: bool, tmp_path: Path) -> None:
    """Planning their evaluation would fail, and blame data.train."""
    data = {"validation": validation_file(tmp_path, tie=tie), "over_long": "skip", "max_length": 150}
    train = write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    config = config_for("unused", train, tmp_path / "run", data=data)
    prepared, held_out, notes = load_data(config, byte_tokenizer())
    assert (len(prepared.comparisons), held_out) == (6, None)
    assert f"held out: {2 * tie} ties and {2 * (not tie)} over-long comparisons skipped, 0 items cut" in notes
    assert notes[-1].startswith("nothing that is held out is left after that, so there are no eval/ metrics")


def test_ties_that_are_used_are_counted_and_those_of_other_losses_skipped(tmp_path: Path) -> None:
    objective = {"loss": "rao_kupper", "ties": "use"}
    data = {"validation": validation_file(tmp_path, tie=True)}
    train = write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    config = config_for("unused", train, tmp_path / "run", data=data, objective=objective)
    _, held_out, notes = load_data(config, byte_tokenizer())
    assert held_out is not None
    assert held_out.comparisons.is_tie_C.tolist() == [True, True]
    assert "held out: 2 ties used" in notes
    assert not [note for note in notes if "skipped, 0 items cut" in note]


def test_a_smaller_beta_by_similarity_is_told(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    objective = {"similarity": "inside", "similarity_temperature": 1e9, "beta": 0.3}
    _, _, notes = load_data(config_for("unused", train, tmp_path / "run", objective=objective), byte_tokenizer())
    assert "similarity inside: the mean tau is 1.000, beta is as 0.3 on average" in notes


def by_country(path: Path) -> str:
    """Twelve comparisons of twelve instructions, every third one from FR, the others from DE, the last from nowhere."""
    rows = [
        {"prompt": f"say {n}", "chosen": "yes", "rejected": "no", "country": "FR" if n % 3 == 0 else "DE"}
        for n in range(12)
    ]
    rows[-1]["country"] = ""
    return write_rows(path, rows)


@pytest.mark.parametrize(
    ("choice", "kept", "by"),
    [
        ({"only": {"country": "FR"}}, 4, "data.only country=FR"),
        ({"without": {"country": ["FR"]}}, 8, "data.without country=FR"),
        ({"only": {"country": ["DE", "FR"]}, "without": {"country": "FR"}}, 7,
         "data.only country=DE|FR and data.without country=FR"),
    ],
)  # fmt: skip
def test_a_choice_of_groups_is_for_training_alone_and_told(
    choice: dict[str, Any], kept: int, by: str, tmp_path: Path
) -> None:
    train = by_country(tmp_path / "train.jsonl")
    data = {"groups": ["country"], "validation": train}
    whole, held_out, notes = load_data(config_for("unused", train, tmp_path / "run", data=data), byte_tokenizer())
    assert "data.train: by country: DE 7, FR 4, no value 1" in notes
    assert held_out is not None
    data |= choice
    chosen, still, notes = load_data(config_for("unused", train, tmp_path / "run", data=data), byte_tokenizer())
    assert f"data.train: {kept} of 12 comparisons kept by {by}" in notes
    assert len(chosen.comparisons) == kept
    assert still is not None
    assert still.comparisons.fingerprint == held_out.comparisons.fingerprint
    assert len(still.comparisons) == 12
    # What says whether a commit is of the same run (train.identity.plan_identity) covers the choice.
    assert chosen.comparisons.fingerprint != whole.comparisons.fingerprint


def test_the_instructions_held_out_do_not_depend_on_the_choice(tmp_path: Path) -> None:
    train = by_country(tmp_path / "train.jsonl")
    parts = [
        load_data(config_for("unused", train, tmp_path / "run", data=data), byte_tokenizer())[1]
        for base in [{"groups": ["country"], "validation_fraction": 0.5}]
        for data in (base, base | {"only": {"country": ["DE"]}})
    ]
    assert parts[0] is not None
    assert parts[1] is not None
    assert parts[0].comparisons.fingerprint == parts[1].comparisons.fingerprint


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (
            {"only": {"country": "XX"}},
            r"data\.only\.country \(XX\): no comparison has it; there are country: DE 7",
        ),
        ({"only": {"country": "DE"}, "without": {"country": "DE"}}, r"leave none of 12 comparisons to train on"),
        ({"groups": [], "only": {"country": "DE"}}, r"none has groups\. A column of a file counts where data\.groups"),
    ],
)
def test_a_choice_that_fits_nothing_is_refused(data: dict[str, Any], rule: str, tmp_path: Path) -> None:
    data = {"groups": ["country"], **data}
    config = config_for("unused", by_country(tmp_path / "train.jsonl"), tmp_path / "run", data=data)
    with pytest.raises(ValueError, match=rule):
        load_data(config, byte_tokenizer())


def test_when_nothing_is_left_to_train_on_it_says_where_it_went(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    data = {"max_length": 10, "max_instruction_length": 8, "over_long": "skip"}
    config = config_for(save_tiny(tmp_path / "model"), train, tmp_path / "run", data=data)
    with pytest.raises(ValueError, match=r"no comparisons left .*6 over-long comparisons skipped.*data\.max_length"):
        set_up(config)


def test_an_evaluation_of_nothing_says_where_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jpo_dist.evaluate.evaluation.connect", lambda _: None)
    data = {"validation": validation_file(tmp_path, tie=True)}
    folder, train = save_tiny(tmp_path / "model"), write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    config = config_for(folder, train, tmp_path / "run", data=data)
    with pytest.raises(ValueError, match=r"nothing is held out: set data\.validation.*2 ties and 0 over-long"):
        evaluate_policy(config, folder, None, 8)


def test_sides_that_a_cut_makes_equal_and_a_validation_that_is_the_training_data_are_told(tmp_path: Path) -> None:
    """z was 0 without a word."""
    rows = [{"prompt": f"say {n}", "chosen": "no " * 90 + "a", "rejected": "no " * 90 + "b"} for n in range(3)]
    rows.append({"prompt": "say", "chosen": "yes", "rejected": "no"})
    file = write_rows(tmp_path / "pairs.jsonl", rows)
    data = {"train": file, "validation": file, "over_long": "truncate", "max_length": 64, "max_instruction_length": 16}
    config = config_for("unused", file, tmp_path / "run", data=data)
    _, _, notes = load_data(config, byte_tokenizer())
    assert "data.train: 3 comparisons have equal sides after the cut: their margin is 0, always" in notes
    told = "data.validation: 4 of 4 comparisons and 4 of 4 instructions are in data.train too, so eval/ metrics"
    assert f"{told} tell nothing of new ones" in notes


def pairs(numbers: range, good: str = "yes") -> list[dict[str, Any]]:
    return [{"prompt": f"say {n}", "chosen": good, "rejected": "no"} for n in numbers]


ALL = "10 of 10 {0} and 10 of 10 instructions are in data.train too, so eval/ metrics tell nothing of new ones"
SOME = "3 of 10 {0} and 3 of 10 instructions are in data.train too, so eval/ metrics tell less of new ones"
ASKED = "10 of 10 instructions are in data.train too, in other {0}, so eval/ metrics tell less of new instructions"


@pytest.mark.parametrize("counted", ["comparisons", "examples", "labelled examples"])
@pytest.mark.parametrize(
    ("held", "told"),
    [
        (pairs(range(20, 30)), ALL),
        (pairs(range(47, 57))[::-1], SOME),
        (pairs(range(10), "oh"), ASKED),
        (pairs(range(50, 60)), None),
    ],
)
def test_what_is_held_out_and_trained_on_is_told(
    held: list[dict[str, Any]], told: str | None, counted: str, tmp_path: Path
) -> None:
    """Nothing was said unless the two were the same, row by row."""
    train, name = write_rows(tmp_path / "train.jsonl", pairs(range(50))), counted.rpartition(" ")[2]
    data = {"validation": write_rows(tmp_path / "held.jsonl", held)}
    config: AnyConfig = sft_config_for("unused", train, tmp_path / "run", data=data)
    if counted != "examples":
        objective = {"loss": "kto"} if counted == "labelled examples" else {}
        config = config_for("unused", train, tmp_path / "run", data=data, objective=objective)
    notes = [note for note in read_data(config)[2] if "in data.train too" in note]
    if counted == "labelled examples":  # both sides of a pair
        told = told and told.replace("10 of 10 {0}", "20 of 20 {0}").replace("3 of 10 {0}", "6 of 20 {0}")
        if told == ASKED:
            told = SOME.replace("3 of 10 {0} and 3", "10 of 20 {0} and 10")
    assert notes == ([f"data.validation: {told.format(name)}"] if told else [])


def test_held_out_responses_that_are_turns_of_training_instructions_are_told(tmp_path: Path) -> None:
    """Of a file of held-out data, and of a set whose turns were dealt to its splits one by one."""
    first = [{"role": "user", "content": "Hi"}]
    later = [*first, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}]
    rows = [
        {"prompt": later, "chosen": "Bye", "rejected": "Oh"},
        {"prompt": first, "chosen": "Hello", "rejected": "No"},
    ]
    files = [write_rows(tmp_path / f"{n}.jsonl", [row]) for n, row in enumerate(rows)]
    whole, _ = read(files, on_bad_row="error")
    write_set(whole, tmp_path / "mixed")
    dealt = whole.comparisons.set_column(
        whole.comparisons.column_names.index("split"), "split", pa.array(["train", "validation"])
    )
    write_set(ComparisonSet(whole.items, dealt), tmp_path / "dealt")
    told = "held out: 1 of 2 responses are a turn of an instruction in data.train, so eval/ metrics"
    for train, data in ((files[0], {"validation": files[1]}), (str(tmp_path / "dealt"), {})):
        _, held, notes = read_data(config_for("unused", train, tmp_path / "run", data=data))
        assert held is not None
        assert [note[: len(told)] for note in notes if "a turn of" in note] == [told]
    for seed in range(9):  # what is held out here is whole conversations
        config = config_for("unused", str(tmp_path / "mixed"), tmp_path / "run", data={"validation_fraction": 0.5})
        config = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
        train_part, held, _ = read_data(config)
        assert {len(train_part), 0 if held is None else len(held)} == {0, 2}


def test_what_the_choice_of_groups_leaves_out_is_not_trained_on(tmp_path: Path) -> None:
    train = by_country(tmp_path / "train.jsonl")
    data = {"groups": ["country"], "validation": train, "only": {"country": "FR"}}
    _, _, notes = read_data(config_for("unused", train, tmp_path / "run", data=data))
    assert "data.validation: 4 of 12 comparisons and 4 of 12 instructions are in data.train too" in notes[-1]


def test_nothing_left_names_where_it_went(tmp_path: Path) -> None:
    """A longer data.max_length brings nothing back that was held out."""
    train = write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    config = config_for("unused", train, tmp_path / "run", data={"validation_fraction": 0.95})
    prepared, _, notes = load_data(config, byte_tokenizer())
    with pytest.raises(ValueError, match=r"held out \d comparisons .*data\.validation_fraction=0") as found:
        require_comparisons(prepared, notes)
    assert "max_length" not in str(found.value)


def test_settings_that_are_hardly_meant_get_a_line_each(tmp_path: Path) -> None:
    config = config_for("m", "d", tmp_path / "run", optim={"warmup_steps": 10})
    assert [line.split(" ")[0] for line in remarks(config, 10, 300.0)] == ["optim.warmup_steps", "the"]
    assert "300 times" in remarks(config, 10, 300.0)[1]
    assert remarks(config, 11, 2.0) == []


@pytest.mark.parametrize(
    ("loss", "data", "train", "said"),
    [
        ("sigmoid", {}, {"items_per_step": 8}, r"train.items_per_step (8) is not read with objective.loss=sigmoid"),
        ("kto", {}, {"comparisons_per_step": 8}, r"train.comparisons_per_step (8) is not read with objective.loss=kto"),
        ("sigmoid", {"desirable_from": 3.0}, {}, r"data.desirable_from (3.0) is not read with objective.loss=sigmoid"),
        ("kto", {"desirable_from": 3.0}, {"items_per_step": 8}, None),
        ("sigmoid", {}, {"comparisons_per_step": 8}, None),
    ],
)
def test_a_size_of_a_step_that_is_for_another_loss_is_told(
    loss: str, data: dict[str, Any], train: dict[str, Any], said: str | None
) -> None:
    settings = {"objective": {"loss": loss}, "data": {"train": "d", **data}, "train": train}
    config = JpoConfig.model_validate({"model": {"path": "m"}, "run": {"dir": "r"}, **settings})
    found = remarks(config, 10, 1.0)
    assert [said in one for one in found] == [True] if said else found == []


def test_so_it_is_of_sft() -> None:
    about = {"model": {"path": "m"}, "run": {"dir": "r"}, "data": {"train": "d"}}
    config = SftConfig.model_validate({**about, "train": {"comparisons_per_step": 8, "items_per_step": 4}})
    said = "train.comparisons_per_step (8) is not read with jpo sft: a step has train.items_per_step (4)"
    assert remarks(config, 10, 1.0) == [said]

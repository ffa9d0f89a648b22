"""Prompt files of benchmarks in, their answer files out."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.data.read_report import BadRowError
from jpo_dist.generate.answers import Answer, write_answers
from jpo_dist.generate.formats import Incomplete, require, write
from jpo_dist.generate.prompts import Prompt, kept_prompts, read_prompts, write_prompts
from jpo_dist.records.comparisons import Message

ALPACA = [{"instruction": "Name a fruit.", "output": "x", "generator": "g", "dataset": "helpful_base"},
          {"instruction": "Sing.", "output": "y", "generator": "g", "dataset": "koala"}]  # fmt: skip
IFEVAL = [{"key": 1, "prompt": "No commas.\u2028Please. ", "instruction_id_list": ["a"], "kwargs": [{}]}]
MT = [{"question_id": 81, "category": "writing", "turns": ["Write.", "Rewrite."]},
      {"question_id": 82, "category": "math", "turns": ["Add."]}]  # fmt: skip


def file_of(path: Path, rows: list[Any]) -> str:
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return str(path)


def asked(where: str) -> list[Prompt]:
    return read_prompts(where, "error").prompts


def folder_of(folder: Path, prompts: list[Prompt], samples: int = 1, temperatures: tuple[float, ...] = (1.0,)) -> Path:
    """A folder in which the answer to a place says which it is."""
    folder.mkdir()
    write_prompts(prompts, folder)
    (folder / "report.json").write_text('{"name": "mine"}')
    places = [n + turn * len(prompts) for n, p in enumerate(prompts) for turn in range(1 + len(p.follow_ups))]
    made = [
        Answer(place, "id", "text", f"{place}/{sample}/{temperature:g}", True, 1, temperature, sample, 0, "m", "local")
        for temperature in temperatures
        for place in places
        for sample in range(samples)
    ]
    write_answers(made, folder)
    return folder


def test_alpaca_eval(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out", asked(file_of(tmp_path / "a.json", ALPACA)))
    target = write("alpaca-eval", folder)
    (file,) = target.iterdir()
    assert json.loads(file.read_text()) == [
        {"dataset": "helpful_base", "instruction": "Name a fruit.", "output": "0/0/1", "generator": "mine"},
        {"dataset": "koala", "instruction": "Sing.", "output": "1/0/1", "generator": "mine"},
    ]


def test_ifeval_matches_by_the_exact_prompt_one_file_a_sample(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out", asked(file_of(tmp_path / "i.jsonl", IFEVAL)), 2, (0.5, 1.0))
    files = sorted(write("ifeval", folder).iterdir())
    assert [file.name for file in files] == [f"t{t}-sample{s}.jsonl" for t in ("0.5", "1") for s in (0, 1)]
    assert json.loads(files[1].read_text()) == {"prompt": IFEVAL[0]["prompt"], "response": "0/1/0.5"}


def test_mt_bench_has_all_turns_and_a_choice_for_each_sample(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out", asked(file_of(tmp_path / "m.jsonl", MT)), 2)
    (file,) = write("mt-bench", folder).iterdir()
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert set(first) == {"question_id", "answer_id", "model_id", "choices", "tstamp"}
    assert (first["question_id"], first["model_id"]) == (81, "mine")
    assert first["choices"] == [{"index": s, "turns": [f"0/{s}/1", f"2/{s}/1"]} for s in (0, 1)]
    assert second["choices"] == [{"index": s, "turns": [f"1/{s}/1"]} for s in (0, 1)]
    assert first["answer_id"] != second["answer_id"]


def test_prompts_of_another_file_and_missing_answers_are_refused(tmp_path: Path) -> None:
    plain = asked(file_of(tmp_path / "p.jsonl", [{"instruction": "x"}]))
    with pytest.raises(ValueError, match=r"--to ifeval: 1 of 1 instructions did not come from an IFEval file"):
        require("ifeval", plain)
    with pytest.raises(ValueError, match="is no format; there are alpaca-eval, ifeval, mt-bench"):
        require("csv", plain)
    prompts = asked(file_of(tmp_path / "i.jsonl", IFEVAL))
    folder = folder_of(tmp_path / "out", [*prompts, prompts[0]._replace(turns=(Message("user", "other"),))])
    one = Answer(0, "id", "text", "a", True, 1, 1.0, 0, 0, "m", "local")
    write_answers([one], folder)
    with pytest.raises(Incomplete, match=r"no answer to instruction 1 \('other'\)"):
        write("ifeval", folder)


# ---- what is asked


def test_instructions_of_any_file_each_once(tmp_path: Path) -> None:
    plain = file_of(tmp_path / "p.jsonl", [{"instruction": "a"}, {"instruction": "b"}, {"instruction": "a"}])
    talk = file_of(
        tmp_path / "t.jsonl", [{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "b"}]}]
    )
    pairs = file_of(tmp_path / "c.jsonl", [{"prompt": "c", "chosen": "x", "rejected": "y"}])
    joint = {"i_chosen": "d", "r_chosen": "x", "i_reject": "e", "r_reject": "y"}
    joints, thumbs = (
        file_of(tmp_path / "j.jsonl", [joint]),
        file_of(tmp_path / "u.jsonl", [{"prompt": "f", "completion": "x", "label": True}]),
    )
    read = read_prompts([plain, talk, pairs, joints, thumbs], "error")
    said = ["/".join(turn.content for turn in prompt.turns) for prompt in read.prompts]
    assert said == ["a", "b", "s/b", "c", "d", "e", "f"]
    assert len({prompt.id for prompt in read.prompts}) == 7
    assert read.report["rows"] == read.report["prompts"] + read.report["repeated"]


SYSTEM, ASKED, TOOL = Message("system", "You are Bob."), Message("user", "Who?"), {"name": "clock", "parameters": {}}
AROUND: list[tuple[dict[str, Any], tuple[Message, ...], dict[str, str]]] = [
    ({"prompt": "Who?", "system": "You are Bob."}, (SYSTEM, ASKED), {"system": "a system turn"}),
    ({"instruction": "Translate.", "input": "Night."}, (Message("user", "Translate.\nNight."),),
     {"input": "below instruction"}),
    ({"prompt": "Who?", "history": [["Hi", "Ho"]]}, (Message("user", "Hi"), Message("assistant", "Ho"), ASKED),
     {"history": "earlier turns"}),
    ({"prompt": "Who?", "system": "", "input": None}, (ASKED,), {}),
    ({**ALPACA[0], "input": "A red one."}, (Message("user", "Name a fruit.\nA red one."),),
     {"input": "below instruction"}),
    ({**IFEVAL[0], "system_prompt": "You are Bob."}, (SYSTEM, Message("user", IFEVAL[0]["prompt"])),
     {"system_prompt": "a system turn"}),
    ({**MT[0], "system": "You are Bob."}, (SYSTEM, Message("user", "Write.")), {"system": "a system turn"}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "turns", "taken"), AROUND)
def test_what_other_columns_put_around_an_instruction_is_asked_too(
    row: dict[str, Any], turns: tuple[Message, ...], taken: dict[str, str], tmp_path: Path
) -> None:
    """As training and the gold of a win-rate read the same row; else two models meet on half a prompt."""
    read = read_prompts(file_of(tmp_path / "rows.jsonl", [row]), "error")
    assert [prompt.turns for prompt in read.prompts] == [turns]
    assert read.report["taken"] == taken


def test_a_prompt_is_the_one_that_training_reads(tmp_path: Path) -> None:
    asks = [{"prompt": "Who?", "system": name, "tools": [TOOL]} for name in ("You are Bob.", "You are Eve.")]
    trained = [{**row, "chosen": "a", "rejected": "b"} for row in asks]
    assert asked(file_of(tmp_path / "asks.jsonl", asks)) == asked(file_of(tmp_path / "trained.jsonl", trained))
    assert len(asked(str(tmp_path / "asks.jsonl"))) == 2, "they differ in their system turn alone"


@pytest.mark.parametrize("row", [{"prompt": "Who?"}, IFEVAL[0], MT[0], ALPACA[0]])
@pytest.mark.parametrize(("column", "value"), [("images", ["a.png"]), ("available_tools", "a clock and a map")])
def test_a_column_that_would_be_lost_ends_it(row: dict[str, Any], column: str, value: Any, tmp_path: Path) -> None:
    where = file_of(tmp_path / "rows.jsonl", [{**row, column: value}])
    with pytest.raises(BadRowError, match=rf"{column}: .*; .*out of the file"):
        read_prompts(where, "error")


def test_answers_name_the_columns_of_the_benchmark(tmp_path: Path) -> None:
    """Its own program finds them by these."""
    rows = [{**ALPACA[0], "input": "A red one."}, ALPACA[1]]
    folder = folder_of(tmp_path / "a", asked(file_of(tmp_path / "a.json", rows)))
    (file,) = write("alpaca-eval", folder).iterdir()
    named = [{key: row.get(key) for key in ("instruction", "input")} for row in json.loads(file.read_text())]
    assert named == [{"instruction": "Name a fruit.", "input": "A red one."}, {"instruction": "Sing.", "input": None}]
    folder = folder_of(tmp_path / "i", asked(file_of(tmp_path / "i.jsonl", [{**IFEVAL[0], "system": "Be brief."}])))
    (file,) = write("ifeval", folder).iterdir()
    assert json.loads(file.read_text().splitlines()[0])["prompt"] == IFEVAL[0]["prompt"]


def test_a_bad_row_is_named_or_counted(tmp_path: Path) -> None:
    where = file_of(tmp_path / "p.jsonl", [{"instruction": "a"}, {"instruction": ""}, {"prompt": "b"}])
    with pytest.raises(BadRowError, match=r"p.jsonl, line 2: instruction: empty \(1 more bad row in this file\)"):
        read_prompts(where, "error")
    report = read_prompts(where, "skip").report
    assert (report["rows"], report["prompts"], report["skipped"]) == (3, 1, {"empty": 1, "missing field": 1})
    with pytest.raises(ValueError, match="no instruction there"):
        read_prompts(file_of(tmp_path / "e.jsonl", []), "error")


@pytest.mark.parametrize("name", ["instruction", "response"])
def test_a_row_of_instructions_has_at_most_max_row_mib(name: str, tmp_path: Path) -> None:
    """Of instructions alone, and of data of a layout."""
    rows = [{"instruction": "a", "response": "b"}, {"instruction": "c", "response": "d", name: "long " * 300_000}]
    where = file_of(tmp_path / "p.jsonl", rows if name == "response" else [{"instruction": r[name]} for r in rows])
    assert read_prompts(where, "error").report["prompts"] == 2
    with pytest.raises(BadRowError, match="line 2: more than 1 MiB in one row"):
        read_prompts(where, "error", 1)


def test_prompts_are_kept_as_they_were(tmp_path: Path) -> None:
    prompts = asked(file_of(tmp_path / "m.jsonl", MT)) + asked(file_of(tmp_path / "i.jsonl", IFEVAL))
    write_prompts(prompts, tmp_path)
    assert kept_prompts(tmp_path) == prompts


def test_instructions_of_a_copy_with_splits_are_those_of_train_and_the_rest_is_told(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}-00000-of-00001.jsonl").write_text(json.dumps({"prompt": f"a {split}"}) + "\n")
    read = read_prompts(str(tmp_path), "error")
    assert [prompt.turns[0].content for prompt in read.prompts] == ["a train"]
    assert read.report["ignored"] == [str(tmp_path / "test-00000-of-00001.jsonl")]
    assert [prompt.turns[0].content for prompt in read_prompts(f"{tmp_path}:test", "error").prompts] == ["a test"]

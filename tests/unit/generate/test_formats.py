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

"""Answers on disk: the same answers, the same bytes; and what reads the folder again."""

import json
from functools import partial
from pathlib import Path

import pytest

from jpo_dist.data.build import build
from jpo_dist.data.config import BuildConfig
from jpo_dist.data.read import scan
from jpo_dist.digests import DIGESTS, Damaged
from jpo_dist.generate import answers
from jpo_dist.generate.answers import Answer, is_answers, read_answers, write_answers
from jpo_dist.generate.prompts import Prompt, write_prompts
from jpo_dist.records.comparisons import Item, Message


def answer(prompt: int, text: str, sample: int = 0, finished: bool = True, temperature: float = 1.0) -> Answer:
    instruction = f"say {prompt}"
    return Answer(prompt, Item.of(instruction, "").instruction_id, instruction, text, finished, 3, temperature, sample,
                  0, "m", "local")  # fmt: skip


SOME = [
    answer(0, "one\u2028line, \u4f60 \ud83d"),  # a line separator, and half of a pair
    answer(0, "two", sample=1),
    answer(0, "cut", sample=2, finished=False),
    answer(1, "", sample=0),
    answer(1, "three", sample=1),
    answer(1, "four", sample=2),
]


def folder_of(folder: Path, some: list[Answer]) -> Path:
    folder.mkdir(exist_ok=True)
    write_answers(some, folder)
    write_prompts([Prompt((Message("user", f"say {n}"),)) for n in range(2)], folder)
    (folder / "report.json").write_text("{}")
    return folder


def test_what_is_written_is_read_in_any_order_and_parts_are_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "PART", 4)
    assert not is_answers(tmp_path)
    (tmp_path / "part-00007.jsonl").write_text("old")
    folder_of(tmp_path, SOME[::-1])
    assert read_answers(tmp_path) == SOME
    names = [path.name for path in sorted(tmp_path.glob("part-*"))]
    assert names == ["part-00000.jsonl", "part-00001.jsonl"]
    before = [path.read_bytes() for path in sorted(tmp_path.glob("part-*"))]
    assert [data.count(b"\n") for data in before] == [4, 2]
    write_answers(SOME, tmp_path)
    assert [path.read_bytes() for path in sorted(tmp_path.glob("part-*"))] == before
    assert "sent_without" not in json.loads(before[0].split(b"\n")[0])


def test_what_was_sent_without_a_field_says_so(tmp_path: Path) -> None:
    some = [SOME[1]._replace(sent_without="seed,temperature"), *SOME[2:]]
    assert read_answers(folder_of(tmp_path, some)) == some
    plain = folder_of(tmp_path / "plain", SOME[1:])
    (found, told), (same, same_told) = (scan(str(folder), on_bad_row="error") for folder in (tmp_path, plain))
    assert found.all_items() == same.all_items()
    assert (told.rows, told.responses, told.skipped) == (same_told.rows, same_told.responses, same_told.skipped)


def test_a_part_that_is_not_what_was_written_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, SOME)
    part = tmp_path / "part-00000.jsonl"
    whole = part.read_text()
    part.write_text(whole.replace("two", "2.0", 1))
    for reads in (read_answers, partial(scan, on_bad_row="error")):
        with pytest.raises(Damaged, match=r"part-00000\.jsonl (is damaged|has) .*; make the answers again"):
            reads(str(tmp_path))
    part.unlink()
    with pytest.raises(FileNotFoundError, match="holds no answers"):
        read_answers(tmp_path)


def test_a_line_that_is_no_answer_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, SOME)
    (tmp_path / DIGESTS).unlink()  # a folder of an older version, or that somebody has edited
    part = tmp_path / "part-00000.jsonl"
    for bad in ('{"prompt": 1}', "[]", json.dumps({**SOME[0]._asdict(), "finished": "yes"}), "{"):
        part.write_text(json.dumps(SOME[0]._asdict()) + "\n" + bad + "\n")
        with pytest.raises(ValueError, match=r"part-00000.jsonl:2 is no answer"):
            read_answers(tmp_path)


def test_a_folder_of_answers_is_data_without_scores(tmp_path: Path) -> None:
    """Cut and empty ones are counted, not errors; samples of one instruction are candidates for a judge."""
    folder_of(tmp_path / "out", SOME[1:])
    built, report = scan(str(tmp_path / "out"), on_bad_row="error")
    assert (report.rows, report.responses, report.items) == (5, 5, 3)
    assert report.skipped == {"cut off": 1, "empty answer": 1}
    assert [item.response for item in built.all_items()] == ["two", "three", "four"]
    config = {"sources": [{"path": str(tmp_path / "out")}], "candidates": {"policy": "conditional", "budget": 9},
              "output": "o"}  # fmt: skip
    offered = build(BuildConfig.model_validate(config)).candidates
    assert [{item.response for item in pair} for pair in offered] == [{"three", "four"}]

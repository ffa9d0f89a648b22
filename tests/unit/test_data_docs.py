"""The examples and the output shown in docs/data.md are real."""

import re
from pathlib import Path

import pytest

from jpo_dist.sources import BadRowError, read

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
FRUIT = """\
{"i_chosen": "Name a fruit.", "r_chosen": "A pear.", "i_reject": "Name a fruit.", "r_reject": "A brick."}
{"i_chosen": "Name a fruit.", "r_chosen": "A pear.", "i_reject": "Name a color.", "r_reject": "Rope."}

{"i_chosen": "Name a fruit.", "r_chosen": "A plum.", "i_reject": "Name a fruit.", "r_reject": ""}
{"i_chosen": "Name a fruit.", "r_chosen": "A plum.", "i_reject": "Name a fruit."}
{"i_chosen": "Name a fruit.", "r_chosen": "A plum."
"""
COLORS = "prompt,chosen,rejected,weight\nName a color.,Blue.,Rope.,1\nName a color.,Red.,Rope.,heavy\n"


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


@pytest.mark.parametrize("example", blocks("json"))
def test_each_layout_example_is_read(tmp_path, example):
    (tmp_path / "a.jsonl").write_text(example, encoding="utf-8")
    comparisons, _ = read(str(tmp_path / "a.jsonl"), on_bad_row="error")
    assert len(comparisons) == len(example.splitlines())
    joint = "Name a color." in example
    assert comparisons.is_joint_C[-1] == joint


def test_the_output_shown_is_the_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my").mkdir()
    Path("my/fruit.jsonl").write_text(FRUIT)
    Path("my/colors.csv").write_text(COLORS)
    Path("my/README.md").write_text("notes")
    Path("q.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    with pytest.raises(BadRowError) as bad:
        read("my/fruit.jsonl", on_bad_row="error")
    with pytest.raises(ValueError, match="layout") as unknown:
        read("q.jsonl", on_bad_row="skip")
    report = "\n".join(read("my", on_bad_row="skip")[1].lines())
    assert blocks("") == [f"BadRowError: {bad.value}\n", f"{report}\n", f"{unknown.value}\n"]

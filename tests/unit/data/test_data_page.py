"""The examples and the output shown in docs/data.md are real."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from rich.console import Console

from jpo_dist.data.config import BuildConfig
from jpo_dist.data.layouts import layout_of, page
from jpo_dist.data.layouts.config import LayoutConfig
from jpo_dist.data.layouts.detect import PLAIN
from jpo_dist.data.read import read, scan
from jpo_dist.data.read_report import BadRowError
from jpo_dist.pairing.config import Policy
from jpo_dist.records.groups import by_group, choose
from launcher.show.inspection.tables import groups_table
from tests.support.rows import write_rows

PAGE = (Path(__file__).parents[3] / "docs/data.md").read_text(encoding="utf-8")
FRUIT = """\
{"i_chosen": "Name a fruit.", "r_chosen": "A pear.", "i_reject": "Name a fruit.", "r_reject": "A brick."}
{"i_chosen": "Name a fruit.", "r_chosen": "A pear.", "i_reject": "Name a color.", "r_reject": "Rope."}

{"i_chosen": "Name a fruit.", "r_chosen": "A plum.", "i_reject": "Name a fruit.", "r_reject": ""}
{"i_chosen": "Name a fruit.", "r_chosen": "A plum.", "i_reject": "Name a fruit."}
{"i_chosen": "Name a fruit.", "r_chosen": "A plum."
"""
GARDEN = {
    "id": 1,
    "system": "You are a gardener.",
    "question": "Name a fruit.",
    "chosen": [{"id": "a", "role": "assistant", "content": "A pear."}],
    "rejected": "A brick.",
    "judge": "m-1",
    "score": 3,
    "rationale": "Bricks do not grow.",
}
COLORS = "prompt,chosen,rejected,weight\nName a color.,Blue.,Rope.,1\nName a color.,Red.,Rope.,heavy\n"


def judged() -> str:
    """Twelve pairs judged by p0 and p1 in DE, p2 in FR, and p3, of whose country every other row tells nothing."""
    rows = []
    for n in range(12):
        people = [("DE", "p0", 0), ("DE", "p1", n % 4 == 3), ("FR", "p2", n % 3 == 2), ("FR", "p3", n % 5 == 0)]
        for country, who, second in people:
            row = {"instruction": f"Name fruit {n}.", "response_0": "A pear.", "response_1": "A brick."}
            row["feedback"] = 2 if country == "FR" and n % 6 == 1 else int(second)
            row |= {"country": None if who == "p3" and n % 2 == 0 else country, "annotator": who}
            rows.append(json.dumps(row) + "\n")
    return "".join(rows)


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


@pytest.mark.parametrize("example", blocks("json"))
def test_each_layout_example_is_read(tmp_path, example):
    (tmp_path / "a.jsonl").write_text(example, encoding="utf-8")
    comparisons, report = scan(str(tmp_path / "a.jsonl"), on_bad_row="error")
    assert report.rows == len(example.splitlines())
    if "unrated" in example:
        assert (report.responses, report.items, len(comparisons)) == (2, 2, 0)
        return
    if report.responses:
        assert (report.items, report.comparisons) == ((3, 3) if "apple-like" in example else (2, 1))
    else:
        assert report.comparisons + report.ties == report.rows
    winner, loser = (comparisons.all_items()[c[-1]].response for c in (comparisons.winners_C, comparisons.losers_C))
    assert "pear" in winner or "Apple" in winner or "brick" in loser, "the good one wins"
    assert comparisons.is_joint_C[-1] == ("Name a color." in example)


def test_every_layout_has_an_example(tmp_path):
    found = {layout_of(json.loads(example.splitlines()[0]).keys()).name for example in blocks("json")}
    plain = {layout.name for layout in PLAIN if layout.kind != "candidates"}
    assert found == plain | {"conversation"}


def test_the_table_of_layouts_is_written_from_the_layouts():
    assert page.table() in PAGE, "python -m jpo_dist.data.layouts.page writes it"


def test_the_build_examples_are_configs():
    own, build = (BuildConfig.model_validate(yaml.safe_load(block)) for block in blocks("yaml") if "sources:" in block)
    assert [p.policy for p in build.pairs] == ["conditional", "balanced"]
    assert all(isinstance(source.layout, LayoutConfig) for source in own.sources)


def test_every_policy_is_explained():
    assert all(f"| `{policy}` |" in PAGE for policy in get_args(Policy))


def test_the_output_shown_is_the_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my").mkdir()
    Path("my/fruit.jsonl").write_text(FRUIT)
    Path("my/colors.csv").write_text(COLORS)
    Path("my/README.md").write_text("notes")
    Path("q.jsonl").write_text('{"said": "a", "reply": "b"}\n')
    with pytest.raises(BadRowError) as bad:
        read("my/fruit.jsonl", on_bad_row="error")
    with pytest.raises(ValueError, match="layout") as unknown:
        read("q.jsonl", on_bad_row="skip")
    report = "\n".join(read("my", on_bad_row="skip")[1].lines())
    Path("my/judged.jsonl").write_text(judged())
    groups = read("my/judged.jsonl", on_bad_row="error", groups=["country", "annotator"])[0]
    console = Console(width=116, color_system=None)
    with console.capture() as printed:
        console.print(groups_table("country", by_group(groups)["country"]))
    table = "\n".join(line.rstrip() for line in printed.get().splitlines())
    assert blocks("text") == [f"$ jpo data inspect my/judged.jsonl --group country --group annotator\n…\n{table}\n"]
    kept = choose(groups, {"country": ["DE", "FR"]}, {"annotator": ["p0"]}, "data")
    assert f"`{kept.sum()} of {len(kept)} comparisons kept by data.only country=DE|FR" in PAGE
    write_rows(Path("my/garden.jsonl"), [GARDEN])
    columns = "\n".join(read("my/garden.jsonl", on_bad_row="error")[1].lines())
    write_rows(Path("my/ask.jsonl"), [{"ask": "Name a fruit.", "chosen": "A pear.", "rejected": "A brick."}])
    with pytest.raises(ValueError, match="may hold it") as lost:
        read("my/ask.jsonl", on_bad_row="skip")
    shown = [columns, lost.value, f"BadRowError: {bad.value}", report, unknown.value]
    assert blocks("") == [f"{text}\n" for text in shown]

"""`jpo data …`, in this process: what it refuses, and how it prints the paths it was given."""

import json
from pathlib import Path

import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import load_as
from jpo_dist.data.config import BuildConfig
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.folder import read_set, write_set
from launcher.commands.data import app
from tests.support.screen import invoked

PAIRS = [{"instruction": "Say.", "response_0": "a", "response_1": "b", "feedback": verdict} for verdict in (0, 1)]
BUILD = "sources: [{path: %s}]\noutput: %s\nsplit: {validation: 0.0, test: 0.0}\npairs: []\n"


def said(*arguments: str | Path, code: int = 0) -> str:
    done = invoked(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return file


@pytest.mark.parametrize("option", ["--seed", "--examples"])
def test_a_negative_number_is_refused_with_the_name_of_its_option(pairs: Path, option: str):
    told = said("inspect", pairs, option, "-1", code=2)
    assert option in told
    assert "greater than or equal to 0" in told


def test_a_file_of_a_split_that_nobody_named_is_told(tmp_path: Path, pairs: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / f"copy/{split}.jsonl").write_bytes(pairs.read_bytes())
    told = said("inspect", tmp_path / "copy")
    assert "not read:" in told
    assert "test.jsonl" in told
    assert "not read:" not in said("inspect", f"{tmp_path / 'copy'}:test")


def test_what_became_of_each_column_is_told(tmp_path: Path):
    file, page, config = tmp_path / "a.jsonl", tmp_path / "p.html", tmp_path / "b.yaml"
    row = {"id": 1, "system": "Be brief.", "question": "Name a fruit.", "note": "an <easy> one"}
    file.write_text(json.dumps({**row, "chosen": "A pear.", "rejected": "A brick."}))
    told = said("inspect", file, "--html", page)
    for line in (
        "a.jsonl: layout explicit; read: system (a system turn), question (the instruction), chosen, rejected",
        "    carries nothing: id",
        '    not read: note ("an <easy> one")',
    ):
        assert line in told
    assert "not read: note (&quot;an &lt;easy&gt; one&quot;)" in page.read_text()
    config.write_text(BUILD % (file, tmp_path / "set"))
    assert '    not read: note ("an <easy> one")' in said("build", config)
    assert '    not read: note ("an <easy> one")' in said("inspect", tmp_path / "set")


def test_no_name_is_not_the_folder_one_stands_in(pairs: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither as a folder of files nor as a built set."""
    monkeypatch.chdir(pairs.parent)
    assert "'': nothing is named" in said("inspect", "", code=2)
    assert "'': nothing is named" in said("export", "", "tasks", code=2)
    write_set(ComparisonSet.build([Comparison(Item.of("i", "a"), Item.of("i", "b"))]), pairs.parent / "set", {})
    monkeypatch.chdir(pairs.parent / "set")
    assert "'': nothing is named" in said("inspect", "", code=2)


def test_brackets_in_paths_are_printed(pairs: Path):
    folder = pairs.parent / "[x] y"
    folder.mkdir()
    page, tasks, config, built = folder / "p.html", folder / "tasks", folder / "b.yaml", folder / "set"
    assert f"page: {page}\n" in said("inspect", pairs, "--html", page)
    assert f"tasks: {tasks}/conditional.tasks.json; " in said("export", pairs, tasks)
    config.write_text(BUILD % (pairs, f"'{built}'"))
    told = said("build", config, "candidates.policy=conditional")
    assert f"candidates={built}/candidates.jsonl\n" in told
    assert f"written: {built}; look at it: jpo data inspect {built}\n" in told
    exported = json.loads((tasks / "conditional.tasks.json").read_text())
    result = [{"from_name": "preference", "type": "choices", "value": {"choices": ["first"]}}]
    for number, task in enumerate(exported):
        task["id"], task["annotations"] = number, [{"id": number, "completed_by": 1, "result": result}]
    (folder / "export.json").write_text(json.dumps(exported))
    assert f"written: {folder / 'people'}\n" in said("import", folder / "export.json", folder / "people")


def test_the_splits_of_pairs_come_back_from_people(tmp_path: Path):
    words, tasks, people = ["train", "validation", "test"], tmp_path / "tasks", tmp_path / "people"
    file, export = tmp_path / "pairs.jsonl", tmp_path / "export.json"
    rows = [{"instruction": f"i{n}", "response_0": "a", "response_1": "b", "split": w} for n, w in enumerate(words)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "splits of the pairs, which the tasks keep: 1 train, 1 validation, 1 test" in said("export", file, tasks)
    exported = json.loads((tasks / "conditional.tasks.json").read_text())
    result = [{"from_name": "preference", "type": "choices", "value": {"choices": ["first"]}}]
    for number, task in enumerate(exported):
        task["id"], task["annotations"] = number, [{"id": number, "completed_by": 1, "result": result}]
    export.write_text(json.dumps(exported))
    assert '"validation": 1' in said("import", export, people)
    assert read_set(people).comparisons["split"].to_pylist() == words
    del exported[1]["data"]["split"]
    export.write_text(json.dumps(exported))
    assert "1 of 3 pairs have no split (the first is pairs.jsonl:2)" in said("import", export, people, code=2)


@pytest.mark.parametrize("key", ["sources.1.path", "sources[1].path", "sources.1", "sources.-2.path", "sources.x.path"])
def test_an_entry_that_a_list_does_not_have_is_told_with_those_it_has(pairs: Path, key: str):
    """OmegaConf alone says "list index out of range", and takes -2 for the entry of a list of one."""
    file = pairs.parent / "b.yaml"
    file.write_text(BUILD % (pairs, "set"))
    with pytest.raises(ConfigError) as refused:
        load_as(BuildConfig, file, [f"{key}=x"])
    assert str(refused.value) == f"{file}: {key}: sources has 1 entry; its numbers are 0 to 0"
    assert load_as(BuildConfig, file, ["sources.0.path=x"]).sources[0].path == "x"
    file.write_text("sources: []\noutput: set\n")
    with pytest.raises(ConfigError, match="sources has 0 entries; add them in the file"):
        load_as(BuildConfig, file, [f"{key}=x"])


VOTES = [{"q": {"text": "Name a bird."}, "x": "A wren.", "y": "A spoon.", "best": best} for best in ("x", "both bad")]
OWN = "layout: {instruction: q.text, a: x, b: y, prefer: {column: best, a: [x], b: [y], tie: [both bad]}}"


def test_layouts_are_listed_with_columns_meaning_and_an_example():
    everything = said("layouts")
    assert "conversation_a conversation_b winner" in everything
    assert "labels: 1: human_ref_A is better; 0: human_ref_B is better" in everything
    (shp,) = json.loads(said("layouts", "shp", "--json"))
    assert shp["examples"][0]["labels"] == 1
    assert "layout (shpp) is none of" in said("layouts", "shpp", code=2)


def test_inspect_says_which_layout_was_taken(pairs: Path):
    told = said("inspect", pairs)
    assert "layout judged" in told
    assert "feedback: 0: response_0 is better" in told
    assert json.loads(said("inspect", pairs, "--json"))["layouts"] == {"judged": 1}


def test_inspect_says_what_gives_the_winner_away(tmp_path: Path):
    """Instructions with one word always win, as does the longer response; then neither does."""

    def told(turned: bool) -> str:
        rows = []
        for n in range(120):
            good = {"i": f"please say number {n}", "r": f"a long answer {n}"}
            bad = {"i": f"say number {n + 500}", "r": "short"}
            winner, loser = (bad, good) if turned and n % 2 else (good, bad)
            rows.append({"i_chosen": winner["i"], "r_chosen": winner["r"],
                         "i_reject": loser["i"], "r_reject": loser["r"]})  # fmt: skip
        (tmp_path / "joint.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return said("inspect", tmp_path / "joint.jsonl")

    always = told(turned=False)
    assert "1.00 +- 0.01 (chance 0.50): a model may learn that alone" in always
    assert "winner told by length alone, joint" in always
    assert "1.00 are the longer one: a model may learn that alone" in always
    half = told(turned=True)
    assert "winner told by the instruction alone" in half
    assert "a model may learn that alone" not in half


def test_a_set_is_built_by_a_layout_of_ones_own(tmp_path: Path):
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in VOTES))
    config = tmp_path / "b.yaml"
    config.write_text(BUILD.replace("%s}", "%s, " + OWN + "}") % (tmp_path / "votes.jsonl", tmp_path / "set"))
    told = said("build", config)
    assert "read: 2 rows: 1 comparisons and 1 ties stated, 2 items" in told
    found = json.loads(said("inspect", tmp_path / "set", "--json", "--examples", "2"))
    assert found["layouts"] == {"your own": 1}
    assert "sources.0.layout.prefer.b: no value of best means it" in said(
        "build", config, "sources.0.layout.prefer.b=[]", code=2
    )


def task(**data: str) -> dict[str, object]:
    result = {"type": "pairwise", "from_name": "comparison", "to_name": "x", "value": {"selected": "right"}}
    return {"id": 4, "data": data, "annotations": [{"id": 1, "completed_by": 7, "result": [result]}]}


def test_a_project_of_label_studios_own_template_becomes_a_set(tmp_path: Path):
    export = tmp_path / "export.json"
    export.write_text(json.dumps([task(prompt="Name a bird.", answer1="A spoon.", answer2="A wren."), "torn"]))
    told = said("import", export, tmp_path / "set")
    assert f"written: {tmp_path / 'set'}" in told
    assert '"not a task made here": 1' in told
    built = read_set(tmp_path / "set")
    items = built.all_items()
    assert [items[built.winners_C[0]], items[built.losers_C[0]]] == [
        Item.of("Name a bird.", "A wren."), Item.of("Name a bird.", "A spoon."),
    ]  # fmt: skip
    assert built.comparisons["annotator"].to_pylist() == ["user:7"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps([task(text1="x", text2="y")]), "no usable annotation of 1 (1 no instruction)"),
        ("[]", "no usable annotation of 0 (there is none)"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"tasks": []}', "not an export of Label Studio"),
        ("[1, 2]", "not an export of Label Studio"),
    ],
    ids=["no instruction", "empty", "nested", "an object", "numbers"],
)
def test_an_export_that_brings_nothing_is_a_sentence(tmp_path: Path, text: str, words: str):
    export = tmp_path / "export.json"
    export.write_text(text)
    assert words in said("import", export, tmp_path / "set", code=2).replace("\n", " ")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("between", ["\n", "", "\n\n"])
def test_an_export_may_be_tasks_one_after_the_other(tmp_path: Path, between: str) -> None:
    """A line each, or files of a target storage put together, which is told to do of its folder."""
    birds = [task(prompt="Name a bird.", answer1=one, answer2="A wren.") for one in ("A spoon.", "A cup.")]
    stored = [{**one.pop("annotations")[0], "task": {**one, "id": n}} for n, one in enumerate(birds)]
    (tmp_path / "1").write_text(between.join(map(json.dumps, stored)) + "\n")
    said("import", tmp_path / "1", tmp_path / "set")
    items = read_set(tmp_path / "set").all_items()
    assert {item.response for item in items} == {"A wren.", "A spoon.", "A cup."}
    assert "cat FOLDER/*" in said("import", tmp_path, tmp_path / "set", code=2)


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_configs_and_exports_with_the_mark_of_an_encoding_are_read(tmp_path: Path, pairs: Path, coding: str) -> None:
    """As editors and servers of Windows write them."""
    config, export = tmp_path / "b.yaml", tmp_path / "export.json"
    config.write_text(BUILD % (pairs, tmp_path / "set"), encoding=coding)
    said("build", config)
    assert len(read_set(tmp_path / "set")) == 2
    said("export", pairs, tmp_path / "tasks", "--to", "label-studio")
    (task,) = json.loads((tmp_path / "tasks/conditional.tasks.json").read_text())[:1]
    result = {"from_name": "preference", "to_name": ["first_response", "second_response"], "type": "pairwise"}
    task["annotations"] = [{"id": 1, "completed_by": 1, "result": [{**result, "value": {"selected": "left"}}]}]
    export.write_text(json.dumps([task]), encoding=coding)
    said("import", export, tmp_path / "back")
    assert len(read_set(tmp_path / "back")) == 1


def test_a_config_in_another_encoding_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes("output: é\n".encode("latin-1"))
    told = " ".join(said("build", tmp_path / "b.yaml", code=2).split())
    assert "b.yaml is not UTF-8 text; save it as UTF-8" in told

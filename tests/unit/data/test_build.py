"""`jpo data build`: pairs, mixture, splits, candidates, and the same bytes each time."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jpo_dist.data.build import Built, build, lines, write
from jpo_dist.data.config import BuildConfig
from jpo_dist.data.locate import validation_of
from jpo_dist.data.read import read, read_candidates
from jpo_dist.records.folder import read_set
from jpo_dist.records.split import instruction_ids, part_of, split_of, splits_in
from jpo_dist.records.unbuilt import comparisons_of

HELPFUL = Path(__file__).resolve().parents[4] / "shared/data/helpful/val_conditional_pref.jsonl"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def ratings(path: Path, prompts: int, answers: int = 3, salt: str = "") -> str:
    rows = [
        {"prompt": f"Question {salt}{p}?", "completion": f"Answer {a} to {p}.", "score": (p * 7 + a * 5) % 11}
        for p in range(prompts)
        for a in range(answers)
    ]
    return write_rows(path, rows)


def config(sources: list[Any], tmp_path: Path, **changes: Any) -> BuildConfig:
    whole = {"validation": 0.0, "test": 0.0}
    values = {"sources": sources, "output": str(tmp_path / "set"), "split": whole, **changes}
    return BuildConfig.model_validate(values)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_splits_are_by_instruction_and_nothing_crosses_them(tmp_path: Path):
    pairs = [{"policy": "conditional"}, {"policy": "random"}, {"policy": "balanced"}]
    split = {"validation": 0.25, "test": 0.25, "seed": 3}
    made = build(config([{"path": ratings(tmp_path / "r.jsonl", 60)}], tmp_path, pairs=pairs, split=split))
    built, ids = made.comparisons, instruction_ids(made.comparisons)
    splits = built.comparisons["split"].to_pylist()
    assert splits_in(built) == ["train", "validation", "test"]
    for w, v, name in zip(built.winners_C, built.losers_C, splits, strict=True):
        assert {split_of(ids[w], 0.25, 0.25, 3), split_of(ids[v], 0.25, 0.25, 3)} == {name}
    assert made.report["splits"]["crossing_left_out"] == 0, "pairing knew the splits"
    found = [set(instruction_ids(part_of(built, name))) for name in splits_in(built)]
    assert [a & b for a, b in combinations(found, 2)] == [set()] * 3
    counts = made.report["splits"]
    assert sum(counts[name] for name in splits_in(built)) == len(built)


def test_stated_comparisons_between_two_splits_are_left_out_and_counted(tmp_path: Path):
    rows = [{"i_chosen": f"i{n}", "r_chosen": "yes", "i_reject": f"i{n + 1}", "r_reject": "no"} for n in range(100)]
    split = {"validation": 0.3, "test": 0.0}
    made = build(config([{"path": write_rows(tmp_path / "j.jsonl", rows)}], tmp_path, pairs=[], split=split))
    crossing = made.report["splits"]["crossing_left_out"]
    assert 0 < crossing < 100
    assert len(made.comparisons) + crossing == 100
    assert made.report["read"]["rows"] == made.report["read"]["comparisons"] == 100


def test_scores_decide_and_scales_are_kept_apart(tmp_path: Path):
    sources = [{"path": ratings(tmp_path / f"{name}.jsonl", 20, salt=name)} for name in "ab"]
    made = build(config(sources, tmp_path, pairs=[{"policy": "random", "min_score_gap": 2.0}]))
    scores, scales = made.comparisons.items["score"].to_numpy(), made.comparisons.items["scale"].to_pylist()
    w, v = made.comparisons.winners_C, made.comparisons.losers_C
    assert len(w) > 50
    assert (scores[w] > scores[v] + 2.0).all()
    assert all(scales[a] == scales[b] for a, b in zip(w, v, strict=True))
    one = [{**source, "name": "one"} for source in sources]
    mixed = build(config(one, tmp_path, pairs=[{"policy": "random"}]))
    texts = [item.instruction[0].content for item in mixed.comparisons.all_items()]
    crossing = [
        texts[a][9] != texts[b][9] for a, b in zip(mixed.comparisons.winners_C, mixed.comparisons.losers_C, strict=True)
    ]
    assert any(crossing), "sources that share a name share a scale"


def test_assumed_wins_are_marked_and_right(tmp_path: Path):
    rows = [{"prompt": f"Question {n}?", "chosen": "good", "rejected": "bad"} for n in range(30)]
    ranked = write_rows(
        tmp_path / "k.jsonl", [{"prompt": f"Rank {n}?", "responses": ["good", "so", "bad"]} for n in range(9)]
    )
    sources = [{"path": write_rows(tmp_path / "p.jsonl", rows)}, {"path": ranked}]
    made = build(config(sources, tmp_path, pairs=[{"policy": "assumed_wins", "budget": 40}]))
    found = [c for c in comparisons_of(made.comparisons) if c.origin == "assumed"]
    assert len(found) == 40
    assert {c.pairing for c in found} == {"assumed_wins"}
    assert all((c.winner.response, c.loser.response, c.protocol) == ("good", "bad", "joint") for c in found)
    assert sum(c.origin == "stated" for c in comparisons_of(made.comparisons)) == 30
    with pytest.raises(ValueError, match="assumed_wins"):
        build(config(sources[:1], tmp_path, pairs=[{"policy": "random"}]))


def test_no_pair_is_made_twice_or_of_what_is_stated(tmp_path: Path):
    stated = [{"prompt": "Question 0?", "chosen": "Answer 0 to 0.", "rejected": "Answer 1 to 0."}]
    sources = [{"path": write_rows(tmp_path / "p.jsonl", stated)}, {"path": ratings(tmp_path / "r.jsonl", 8)}]
    pairs = [{"policy": "conditional"}, {"policy": "random"}, {"policy": "similar"}]
    made = build(config(sources, tmp_path, pairs=pairs))
    ends = [frozenset(pair) for pair in zip(made.comparisons.winners_C, made.comparisons.losers_C, strict=True)]
    assert len(set(ends)) == len(ends)
    assert made.report["pairs"][0]["stated_or_made_before"] == 1
    assert sum(p["kept"] for p in made.report["pairs"]) + 1 == len(made.comparisons)


def test_a_mixture_has_the_asked_proportions_and_says_what_it_left_out(tmp_path: Path):
    sources = []
    for name, count, weight in (("a", 90, 1.0), ("b", 20, 2.0), ("c", 70, 1.0)):
        rows = [{"prompt": f"{name}{n}", "chosen": "x", "rejected": "y"} for n in range(count)]
        sources.append({"path": write_rows(tmp_path / f"{name}.jsonl", rows), "weight": weight})
    made = build(config(sources, tmp_path, pairs=[]))
    assert [(m["comparisons"], m["left_out"]) for m in made.report["mixture"]] == [(10, 80), (20, 0), (10, 60)]
    assert len(made.comparisons) == 40
    again = build(config(sources, tmp_path, pairs=[], seed=1))
    assert again.comparisons.fingerprint != made.comparisons.fingerprint
    del sources[0]["weight"]
    with pytest.raises(ValidationError, match="weight for every source"):
        config(sources, tmp_path)


def test_the_same_config_gives_the_same_bytes_and_another_seed_others(tmp_path: Path):
    pairs = [
        {"policy": name, "max_per_item": 2} for name in ("conditional", "random", "similar", "bucketed", "balanced")
    ]

    def made(seed: int) -> Built:
        source = {"path": ratings(tmp_path / "r.jsonl", 40)}
        return build(config([source], tmp_path, pairs=pairs, seed=seed, candidates={"policy": "similar", "budget": 9}))

    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write(made(seed), tmp_path / name)
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")
    assert folder_bytes(tmp_path / "one") != folder_bytes(tmp_path / "three")
    found, _ = read_candidates(str(tmp_path / "one/candidates.jsonl"), on_bad_row="error")
    assert len(found) == 9
    assert all(first.instruction != second.instruction for first, second, *_ in found)


def test_a_written_set_reads_back_whole_and_trains_on_its_training_split(tmp_path: Path):
    split = {"validation": 0.2, "test": 0.2}
    made = build(config([{"path": ratings(tmp_path / "r.jsonl", 50)}], tmp_path, split=split))
    folder = tmp_path / "set"
    write(made, folder)
    back = read_set(folder)
    assert back.fingerprint == made.comparisons.fingerprint
    assert back.items.equals(made.comparisons.items)
    assert [i["id"] for i in back.items.to_pylist()] == [item.id for item in back.all_items()]
    counts = {
        name: len(read(f"{folder}:{name}", on_bad_row="error")[0]) for name in ("train", "validation", "test", "all")
    }
    assert counts == {**{n: made.report["splits"][n] for n in ("train", "validation", "test")}, "all": len(back)}
    assert len(read(str(folder), on_bad_row="error")[0]) == counts["train"]
    assert validation_of(str(folder)) == f"{folder}:validation"
    assert validation_of(str(tmp_path / "r.jsonl")) is None
    text = "\n".join(lines(made.report))
    assert f"{counts['train']} train, {counts['validation']} validation, {counts['test']} test" in text


def test_an_unknown_split_is_named(tmp_path: Path):
    write(build(config([{"path": ratings(tmp_path / "r.jsonl", 5)}], tmp_path)), tmp_path / "set")
    with pytest.raises(ValueError, match="no split 'test'; there are: train"):
        read(f"{tmp_path / 'set'}:test", on_bad_row="error")


def test_a_set_is_a_source_again(tmp_path: Path):
    write(build(config([{"path": ratings(tmp_path / "r.jsonl", 30)}], tmp_path)), tmp_path / "set")
    again = build(config([{"path": str(tmp_path / "set")}], tmp_path, pairs=[{"policy": "random"}]))
    before = read_set(tmp_path / "set")
    assert again.report["read"]["comparisons"] == int((~before.is_tie_C).sum())
    assert again.comparisons.items["score"].null_count == 0, "scores came with the items"
    assert any(c.protocol == "joint" for c in comparisons_of(again.comparisons))


@pytest.mark.skipif(not HELPFUL.exists(), reason="the real data is not beside the project")
def test_the_papers_validation_file_has_363_conditional_comparisons_of_726_items(tmp_path: Path):
    made = build(config([{"path": str(HELPFUL)}], tmp_path, pairs=[]))
    assert (made.report["read"]["rows"], made.report["read"]["skipped"]) == (363, {})
    assert (len(made.comparisons), made.comparisons.num_items) == (363, 726)
    assert not made.comparisons.is_joint_C.any()
    write(made, tmp_path / "set")
    assert read_set(tmp_path / "set").fingerprint == made.comparisons.fingerprint


def test_pairs_alone_need_no_pairing_policy(tmp_path: Path):
    rows = [{"prompt": f"Question {n}?", "chosen": "good", "rejected": "bad"} for n in range(5)]
    made = build(config([write_source(tmp_path, rows)], tmp_path))
    assert [c.origin for c in comparisons_of(made.comparisons)] == ["stated"] * 5


def test_responses_without_a_score_become_candidates(tmp_path: Path):
    """What `jpo judge` starts from, when all there is are answers."""
    rows = [{"instruction": f"Question {n}?", "response": f"Answer {n}."} for n in range(12)]
    source = write_source(tmp_path, rows)
    made = build(config([source], tmp_path, candidates={"policy": "random", "budget": 6}))
    write(made, tmp_path / "set")
    pairs, report = read_candidates(str(tmp_path / "set/candidates.jsonl"), on_bad_row="error")
    assert (len(pairs), report.rows, len(made.comparisons), made.comparisons.num_items) == (6, 6, 0, 12)
    assert made.comparisons.items["score"].null_count == 12
    with pytest.raises(ValueError, match="0 stated, 0 items with scores of 12; add"):
        build(config([source], tmp_path))
    with pytest.raises(ValueError, match=r"no comparisons; no response has a score.*jpo judge"):
        read(source["path"], on_bad_row="error")


def test_a_checker_scores_responses_without_a_score_and_the_score_of_another_source_stays(tmp_path: Path):
    asked = "Say it. Do not use any commas."
    bare = [{"prompt": asked, "completion": text} for text in ("one, two", "one two")]
    rated = [{"prompt": "Rated?", "completion": text, "score": score} for text, score in (("a", 1), ("b", 2))]
    (tmp_path / "bare").mkdir()
    checked = {**write_source(tmp_path / "bare", bare), "checker": "jpo_dist.evaluate.constraints:constraints_held"}
    again = [{"prompt": "Rated?", "completion": "a"}]  # nobody's score takes no score away
    (tmp_path / "again").mkdir()
    sources = [write_source(tmp_path / "again", again), checked, write_source(tmp_path, rated)]
    made = build(config(sources, tmp_path))
    found = [(c.winner.response, c.loser.response) for c in comparisons_of(made.comparisons)]
    assert sorted(found) == [("b", "a"), ("one two", "one, two")]
    assert sorted(made.comparisons.items["score"].to_pylist()) == [0.0, 1.0, 1.0, 2.0]


def test_nothing_to_compare_is_said_with_what_was_read(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl: nothing there that can be compared\n1 rows.*\n  1 x not json"):
        build(config([{"path": str(tmp_path / "rows.jsonl")}], tmp_path, on_bad_row="skip"))


def write_source(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"path": write_rows(folder / "rows.jsonl", rows)}


def test_a_checker_scores_the_items_of_a_source(tmp_path: Path):
    rows = [
        {
            "prompt": f"Say {n}. Use at most {2 + n % 2} words.",
            "responses": ["one two three", "one two", "one two three four"],
        }
        for n in range(12)
    ]
    source = {
        "path": write_rows(tmp_path / "r.jsonl", rows),
        "checker": "jpo_dist.evaluate.constraints:constraints_held",
    }
    made = build(config([source], tmp_path, pairs=[{"policy": "conditional"}, {"policy": "random"}]))
    assert made.report["read"]["responses"] == 36
    found = list(comparisons_of(made.comparisons))
    assert {c.protocol for c in found} == {"conditional", "joint"}
    for c in found:
        limit = int(c.winner.instruction[0].content.split()[-2])
        assert len(c.winner.response.split()) <= limit
        assert len(c.loser.response.split()) > int(c.loser.instruction[0].content.split()[-2])

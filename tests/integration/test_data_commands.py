"""`jpo data build | inspect | export | import` as a person runs them, and training on what they leave."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from jpo_dist.data.read import read
from jpo_dist.records.folder import read_set
from tests.support.commands import Files, Warm, lines_of
from tests.support.tiny import PLAIN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 instructions with three scored responses each, one bad row and one response twice."""
    rows = [
        {"prompt": f"say {p}", "completion": "yes " * (1 + a) + str(p), "score": (p * 7 + a * 5) % 11}
        for p in range(40)
        for a in range(3)
    ]
    file = tmp_path_factory.mktemp("data") / "ratings.jsonl"
    rows += [rows[0], {"prompt": "say", "completion": "", "score": 1}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def build_config(path: Path, sources: list[dict[str, Any]], output: Path, **changes: Any) -> str:
    split = {"validation": 0.2, "test": 0.1, "seed": 1}
    values = {"sources": sources, "output": str(output), "split": split, "on_bad_row": "skip", **changes}
    path.write_text(yaml.safe_dump(values))
    return str(path)


@pytest.fixture(scope="module")
def built(ratings: Path, warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    pairs = [{"policy": "conditional"}, {"policy": "balanced", "max_per_item": 2}]
    config = build_config(folder / "b.yaml", [{"path": str(ratings)}], folder / "set", pairs=pairs)
    done = warm(
        "data", "build", config, "candidates.policy=similar", "candidates.budget=12", "pairs.1.budget=30"
    ).check()
    assert "122 rows with 122 responses" in done.said
    assert "1 repeated responses, 1 skipped" in done.said
    assert "pairs, balanced:" in done.said
    assert "the instruction alone predicts the winner" in done.said
    return folder / "set"


def test_a_built_set_trains_on_one_split_and_evaluates_on_another(built: Path, tiny: Files, warm: Warm, tmp_path: Path):
    arguments = [f"data.train={built}", "data.validation=null", f"run.dir={tmp_path / 'run'}", "cluster.workers=0",
                 "train.max_steps=2", "tracking.uri=none"]  # fmt: skip
    warm("train", tiny.config, *arguments).check()
    first = lines_of(tmp_path / "run")[0]["metrics"]
    held, _ = read(f"{built}:validation", on_bad_row="error")
    assert first["eval/comparisons"] == int((~held.is_tie_C).sum()) > 0
    assert first["eval/loss"] == pytest.approx(np.log(2))


def test_inspect_for_programs_tells_what_was_read_and_what_is_there(built: Path, ratings: Path, warm: Warm):
    found = json.loads(warm("data", "inspect", str(built), "--json").check().out)
    whole = read_set(built)
    decided = ~whole.is_tie_C
    joint = int((whole.is_joint_C & decided).sum())
    assert found["comparisons"] == {"conditional": int(decided.sum()) - joint, "joint": joint}
    assert (found["rows"], found["responses"], found["duplicates"]) == (122, 122, 1)
    assert found["skipped"] == {"empty": 1}
    assert found["items"] == 120
    assert not any(found["split_overlap"].values())
    assert found["split_inside"] == {"validation": 0, "test": 0}
    alone = json.loads(warm("data", "inspect", str(ratings), "--json").check().out)
    assert (alone["rows"], alone["items"], alone["duplicates"], alone["skipped"]) == (122, 120, 1, {"empty": 1})
    assert alone["responses"] == alone["items"] + alone["duplicates"] + sum(alone["skipped"].values())


def test_inspect_for_people_with_token_lengths_and_a_page(built: Path, tiny: Files, warm: Warm, tmp_path: Path):
    done = warm("data", "inspect", str(built), "--tokenizer", tiny.model, "--html", str(tmp_path / "page.html")).check()
    assert "tokens" in done.said
    page = (tmp_path / "page.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )


def test_pairs_go_to_people_and_come_back(built: Path, warm: Warm, tmp_path: Path):
    tasks_folder = tmp_path / "tasks"
    warm("data", "export", str(built / "candidates.jsonl"), str(tasks_folder)).check()
    tasks = json.loads((tasks_folder / "joint.tasks.json").read_text())
    assert len(tasks) == 12
    assert (tasks_folder / "joint.config.xml").read_text().lstrip().startswith("<View")
    for number, task in enumerate(tasks):  # as Label Studio exports them
        choices = {"choices": [["first", "second", "tie"][number % 3]]}
        result = [{"from_name": "preference", "to_name": "response_1", "type": "choices", "value": choices}]
        task["id"], task["annotations"] = number, [{"id": number, "completed_by": 1 + number % 2, "result": result}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    warm("data", "import", str(tmp_path / "export.json"), str(tmp_path / "people")).check()
    back, report = read(f"{tmp_path / 'people'}:all", on_bad_row="error")
    assert (report.comparisons, report.ties) == (8, 4)
    assert set(back.comparisons["annotator"].to_pylist()) == {"user:1", "user:2"}
    rows = [json.loads(line) for line in (built / "candidates.jsonl").read_text().splitlines()]
    assert Counter(back.comparisons["split"].to_pylist()) == Counter(row["split"] for row in rows)
    found = json.loads(warm("data", "inspect", str(tmp_path / "people"), "--json").check().out)
    assert found["rows"] == 12


def test_hard_pairs_are_those_the_reference_finds_as_likely(tiny: Files, ratings: Path, warm: Warm, tmp_path: Path):
    reference = {"model": {"path": tiny.model, "dtype": "float32"}, "template": PLAIN}
    env = {"JPO_CACHE": str(tmp_path / "cache")}
    gaps = {}
    for policy in ("random", "hard"):
        pairs = [{"policy": policy, "max_per_item": 1}]
        split = {"validation": 0.0, "test": 0.0}
        source = [{"path": str(ratings)}]
        config = build_config(
            tmp_path / "h.yaml", source, tmp_path / policy, pairs=pairs, reference=reference, split=split
        )
        warm("data", "build", config, env=env).check()
        gaps[policy] = np.median(reference_gaps(read_set(tmp_path / policy), tiny.model))
    assert gaps["hard"] < 0.3 * gaps["random"]


def reference_gaps(built: Any, folder: str) -> np.ndarray:
    """|log p(I,R) of the winner - of the loser| by transformers alone, item by item."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def logp(instruction: str, response: str) -> float:
        texts = (PLAIN.replace("{instruction}", instruction), response)
        pieces = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        ids = torch.tensor([[tokenizer.bos_token_id, *pieces[0], *pieces[1], tokenizer.eos_token_id]])
        with torch.no_grad():
            logps = model(ids).logits[0, :-1].log_softmax(-1)
        return float(logps.gather(1, ids[0, 1:, None]).sum())

    scores = np.array([logp(item.instruction[0].content, item.response) for item in built.all_items()])
    return np.abs(scores[built.winners_C] - scores[built.losers_C])

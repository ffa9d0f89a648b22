"""The pipelines of the project, run: the paper's on a tiny model and 20 rows, docs/pipeline.md block by block."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ROOT, environment, jpo
from tests.support.openai_server import by_length, openai_server
from tests.support.tiny import save_tiny

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(3600)]

PAGE = ROOT / "docs" / "pipeline.md"


def rows_of(place: Path, rows: list[dict[str, Any]]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def published(folder: Path, ending: str, test_ending: str) -> None:
    """The published files with 20 short rows each."""
    pair = [
        {"i_chosen": f"say {n}", "r_chosen": "yes " * (n % 4 + 1), "i_reject": f"say {n}", "r_reject": "no"}
        for n in range(20)
    ]
    joint = [{**row, "i_reject": f"tell {n}"} for n, row in enumerate(pair)]
    for split in ("train", "val"):
        rows_of(folder / f"{split}_sft.jsonl", [{"instruction": f"say {n}", "response": f"yes {n}"} for n in range(20)])
        rows_of(folder / f"{split}_conditional_pref.{ending}", pair)
        rows_of(folder / f"{split}_joint_pref.{ending}", joint)
    gold = [{"instruction": f"ask {n}", "gold_response": f"gold {n}"} for n in range(20)]
    rows_of(folder / f"test.{test_ending}", gold)


@pytest.mark.parametrize(
    ("name", "folder", "endings"),
    [("helpful", "anthropic_helpful", ("jsonl", "jsonl")), ("tldr", "tldr", ("json", "json"))],
)
def test_the_papers_pipeline_runs_to_its_win_rate(
    tmp_path: Path, name: str, folder: str, endings: tuple[str, str]
) -> None:
    published(tmp_path / "data" / folder, *endings)
    model = save_tiny(tmp_path / "model")
    small = ["train.max_steps=2", "train.comparisons_per_step=4", "optim.warmup_steps=1"]
    with openai_server(by_length) as server:
        words = [
            f"dir={tmp_path / 'run'}", f"shared.model.path={model}", "shared.model.dtype=float32",
            "shared.cluster.workers=0", "stages.0.sft.train.max_steps=2", "stages.0.sft.train.items_per_step=4",
            *(f"stages.{at}.train.{one}" for at in (1, 2) for one in small),
            *(f"stages.{at}.generate.max_new_tokens=6" for at in (3, 4, 5)),
            f"stages.6.winrate.endpoint.base_url={server.url}", "stages.6.winrate.endpoint.key_env=null",
        ]  # fmt: skip
        jpo("run", str(ROOT / "configs" / f"paper-{name}.yaml"), *words, cwd=tmp_path, timeout=1800).check()
    [report] = (tmp_path / "run").glob("winrate-*/winrate.json")
    found = json.loads(report.read_text(encoding="utf-8"))
    assert set(found["by_temperature"]) == {"0.001", "0.5", "1"}
    assert found["all"]["answers"] == 60
    assert len(found["compare"]) == 2


def block(name: str) -> str:
    found = re.search(rf"^```sh {name}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found, name
    return found.group(1)


JPO = """
set -euo pipefail
jpo() {
  case "$1" in sft | train) set -- "$@" train.max_steps=2 ;; esac
  python -m launcher "$@"
}
"""


def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    """In order, in one shell, with the page's model and a part of its data; trainings take two steps."""
    data = tmp_path / "data"
    data.mkdir()
    for file, count in (("train", 40), ("validation", 8), ("evaluation", 12)):
        lines = (ROOT / "jpo_dist" / "sample" / f"{file}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (data / f"{file}.jsonl").write_text("".join(lines[:count]), encoding="utf-8")
    settings = re.sub(r"^DATA=.*$", f"DATA={data}", block("settings"), flags=re.MULTILINE)
    settings = re.sub(r"^RUNS=.*$", f"RUNS={tmp_path / 'runs'}", settings, flags=re.MULTILINE)
    names = re.findall(r"^```sh (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert names == ["settings", "sft", "compare", "align", "winrate"]
    script = JPO + settings + "".join(map(block, names[1:]))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    report = json.loads((tmp_path / "runs" / "winrate" / "winrate.json").read_text(encoding="utf-8"))
    assert report["all"]["answers"] == 12
    assert (tmp_path / "runs" / "jpo" / "scores" / "margins.parquet").exists()

"""Pictures of MLflow's pages in docs/images, made by a real browser from runs that are trained for them.

`make screenshots` makes them; tests/integration/test_screenshots.py looks at what the pages say.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from PIL import Image

from jpo_dist.sample.small_model import write_small_model
from tests.support.browser import Page, browser
from tests.support.commands import ROOT, jpo

IMAGES = ROOT / "docs" / "images"
SAMPLE = "package:jpo_dist/sample/"
WORKFLOW = "workflowType=machine_learning"
USER = "ada"
"""In the place of whoever takes the pictures."""
CHARTS = "^(eval/)?(loss|rewards/acc|margin)"
"""What docs/watching.md has people look for: the charts that a person opens a training for."""
COMPARED = ("Visualizations", "Parameters", "Artifacts")
"""Parts of the page of two runs that are closed: what is left is their figures."""
WIDTH, COLORS = 1280, 64
_OF_TESTS = "PYTEST_CURRENT_TEST"
"""With this variable MLflow's stores check themselves in ways that no server of a person does."""
_ASSISTANT = "[...document.querySelectorAll('button')].find(b => /close/i.test(b.getAttribute('aria-label') || ''))"


class Server(NamedTuple):
    """A server of MLflow that hands artifacts through, and its folder."""

    address: str
    folder: Path


@contextmanager
def mlflow_server(folder: Path, database: str | None = None) -> Iterator[Server]:
    """A real one on a free port: its database in `folder`, unless an address says otherwise, artifacts behind it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", database or f"sqlite:///{folder}/server.db", "--serve-artifacts",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, cwd=folder, start_new_session=True,
            env={**{k: v for k, v in os.environ.items() if k != _OF_TESTS}, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    try:
        end = time.monotonic() + 240
        while not _answers(port):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        yield Server(f"http://127.0.0.1:{port}", folder)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    try:
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200)
    except OSError:
        return False


# ---- the runs


class Made(NamedTuple):
    """The runs of the pictures, by stage of the pipeline, and the model."""

    experiment: str
    parent: str
    stages: dict[str, str]
    model: str


def make_runs(server: Server) -> Made:
    """A pipeline of SFT, JPO, the same without the instruction part, answers of both and their win rate; then JPO
    evaluated, registered and promoted. Everything by the commands, on a model of four million weights: minutes."""
    home = server.folder / "work"
    home.mkdir()
    rows = [json.loads(line) for line in (ROOT / "jpo_dist" / "sample" / "train.jsonl").read_text().splitlines()]
    texts = [row[key] for row in rows for key in ("i_chosen", "r_chosen", "i_reject", "r_reject")]
    write_small_model(texts, home / "small-model")
    (home / "pipeline.yaml").write_text(yaml.safe_dump(_pipeline(server.address), sort_keys=False))
    env = {"USER": USER, "LOGNAME": USER, "HF_HUB_OFFLINE": "1"}
    jpo("run", "pipeline.yaml", env=env, cwd=home, timeout=3600).check()
    [trained] = (home / "runs" / "helpful").glob("jpo-*.yaml")
    config = home / "jpo.yaml"
    config.write_text(trained.read_text())
    asked = [f"evaluate.instructions={SAMPLE}evaluation.jsonl", "evaluate.max_new_tokens=32"]
    jpo("evaluate", "jpo.yaml", *asked, env=env, cwd=home, timeout=1800).check()
    jpo("register", "jpo.yaml", "--name", "helpful-chat", env=env, cwd=home).check()
    (home / "gate.yaml").write_text("evaluate/all/rewards/accuracies: {at_least: 0}\n")
    jpo("promote", "jpo.yaml", "gate.yaml", "--name", "helpful-chat", env=env, cwd=home).check()
    return _found(server)


def _pipeline(address: str) -> dict[str, Any]:
    data = {"train": f"{SAMPLE}train.jsonl", "validation": f"{SAMPLE}validation.jsonl", "max_length": 256}
    steps = {"tokens_per_micro_step": 8192, "max_steps": 24, "eval_every": 6}
    aligned = {
        "model": {"path": "@sft"}, "data": data, "optim": {"lr": 3e-5, "schedule": "linear", "warmup_steps": 2},
        "train": {"comparisons_per_step": 24, **steps}, "checkpoint": {"every": 24},
    }  # fmt: skip
    answers = {"instructions": f"{SAMPLE}evaluation.jsonl", "temperatures": [0.5], "max_new_tokens": 32}
    return {
        "dir": "runs/helpful",
        "name": "helpful",
        "shared": {"tracking": {"uri": address, "log_model": "copy"}, "cluster": {"workers": 0}},
        "stages": [
            {
                "sft": {
                    "model": {"path": "small-model"},
                    "data": data,
                    "optim": {"lr": 3e-3, "schedule": "linear", "warmup_steps": 4},
                    "train": {**steps, "max_steps": 90, "eval_every": 30, "items_per_step": 24, "epochs": 10},
                    "checkpoint": {"every": 90},
                }
            },
            {"name": "jpo", "train": aligned},
            {"name": "dpo", "train": {**aligned, "objective": {"instruction_weight": 0.0}}},
            {"name": "before", "generate": {"model": {"path": "@sft"}, **answers}},
            {"name": "after", "generate": {"model": {"path": "@jpo"}, **answers}},
            {
                "winrate": {
                    "answers": "@after",
                    "against": "@before",
                    "kind": "checker",
                    "unfinished": "loses",
                    "checker": {"function": "jpo_dist.evaluate.constraints:constraints_held"},
                }
            },
        ],
    }


def _found(server: Server) -> Made:
    from mlflow import MlflowClient

    client = MlflowClient(server.address)
    experiment = client.get_experiment_by_name("jpo").experiment_id
    runs = client.search_runs([experiment])
    stages = {run.data.tags["jpo.stage"]: run.info.run_id for run in runs if "jpo.stage" in run.data.tags}
    [parent] = [run.info.run_id for run in runs if "jpo.stage" not in run.data.tags]
    [model] = client.search_logged_models([experiment], f"source_run_id = '{stages['jpo']}'")
    return Made(experiment, parent, stages, model.model_id)


# ---- the pictures


class Shot(NamedTuple):
    """A picture: its file, the address behind `#`, how high, what the page must say, how many charts it draws, and what
    is done before it is taken: what is clicked, and looked for among the charts."""

    name: str
    path: str
    height: int
    says: tuple[str, ...]
    charts: int = 0
    clicks: tuple[str, ...] = ()
    search: str = ""


def shots(made: Made) -> list[Shot]:
    """All pictures, in the order of docs/watching.md."""
    runs = f"/experiments/{made.experiment}/runs"
    jpo_run = f"{runs}/{made.stages['jpo']}"
    both = json.dumps([made.stages["dpo"], made.stages["jpo"]])
    compared = f"/compare-runs?runs={both}&experiments={json.dumps([made.experiment])}&{WORKFLOW}"
    said_of_all = ("A pipeline: sft", "helpful winrate", "what came of it", "All stages are done", "winrate/win_rate")
    return [
        Shot("run", f"{jpo_run}?{WORKFLOW}", 860, ("Held out, before and after step 24", "helpful-chat", USER)),
        Shot(
            "charts", f"{jpo_run}/model-metrics?{WORKFLOW}", 1040, ("eval", "margin (2)", "rewards"), 3, search=CHARTS
        ),
        Shot("figure", f"{jpo_run}/artifacts/figures/margin_parts.png?{WORKFLOW}", 700, ("margin_parts.png",)),
        Shot("comparisons", f"{jpo_run}/artifacts/comparisons.json?{WORKFLOW}", 620, ("winner's response", "worst")),
        Shot("answers", f"{jpo_run}/artifacts/answers.json?{WORKFLOW}", 620, ("answer before", "answer after")),
        Shot("pipeline", f"{runs}/{made.parent}?{WORKFLOW}", 860, said_of_all, clicks=("Show more",)),
        Shot("compared", compared, 900, ("Comparing 2 Runs", "eval/loss"), clicks=COMPARED),
        Shot(
            "model",
            f"/experiments/{made.experiment}/models/{made.model}?{WORKFLOW}",
            900,
            ("evaluate/all/loss", "Held out, before and after step 24", USER),
        ),
        Shot("registry", f"/models/helpful-chat/versions/1?{WORKFLOW}", 700, ("champion", "data.train.digest")),
    ]


def take(page: Page, server: Server, shot: Shot) -> tuple[bytes, str]:
    """The PNG of a page and its text. Raises AssertionError where something that it shall show is missing."""
    page.size(WIDTH, shot.height)
    page.open(f"{server.address}/#{shot.path}")
    page.wait("!!document.body && document.body.innerText.includes('Docs')", "its frame")
    page.run(f"(b => b && b.click())({_ASSISTANT})")
    page.wait_for(*shot.says)
    for text in shot.clicks:
        page.click(text)
    if shot.search:
        page.write("Search metric charts", shot.search)
    page.wait(f"document.querySelectorAll('.js-plotly-plot .trace').length >= {shot.charts}", f"{shot.charts} charts")
    page.wait("!document.querySelector('[aria-busy=true], .du-bois-light-skeleton')", "the last of its parts")
    page.settle()
    png, said = few_colors(page.picture()), page.text
    page.run("localStorage.clear()")  # where MLflow keeps what was looked for: the next page would show no other charts
    return png, said


def few_colors(png: bytes) -> bytes:
    """A picture as small as its colors allow."""
    made = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(
        made, "PNG", optimize=True
    )
    return made.getvalue()


def main(folder: Path = IMAGES) -> dict[str, str]:
    """Make all runs and pictures. Returns what each page says."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {}
    with tempfile.TemporaryDirectory(prefix="mlflow-") as place, mlflow_server(Path(place)) as server:
        made = make_runs(server)
        with browser(server.folder) as page:
            for shot in shots(made):
                png, said[shot.name] = take(page, server, shot)
                (folder / f"{shot.name}.png").write_bytes(png)
    return said


if __name__ == "__main__":
    main()

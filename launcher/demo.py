"""What `jpo demo` does: the main job on the sample data, told from start to end."""

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from jpo_dist.evaluate.pass_rate import pass_rate, read_tasks, side_by_side
from jpo_dist.model.files import model_folder
from jpo_dist.run_dir import METRICS
from launcher.chatter import Aside
from launcher.config.kinds import RunConfig
from launcher.show.evaluation import answers_table, before_after_table
from launcher.stages.evaluate import log_answers
from launcher.stages.train import train


def demo(config: RunConfig, out: Console, chatter: Aside | None = None) -> None:
    """Answer held-out instructions, align on comparisons, answer again; print what changed."""
    started = time.monotonic()
    out.rule("1. the model before")
    before = _answers(config, model_folder(config.model), out)
    out.rule("2. align: Ray, 2 workers, DeepSpeed ZeRO-3")
    folder = train(config, chatter)
    out.rule("3. the model after")
    after = _answers(config, str(folder), out)
    first, last = _first_and_last(Path(config.run.dir) / METRICS)
    out.print(before_after_table(first, last, (before, after)))
    answers = side_by_side(before, after)
    out.print(answers_table(answers[:3]))
    log_answers(config, answers)
    out.print(f"{time.monotonic() - started:.0f} s in all", highlight=False)
    out.print("[bold]metrics, parameters, checkpoints, the model[/]  make ui   (MLflow on http://127.0.0.1:5000)")
    out.print(f"[bold]the aligned model[/]  {folder}", soft_wrap=True, highlight=False)


def _answers(config: RunConfig, folder: str, out: Console) -> dict[str, Any]:
    assert config.evaluate.instructions is not None
    tasks = read_tasks(config.evaluate.instructions)
    result = pass_rate(config, folder, tasks, config.evaluate.max_new_tokens)
    out.print(f"{result['answers']} answers, {result['rate'][0]:.1%} meet their constraints", highlight=False)
    return result


def _first_and_last(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    lines = [json.loads(line)["metrics"] for line in path.read_text(encoding="utf-8").splitlines()]
    return lines[0], lines[-1]

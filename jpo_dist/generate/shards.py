"""A local model's share of the work, task by task: each loads the model and answers its shard of the rows."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoConfig

from jpo_dist.batches.limits import require_vocabulary
from jpo_dist.config.sections import ModelConfig
from jpo_dist.fan_out import Spread
from jpo_dist.generate.asking import Outcome, Row, row_of
from jpo_dist.generate.config import GenerateConfig
from jpo_dist.generate.decoder import Decoder, Prompts
from jpo_dist.generate.local import Asked, Limits, answer_all
from jpo_dist.generate.progress import Made, Writer, made_so_far
from jpo_dist.generate.sampling import key_of
from jpo_dist.model.device import torch_dtype
from jpo_dist.model.files import DECIDING, pretrained, weights_folder, weights_mark
from jpo_dist.model.unloaded.limits import model_limits
from jpo_dist.records.text import LINES, as_text

log = logging.getLogger(__name__)


TOKENIZER, MODEL_FILES = "tokenizer and chat template", "config.json and code of the model"
"""What else decides answers, as settings.json has it: digests. Those of earlier versions have none."""


class LocalModel:
    """The model of `config.model`, loaded by each task for itself."""

    def __init__(self, config: GenerateConfig) -> None:
        assert config.model is not None, "checked by GenerateConfig"
        self.config, self.model = config, config.model
        self.limits = model_limits(self.model)
        self.prompts = prompts_of(config, self.model)
        require_vocabulary(self.limits, self.prompts.tokenizer)
        settings = pretrained(AutoConfig, self.model).get_text_config()
        # What leaves no room is found before any weight is read.
        known = [getattr(settings, "max_position_embeddings", None), self.limits.positions]
        self.positions: int | None = min((one for one in known if isinstance(one, int)), default=None)
        dtype = str(torch_dtype(self.model.dtype)).removeprefix("torch.")
        self.about = {"engine": "local", "model": weights_mark(self.model), "dtype": dtype}
        self.about |= {TOKENIZER: self.prompts.mark(), MODEL_FILES: _mark_of_files(self.model)}

    def ask(self, rows: list[Row], folder: Path, spread: Spread, tasks: int) -> Outcome:
        """See Answerer. A prompt is in one shard with all its rows, and every shard has prompts of all lengths."""
        turns = list(dict.fromkeys(row.turns for row in rows))
        refused = self.refused(turns)
        turns = [one for one in turns if one not in refused]
        ids = dict(zip(turns, self.prompts.encode(turns), strict=True))
        require_vocabulary(self.limits, self.prompts.tokenizer, max((max(one) for one in ids.values()), default=-1))
        outcome = Outcome({row.place: {"refused": refused[row.turns]} for row in rows if row.turns in refused})
        rows = [row for row in rows if row.turns not in refused]
        for row in rows:
            tokens = len(ids[row.turns])
            if self.positions is not None and tokens + self.config.max_new_tokens > self.positions:
                outcome.skipped[row.place] = {"tokens": tokens, "positions": self.positions}
        fitting = [row for row in rows if row.place not in outcome.skipped]
        if len(fitting) < len(rows):
            why = f" ({self.limits.why})" if self.limits.why else ""
            log.warning("%d answers left out: prompt and max_new_tokens are more than the model's %s positions%s",
                        len(rows) - len(fitting), self.positions, why)  # fmt: skip
        if fitting:
            self._spread(fitting, ids, folder, spread, tasks)
        return outcome

    def refused(self, turns: Sequence[Any]) -> dict[Any, str]:
        """Instructions that the chat template refuses, and why. Raises ValueError unless bad rows are skipped."""
        refused = self.prompts.refused(turns)
        for first, reason in list(refused.items())[:1]:
            text = as_text(first, LINES)[:80]
            said = (
                f"the chat template refuses {len(refused)} of {len(turns)} instructions, the first ({text!r}): {reason}"
            )
            if self.config.on_bad_row == "error":
                raise ValueError(f"{said}; correct it, or count it and go on: on_bad_row=skip")
            log.warning("%s", said)
        return refused

    def _spread(self, rows: list[Row], ids: dict[Any, list[int]], folder: Path, spread: Spread, tasks: int) -> None:
        order = sorted({row.turns for row in rows}, key=lambda turns: (-len(ids[turns]), ids[turns]))
        parts = max(1, min(tasks, len(order)))
        part_of = {turns: n % parts for n, turns in enumerate(order)}
        with TemporaryDirectory(prefix="shards-", dir=folder) as aside:  # beside the answers: all hosts see it
            payloads = []
            for part in range(parts):
                mine = [row for row in rows if part_of[row.turns] == part]
                path = Path(aside) / f"{part}.json"
                path.write_text(json.dumps([[row, ids[row.turns]] for row in mine]), encoding="utf-8")
                payloads.append({"config": self.config.model_dump(mode="json"), "about": self.about,
                                 "rows": str(path), "folder": str(folder)})  # fmt: skip
            spread(answer_shard, payloads)


def prompts_of(config: GenerateConfig, model: ModelConfig) -> Prompts:
    """Tokenizer and template of `model`, as the settings have it."""
    return Prompts(model, config.template, config.template_args, follow=config.on_template_difference == "follow")


def _mark_of_files(model: ModelConfig) -> str:
    """A digest of the files that decide what a model computes beside its weights."""
    total, folder = hashlib.sha256(), weights_folder(model)
    for file in sorted({file for pattern in DECIDING for file in folder.glob(pattern)}):
        total.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:32]


def answer_shard(payload: dict[str, Any]) -> dict[str, Any]:
    """One task: plain data in; its answers are in the folder. A task that is started again goes on."""
    config, folder = GenerateConfig.model_validate(payload["config"]), Path(payload["folder"])
    have = made_so_far(folder)
    given = [(row_of(row), ids) for row, ids in json.loads(Path(payload["rows"]).read_text(encoding="utf-8"))]
    given = [(row, ids) for row, ids in given if row.place not in have]
    if not given:
        return {}
    assert config.model is not None, "a shard has a model"
    prompts = prompts_of(config, config.model)
    ends, stop = prompts.ends_with(config.stop), tuple(config.stop)
    limits = Limits(config.max_new_tokens, ends, config.top_p, stop, config.tokens_per_batch)
    writer = Writer(folder)
    try:
        for said in answer_all(Decoder(config.model), prompts, _asked(given, config.seed), limits):
            row = given[said.place][0]
            answer = row.answered(said.text, said.finished, said.tokens, config, payload["about"])
            writer.add(Made(answer, said.seconds))
    finally:
        writer.close()
    return {}


def _asked(given: Sequence[tuple[Row, list[int]]], seed: int) -> list[Asked]:
    return [
        Asked(tuple(ids), row.temperature, key_of(seed, row.prompt_id, row.sample, row.temperature))
        for row, ids in given
    ]

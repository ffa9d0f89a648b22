"""Shards to one Hugging Face folder that transformers loads and generates from."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from jpo_dist.config.sft import AnyConfig, SftConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.adapter import base_config, merge_adapter
from jpo_dist.model.engine import Engine
from jpo_dist.run_dir import EXPORT, EXPORT_MERGED

SHARD_SIZE = "4GB"


def export(policy: Engine, tokenizer: Any, config: AnyConfig, facts: dict[str, float]) -> Path:
    """Write `<run.dir>/export`: a model, or an adapter for LoRA, and `<run.dir>/export-merged` when asked for.

    All ranks call it and gather one parameter at a time; rank 0 writes, aside first. Returns the folder.
    """
    target = Path(config.run.dir) / EXPORT
    adapter = bool(config.model.lora.rank)
    with ranks.together("export"):
        weights = {}
        for name, tensor in policy.whole_parameters(trainable_only=adapter):
            if ranks.rank() == 0:
                weights[name.removeprefix("model.")] = tensor
        if ranks.rank() == 0:
            _write(policy.module.model, tokenizer, weights, target, config, facts)
            if adapter and config.model.lora.merge_on_export:
                merged = target.with_name(EXPORT_MERGED)
                merge_adapter(config.model, target, merged)
                tokenizer.save_pretrained(merged)
    return target


def _write(
    model: Any, tokenizer: Any, weights: dict[str, Any], target: Path, config: AnyConfig, facts: dict[str, float]
) -> None:
    aside = target.with_name(".export")
    shutil.rmtree(aside, ignore_errors=True)
    settings = base_config(model)
    used_cache, settings.use_cache = settings.use_cache, True
    model.save_pretrained(aside, state_dict=weights, max_shard_size=SHARD_SIZE)
    settings.use_cache = used_cache
    tokenizer.save_pretrained(aside)
    (aside / "README.md").write_text(model_card(config, facts), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(aside, target)


def model_card(config: AnyConfig, facts: dict[str, float]) -> str:
    """What the model is, from what, by which objective, and what the held-out data said."""
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(facts.items()) if name.startswith("eval/"))
    settings = json.dumps(config.model_dump(include={"objective", "sft", "optim", "train", "reference"}), indent=1)
    base = Path(config.model.path).name if "/" in config.model.path else config.model.path
    how, tags, counted = _made(config, base)
    return f"""---
base_model: {base}
library_name: {"peft" if config.model.lora.rank else "transformers"}
pipeline_tag: text-generation
tags: [{tags}]
---

# {config.run.name}

{how}. The licence of the
base model applies.

| held-out metric | value |
| --- | --- |
{rows or f"| none | no held-out {counted} |"}

```json
{settings}
```
"""


def _made(config: AnyConfig, base: str) -> tuple[str, str, str]:
    """How the model was made, the tags of that, and what it learned from."""
    if isinstance(config, SftConfig):
        return f"Fine-tuned from `{base}` on responses to instructions (SFT)", "sft", "examples"
    aligned = "jpo, preference-optimization, alignment"
    if config.objective.loss == "kto":
        how = (
            f"Aligned from `{base}` with KTO (Ethayarajh et al., arXiv 2402.01306) on items that are desirable or not,"
        )
        return f"{how}\nagainst the frozen reference", aligned.replace("jpo", "kto"), "examples"
    how = f"Aligned from `{base}` with Joint Preference Optimization (Bansal et al., arXiv 2404.00530): the joint"
    how += " probability of the\npreferred (instruction, response) pair is raised over the rejected one"
    which = "a reference that followed the policy" if config.reference.refresh_every else "the frozen reference"
    against = "" if config.reference.mode == "none" else f", against {which}"
    return f"{how}{against}", aligned, "comparisons"

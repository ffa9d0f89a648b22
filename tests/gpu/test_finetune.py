"""Training on one GPU, by the functions of `jpo bench gpu`; on the CPU with a tiny model, in every test run."""

import json
import sys
from pathlib import Path

import pytest
import torch

from tests.support.commands import command, jpo

WITHOUT = """
import json, sys
sys.modules["ray"] = sys.modules["mlflow"] = sys.modules["trl"] = None
from launcher.bench.measures.finetune import TINY, fine_tuning
from launcher.bench.sizes import quick
print(json.dumps(fine_tuning(quick(None, None), TINY, ())))
assert sys.modules["ray"] is sys.modules["mlflow"] is None
"""


@pytest.mark.slow
def test_training_needs_neither_ray_nor_mlflow_nor_trl() -> None:
    """A GPU host may have torch, transformers and deepspeed alone."""
    done = command([sys.executable, "-c", WITHOUT]).check()
    found = json.loads(done.out.splitlines()[-1])
    assert found["gpu.trl"].startswith("trl is not installed")
    assert found["gpu.device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert 0 < found["gpu.mfu"] < 1


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_1b_model_fine_tunes_on_one_gpu_beside_trl(tmp_path: Path) -> None:
    """The full-size figures; only what must hold on any card is asserted, the rest is for docs/performance.md."""
    file = tmp_path / "figures.json"
    jpo("bench", "gpu", "--json", str(file), timeout=1500).check()
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["gpu.device"] == "cuda"
    assert 0 < found["gpu.mfu"] < 1
    assert found["gpu.wall_ratio"] > 1, "TRL is faster"

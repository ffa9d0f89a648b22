"""What DeepSpeed is told before it is imported."""

import pytest
import torch

from jpo_dist.model.deepspeed_settings import ready_to_import


def test_a_gpu_that_is_asked_for_and_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed would end in a traceback at its import."""
    monkeypatch.setenv("DS_ACCELERATOR", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^DS_ACCELERATOR \(cuda\) asks for a GPU, .*; unset it"), ready_to_import():
        pass

"""Where tensors live and in which dtype."""

import os

import torch


def device() -> torch.device:
    """The accelerator of this process, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


def accelerator() -> str:
    """What DeepSpeed shall compute on, by its own names: `cuda` where this host has a GPU that is not hidden."""
    there = os.path.exists("/dev/nvidia0") and not hides_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
    return "cuda" if there else "cpu"


def hides_gpus(visible: str | None) -> bool:
    """Whether CUDA_VISIBLE_DEVICES hides every GPU: CUDA sees those of the list before the first that is no GPU.

    >>> [hides_gpus(visible) for visible in (None, "0,1", "GPU-8932f937", "", "-1", "none")]
    [False, False, False, True, True, True]
    """
    first = "0" if visible is None else visible.partition(",")[0].strip()
    return not (first.isdecimal() or first.startswith(("GPU-", "MIG-")))


def torch_dtype(name: str) -> torch.dtype:
    """The dtype that model.dtype names. auto: bfloat16 where products of bfloat16 run in hardware, float32
    elsewhere."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if in_hardware else torch.float32

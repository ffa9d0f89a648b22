"""What the figures were measured on: they mean nothing without it."""

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

from launcher.bench.clock import timed
from launcher.bench.sizes import Figures, Sizes

INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


def measure(sizes: Sizes) -> Figures:
    """Cores, instruction set, versions, how busy the machine is, and the speed of one product right now."""
    side = 256 if sizes.quick else 2048
    bf16_side = side if sizes.dtype == "bfloat16" else 256  # without instructions for it, a large one takes a minute
    found: Figures = {
        "machine.cores": len(os.sched_getaffinity(0)),
        "machine.threads": torch.get_num_threads(),
        "machine.load": round(os.getloadavg()[0], 1),
        "machine.cpu": _cpu(),
        "machine.isa": _isa(),
        "machine.torch": torch.__version__,
        "machine.trl": _version("trl"),
        "machine.gemm_bf16_tflops": round(product_speed(torch.bfloat16, torch.device("cpu"), bf16_side), 5),
        "machine.gemm_fp32_tflops": round(product_speed(torch.float32, torch.device("cpu"), side), 3),
    }
    if torch.cuda.is_available():
        found["machine.gpu"] = torch.cuda.get_device_name()
        found["machine.gpu_gemm_bf16_tflops"] = round(product_speed(torch.bfloat16, torch.device("cuda"), 8192), 1)
    return found


def product_speed(dtype: torch.dtype, device: torch.device, side: int) -> float:
    """TFLOP/s of a square product with `side` rows, the best of eight."""
    a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    best = min(timed(lambda: a @ b).wall for _ in range(8))
    return 2 * side**3 / best / 1e12


def _isa() -> str:
    flags = _cpuinfo("flags").split()
    return " ".join(name for name in INSTRUCTIONS if name in flags) or platform.machine()


def _cpu() -> str:
    return _cpuinfo("model name") or platform.processor()


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"

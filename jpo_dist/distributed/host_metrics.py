"""CPU, memory, disk, network and GPUs of this host, by the names of MLflow's system metrics.

They are read here, and travel with the pulses of the watchdog, so that no host needs a way to the MLflow server.
"""

import time
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

EVERY_S = 10.0


class HostMetrics:
    """Reads the numbers of this host, at most once in EVERY_S seconds. `run_dir` is on the disk that is looked at."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.next, self.newest = run_dir, 0.0, dict[str, float]()
        self.network = psutil.net_io_counters()
        psutil.cpu_percent()  # the first call only sets the mark

    def read(self) -> dict[str, float]:
        """The newest numbers, new ones every EVERY_S seconds."""
        if time.monotonic() < self.next:
            return self.newest
        self.next = time.monotonic() + EVERY_S
        memory, network = psutil.virtual_memory(), psutil.net_io_counters()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
        }
        if network and self.network:  # None where the system shows none
            values["network_receive_megabytes"] = (network.bytes_recv - self.network.bytes_recv) / 1e6
            values["network_transmit_megabytes"] = (network.bytes_sent - self.network.bytes_sent) / 1e6
        with suppress(OSError):
            disk = psutil.disk_usage(str(self.run_dir))
            values |= {"disk_usage_percentage": disk.percent, "disk_available_megabytes": disk.free / 1e6}
        for gpu in range(torch.cuda.device_count()):
            values |= _gpu_values(gpu)
        self.newest = {name: round(value, 1) for name, value in values.items()}
        return self.newest


def _gpu_values(gpu: int) -> dict[str, float]:
    values: dict[str, float] = {}
    with suppress(RuntimeError):
        free, total = torch.cuda.mem_get_info(gpu)
        values[f"gpu_{gpu}_memory_usage_megabytes"] = (total - free) / 1e6
        values[f"gpu_{gpu}_memory_usage_percentage"] = (total - free) / total * 100
    # These need nvidia-ml-py; without it there is one number less.
    with suppress(ModuleNotFoundError, RuntimeError):
        values[f"gpu_{gpu}_utilization_percentage"] = float(torch.cuda.utilization(gpu))
        values[f"gpu_{gpu}_power_usage_watts"] = torch.cuda.power_draw(gpu) / 1000
        values[f"gpu_{gpu}_clock_megahertz"] = float(torch.cuda.clock_rate(gpu))
    return values

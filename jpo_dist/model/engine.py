"""DeepSpeed, and nothing of preferences. Only importer of deepspeed; deepspeed_settings.py says what it is told."""

import glob
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.sections import OptimConfig
from jpo_dist.distributed.allocator import keep_freed_memory
from jpo_dist.distributed.build_lock import build_root, building, compile_below
from jpo_dist.distributed.joining import join
from jpo_dist.distributed.notices import notify
from jpo_dist.model.deepspeed_settings import deepspeed_config, parameter_groups, ready_to_import

with ready_to_import():
    import deepspeed
    from transformers.integrations.deepspeed import HfDeepSpeedConfig

logger = logging.getLogger(__name__)

TAG = "engine"  # the folder of DeepSpeed's shards inside one of our commits
OWN = ("weight_decay", "betas", "eps")
"""What a group of parameters has from the settings of optim, and keeps when a commit is loaded."""
# 1, 9: PR_SET_PDEATHSIG, SIGKILL. A killed rank must not leave a process behind that writes into its run folder.
CONVERTER = """
import ctypes, runpy
ctypes.CDLL(None).prctl(1, 9)
runpy.run_module("deepspeed.checkpoint.ds_to_universal", run_name="__main__", alter_sys=True)
"""


def connect(timeout_s: float = 600.0, run_dir: Path | None = None) -> None:
    """Join the process group that the environment describes; alone, be a group of one.

    What is waited for is said in the notices of `run_dir`, or in the log where there is none.
    Ray Train has made the group already and DeepSpeed adopts it, which keeps DeepSpeed from creating its own: there it
    passes a device id and can hang. Its own log is silenced below warnings.
    """
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # DeepSpeed 0.19.8 calls collectives by names that torch 2.13 has renamed: a line of warning each time.
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.", category=FutureWarning)
    if not torch.cuda.is_available():
        keep_freed_memory()
    tell = logger.warning if run_dir is None else partial(notify, run_dir)
    join(timeout_s, tell)
    compile_below(_build_root())
    with building(tell, communication_is_built):
        deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)


def disconnect() -> None:
    """Leave the process group together, as the last thing: a rank that exits alone can abort in its peers' closing."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@contextmanager
def _hf_partitioned(settings: dict[str, Any]) -> Any:
    # transformers looks for the newest living HfDeepSpeedConfig; it must not outlive the load, or every later
    # `from_pretrained` in this process would be partitioned too.
    keep_alive = HfDeepSpeedConfig(settings)
    try:
        yield
    finally:
        del keep_alive


def partitioned(settings: dict[str, Any]) -> AbstractContextManager[Any]:
    """Context for `load.load_model`: under ZeRO-3 weights are split as they are read, below it nothing happens."""
    return _hf_partitioned(settings) if settings["zero_optimization"]["stage"] == 3 else nullcontext()


class StepOutcome(NamedTuple):
    """What became of a step."""

    applied: bool
    """False: the gradient was not finite and the weights are as before."""
    grad_norm: float
    """Global norm before clipping."""


class Engine:
    """A module under DeepSpeed. Gradients add up over `backward` calls until `step`."""

    def __init__(self, module: nn.Module, engine: EngineConfig, optim: OptimConfig, dtype: torch.dtype) -> None:
        settings = deepspeed_config(engine, dtype, optim)
        self.zero_stage: int = settings["zero_optimization"]["stage"]
        optimizer = torch.optim.AdamW(
            parameter_groups(module, optim.weight_decay), lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True
        )  # fused: one pass over the state, and no temporaries of its size
        self._engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=settings)
        if self.zero_stage == 0 and torch.distributed.get_world_size() == 1:
            # Alone there is nothing to sum, yet DeepSpeed would copy all gradients into one tensor and back.
            self._engine.enable_backward_allreduce = False
        self.module = module
        self._plain = not hasattr(self._engine.optimizer, "overflow")

    def __call__(self, batch: Any) -> torch.Tensor:
        scores: torch.Tensor = self._engine(batch)
        return scores

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        """`last` ends the accumulation. It has to be said: left to count, ZeRO-2 keeps the last micro-step only."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss, scale_wrt_gas=False)

    def step(self, lr: float) -> StepOutcome:
        """Clip and update, unless the gradient is not finite on any rank: then nothing changes, on every rank."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
        if self._plain and not self._grads_finite():  # ZeRO checks this itself; plain AdamW would spread the NaN
            self._engine.zero_grad()
            return StepOutcome(False, float("inf"))
        skipped = self._engine.skipped_steps
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return StepOutcome(self._engine.skipped_steps == skipped, float("nan") if norm is None else float(norm))

    def _grads_finite(self) -> bool:
        # After the all-reduce every rank holds the same gradients, so every rank decides the same.
        grads = [p.grad for p in self.module.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        self._engine._global_grad_norm = norm
        return bool(torch.isfinite(norm))

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """This rank's shards and `state` (this rank's own under ZeRO-3). All ranks call it."""
        # One key of our own: DeepSpeed merges client state over its own and "module" would overwrite the weights.
        self._engine.save_checkpoint(
            str(folder), tag=TAG, client_state={"jpo": state}, save_latest=False, exclude_frozen_parameters=True
        )

    def load(self, folder: Path, *, universal: bool = False) -> dict[str, Any]:
        """Weights, optimizer and the saved state. The folder must have been verified: it is unpickled.

        `universal`: the folder is what `convert` made of the shards of another number of ranks. The state is then that
        of the rank that was 0.
        """
        settings = self._engine._config
        own = [{name: group[name] for name in OWN} for group in self._engine.optimizer.param_groups]
        settings.load_universal_checkpoint = universal
        try:
            with _without_patterns(folder) as plain:
                path, client = self._engine.load_checkpoint(str(plain), tag=TAG, load_module_strict=False)
        finally:
            settings.load_universal_checkpoint = False  # a save under this setting would leave the weights out
        if path is None:
            raise FileNotFoundError(f"{folder} holds no DeepSpeed shards under {TAG!r}")
        for group, values in zip(self._engine.optimizer.param_groups, own, strict=True):
            group |= values  # a commit brings those it was written with; after a universal load all have the first's
        if universal:
            self._part_again()
        state: dict[str, Any] = client["jpo"]
        return state

    def _part_again(self) -> None:
        """Undo what DeepSpeed's ZeRO-3 shares after a universal load: one step counter, which each of its parts of the
        parameters would then advance."""
        for state in self._engine.optimizer.optimizer.state.values():
            state["step"] = state["step"].clone()

    def whole_parameters(self, *, trainable_only: bool = False) -> Iterable[tuple[str, torch.Tensor]]:
        """See the function of this name."""
        return whole_parameters(self.module, self.zero_stage, trainable_only=trainable_only)


def convert(commit: Path, target: Path, workers: int) -> None:
    """Make `target` from the shards in `commit`: `Engine.load(target, universal=True)` reads it on any number of ranks.

    DeepSpeed's universal conversion, by `workers` processes at a time, all gone when this returns, their memory too.
    `commit` must have been verified: it is unpickled. Raises RuntimeError with the converter's exit code and last line.
    """
    # Relative names: the converter takes its paths for patterns, and run.dir may have a + or a [ in it. -P: its
    # working folder is no place to import from.
    command = [
        sys.executable, "-P", "-c", CONVERTER, "--input_folder", f"{commit.name}/{TAG}",
        "--output_folder", f"{os.path.relpath(target, commit.parent)}/{TAG}", "--inject_missing_state",
        "--num_extract_workers", str(workers), "--num_merge_workers", str(workers),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=commit.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " ".join(done.stderr.strip().splitlines()[-1:])
        raise RuntimeError(f"exit code {done.returncode}: {last}")


@contextmanager
def _without_patterns(folder: Path) -> Iterator[Path]:
    """`folder` by a name without `[`, `*` or `?`: DeepSpeed looks for its shards by a pattern that begins with it."""
    if glob.escape(str(folder)) == str(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as aside:
        link = Path(aside) / "commit"
        link.symlink_to(folder.absolute())
        yield link


def whole_parameters(
    module: nn.Module, zero_stage: int, *, trainable_only: bool = False
) -> Iterable[tuple[str, torch.Tensor]]:
    """Every parameter, put together from its shards one at a time, on the CPU. All ranks iterate in step.

    Then the buffers that a checkpoint has, unless `trainable_only`: some model types keep weights in them (the router
    bias of DeepSeek-V3, the layer scale of Gemma 4), and a folder without these loads as another model.
    """
    for name, parameter in module.named_parameters():
        if trainable_only and not parameter.requires_grad:
            continue
        gathered = deepspeed.zero.GatheredParameters([parameter]) if zero_stage == 3 else nullcontext()
        with gathered:
            yield name, parameter.detach().cpu().clone()
    if not trainable_only:
        kept = module.state_dict().keys()
        yield from ((name, buffer.detach().cpu().clone()) for name, buffer in module.named_buffers() if name in kept)


def set_parameters(module: nn.Module, zero_stage: int, value_of: Callable[[str], torch.Tensor]) -> None:
    """Give every parameter the whole value that `value_of` has for its name. All ranks call it together.

    Under ZeRO-3 rank 0 looks it up and sends it, one parameter at a time, and each rank keeps its shard.
    """
    first = zero_stage != 3 or torch.distributed.get_rank() == 0
    for name, parameter in module.named_parameters():
        whole = deepspeed.zero.GatheredParameters([parameter], modifier_rank=0) if zero_stage == 3 else nullcontext()
        with whole:
            if first:
                parameter.data.copy_(value_of(name))


def freeze(module: nn.Module, engine: EngineConfig, dtype: torch.dtype) -> nn.Module:
    """A reference: never trained, partitioned when the policy is. Its forward is called by all ranks together."""
    settings = deepspeed_config(engine, dtype)
    if settings["zero_optimization"]["stage"] == 3:
        module = deepspeed.initialize(model=module, config=settings)[0]
    module.eval()
    module.requires_grad_(False)
    return module


def release(module: Any) -> None:
    """Give back what a frozen reference holds, whoever still refers to it (DeepSpeed's hooks do)."""
    if hasattr(module, "destroy"):
        module.destroy()
    for parameter in module.parameters():
        parameter.data = torch.empty(0, dtype=parameter.dtype)
        if hasattr(parameter, "ds_tensor"):
            parameter.ds_tensor.data = torch.empty(0, dtype=parameter.dtype)


def communication_is_built() -> bool:
    """False when DeepSpeed will compile its CPU communication op on first use (about half a minute).

    An image installs DeepSpeed with the op in it: such a one needs no compiler, for the accelerator it was built for.
    """
    installed = deepspeed.git_version_info
    if installed.accelerator_name == os.environ["DS_ACCELERATOR"] and installed.installed_ops.get("deepspeed_shm_comm"):
        return True
    made = "deepspeed_shm_comm/*.so"
    return any(file for below in (made, f"py*/{made}") for file in _build_root().glob(below))


def _build_root() -> Path:
    folders = [os.path.dirname(str(package.__file__)) for package in (torch, deepspeed)]
    return build_root(folders, f"{torch.__version__} {deepspeed.__version__}")


def build_ops() -> None:
    """Compile the op now, at set-up, so that no first training step and no test waits for it."""
    from deepspeed.comm.torch import build_shm_op

    compile_below(_build_root())
    with building(logger.warning, communication_is_built):
        build_shm_op()

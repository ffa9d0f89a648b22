"""The typed, closed, frozen settings of the method. Each section is handed only to the code that uses it.

Defaults live here and nowhere else. A string such as `5e-7`, which PyYAML does not take for a number, is read as one.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A closed, frozen group of settings: an unknown key is an error, a value never changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class LoraConfig(Section):
    """Low-rank adapters (peft). The base weights stay frozen."""

    rank: Annotated[int, Field(ge=0)] = 0
    """Rank of the adapters; 0 trains all weights instead."""
    alpha: Positive = 16.0
    """Adapter scale numerator: the update is alpha/rank * B A."""
    target_modules: Annotated[list[str] | Literal["all-linear"], Field(min_length=1)] = "all-linear"
    """Names of the layers that get an adapter. The head cannot be one of them."""
    merge_on_export: bool = False
    """Also export the base model with the adapter merged in."""


def _is_commit(revision: str | None) -> bool:
    return re.fullmatch("[0-9a-fA-F]{40}", revision or "") is not None


class ModelConfig(Section):
    """The policy, and where it starts."""

    path: str = Field(min_length=1)
    """A Hugging Face folder or hub id, or `package:MODULE[/FILE]` for files that an installed package carries."""
    revision: str | None = None
    """Hub revision. A 40-hex commit when trust_remote_code is on."""
    gguf_file: str | None = None
    """Name of a GGUF file inside `path`; it is converted once into an ordinary folder in the cache."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Weights and matrix products. auto: bfloat16 where the hardware has it, float32 elsewhere."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more compute."""
    trust_remote_code: bool = False
    """Run model code that comes with the weights. Off: a checkpoint is data, not a program."""
    lora: LoraConfig = LoraConfig()

    @model_validator(mode="after")
    def _pinned_remote_code(self) -> Self:
        if self.trust_remote_code and not _is_commit(self.revision):
            raise ValueError(
                f"trust_remote_code (true) needs revision (now {self.revision!r}) to be a 40-hex commit; pin it"
            )
        return self


class TokensConfig(Section):
    """How an item becomes tokens."""

    template: str = "chat"
    """`chat`: the tokenizer's chat template. Otherwise text that contains {instruction}; the response follows it."""
    max_length: Count = 1024
    """Most tokens in an item: BOS, instruction, response and EOS."""
    max_instruction_length: Count = 512
    """With over_long=truncate: the instruction's most tokens, BOS included, when the whole item is too long."""
    over_long: Literal["error", "skip", "truncate"] = "skip"
    """What to do with a comparison that has an item over max_length. Skips and cuts are counted and reported."""

    @model_validator(mode="after")
    def _template_and_lengths(self) -> Self:
        if self.template != "chat" and "{instruction}" not in self.template:
            raise ValueError(f"template ({self.template!r}) has no {{instruction}}; add it, or say chat")
        if self.max_instruction_length >= self.max_length and self.over_long == "truncate":
            raise ValueError(
                f"max_instruction_length ({self.max_instruction_length}) leaves no room for a response in "
                f"max_length ({self.max_length}); lower it"
            )
        return self


class DataConfig(TokensConfig):
    """Comparisons, and how an item becomes tokens."""

    train: str | list[str] = Field(min_length=1)
    """Files, folders, globs or hub ids with comparisons, or FOLDER[:SPLIT] of a set; `package:` as in model.path."""
    validation: str | list[str] | None = None
    """Held-out comparisons. None: the validation split of the set in `train`, if that is one, or else
    `validation_fraction` of the training instructions."""
    validation_fraction: Fraction = 0.05
    """Share of the instructions held out of `train` when `validation` is None. 0: no validation."""
    on_bad_row: Literal["error", "skip"] = "error"
    """A row that cannot be read: stop with file, line, field and reason, or count it and go on."""


class ObjectiveConfig(Section):
    """The loss. Defaults are the paper's."""

    beta: Positive = 0.1
    """Strength of the pull to the reference: the loss sees beta * margin."""
    instruction_weight: NonNegative = 1.0
    """Lambda: 1 scores instruction tokens too (JPO); 0 scores responses only (DPO on equal instructions)."""
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Probability that a comparison's label is flipped (conservative DPO); sigmoid only."""
    sft_weight: NonNegative = 0.0
    """Weight of the mean negative log-likelihood of the winner's response tokens."""

    @model_validator(mode="after")
    def _smoothing_is_for_sigmoid(self) -> Self:
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(
                f"label_smoothing ({self.label_smoothing}) works with loss=sigmoid, not {self.loss}; use 0"
            )
        return self


class ReferenceConfig(Section):
    """The frozen model the policy is measured against."""

    mode: Literal["live", "cached", "adapter_off"] = "live"
    """live: a second engine. cached: score every item once, then free it. adapter_off: the LoRA base in the policy."""
    path: str | None = None
    """Where the reference's weights are; None: model.path."""
    revision: str | None = None
    """Hub revision of `path`. A 40-hex commit when model.trust_remote_code is on. Without `path`, model.revision."""
    cache_dir: str | None = None
    """Where cached scores are kept between runs; None: the user cache folder."""
    tokens_per_pass: Count = 65_536
    """Most tokens of a rank in one forward without gradient: a live reference's, one that fills the cache, one of
    evaluation. Where no rank has more in a step, the reference scores the step in one pass, whatever the number of
    micro-steps; a micro-step is never split."""


class OptimConfig(Section):
    """AdamW and its schedule."""

    lr: Positive = 5e-7
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape after the warm-up; cosine and linear end at zero."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: NonNegative = 0.0
    grad_clip: Positive = 1.0
    """Largest global gradient norm."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Positive = 1e-8


class TrainConfig(Section):
    """How much, in what portions, in what order."""

    comparisons_per_step: Count = 32
    """Comparisons of one optimizer step over all ranks: the global batch, whatever the number of ranks."""
    max_steps: Count | None = None
    """Stop after this many optimizer steps; None: after `epochs`."""
    epochs: Count = 1
    tokens_per_micro_step: Count = 4096
    """Most tokens one rank scores in one forward. Changes speed and memory, not the result."""
    squares_per_micro_step: Count | None = None
    """Most sum of squared item lengths one rank scores in one forward, where attention needs a limit of its own."""
    score_shared_prefix: bool = False
    """Score also the instruction tokens that both items of a comparison begin with. They cancel in every margin; left
    out, `logps/` and `rewards/` of an item count from where the items of its comparisons part, as TRL's do."""
    share_instructions: bool = False
    """Compute an instruction once for all items of a rank's micro-step that have it, instead of once for each."""
    sample_by: Literal["comparison", "group"] = "comparison"
    """group: comparisons that share items come one after another, so that a step scores fewer items. It is another
    sampling distribution: the comparisons of a step are then no longer independent draws."""
    shuffle: bool = True
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Steps between evaluations on held-out comparisons; 0: only before the first and after the last step."""
    max_nonfinite_steps: Count = 3
    """Stop after this many steps in a row with a loss or gradient that is not finite; their updates are left out."""

    @model_validator(mode="after")
    def _groups_need_a_shuffle(self) -> Self:
        if self.sample_by == "group" and not self.shuffle:
            raise ValueError("sample_by (group) orders what shuffle (false) leaves in the order of the data; drop one")
        return self


class OffloadConfig(Section):
    """Where ZeRO keeps a partition that is not in use."""

    device: Literal["none", "cpu", "nvme"] = "none"
    nvme_path: str | None = None
    pin_memory: bool = False

    @model_validator(mode="after")
    def _nvme_needs_a_path(self) -> Self:
        if self.device == "nvme" and self.nvme_path is None:
            raise ValueError("nvme_path (None) is needed with device=nvme; name a folder on that disk")
        return self


class EngineConfig(Section):
    """DeepSpeed."""

    zero_stage: Literal[0, 1, 2, 3] = 3
    offload_optimizer: OffloadConfig = OffloadConfig()
    offload_params: OffloadConfig = OffloadConfig()
    """ZeRO-3 only."""
    param_persistence_threshold: Annotated[int, Field(ge=0)] = 100_000
    """ZeRO-3 keeps parameters of fewer elements than this on every rank."""
    max_live_parameters: Count = 1_000_000_000
    prefetch_bucket_size: Annotated[int, Field(ge=0)] = 50_000_000
    max_reuse_distance: Annotated[int, Field(ge=0)] = 1_000_000_000
    reduce_bucket_size: Count = 50_000_000
    """Elements of gradient that are reduced at a time: a buffer of this size on every rank."""
    sub_group_size: Count = 100_000_000
    """ZeRO-3 updates this many parameters at a time: a copy of their gradients in float32."""
    grad_accum_dtype: Literal["model", "float32"] = "model"
    """What the gradients of micro-steps add up in: model.dtype, which rounds each sum, or float32, which takes 2 bytes
    more of each parameter's share than bfloat16. ZeRO-2 and 3."""

    @model_validator(mode="after")
    def _offload_needs_partitions(self) -> Self:
        if self.offload_params.device != "none" and self.zero_stage != 3:
            raise ValueError(
                f"offload_params needs zero_stage=3 (now {self.zero_stage}); parameters are whole below it"
            )
        if self.offload_optimizer.device != "none" and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1, 2 or 3 (now 0)")
        return self

    @model_validator(mode="after")
    def _accumulation_works(self) -> Self:
        """Elsewhere DeepSpeed 0.19.8 refuses (ZeRO-0), takes an optimizer that rounds all the same (1), or never again
        finds a gradient finite after one that was not (2, offloaded)."""
        if self.grad_accum_dtype == "model" or self.zero_stage == 3:
            return self
        if self.zero_stage < 2:
            raise ValueError(
                f"grad_accum_dtype (float32) needs zero_stage 2 or 3 (now {self.zero_stage}); or use model"
            )
        if self.offload_optimizer.device != "none":
            raise ValueError(
                f"grad_accum_dtype (float32) does not go with zero_stage=2 and offload_optimizer "
                f"({self.offload_optimizer.device}); use zero_stage=3, or model"
            )
        return self


class CheckpointConfig(Section):
    """Commits to `<run.dir>/checkpoints`."""

    every: Annotated[int, Field(ge=0)] = 100
    """Steps between commits; 0: only after the last step."""
    keep: Count = 2
    """Newest commits to keep. Older ones go only after a new one is complete."""
    resume: Literal["auto", "must", "never"] = "auto"
    """auto: continue from the newest valid commit, if any. must: fail without one. never: refuse a used run.dir."""
    other_ranks: Literal["refuse", "convert"] = "refuse"
    """A commit of another number of ranks: refuse it, or convert it. A range in cluster.workers converts it too."""
    storage: str | None = None
    """URL of a folder for this run alone (s3://bucket/folder, file:///folder, any of pyarrow or fsspec): commits are
    copied there beside training, and fetched from there where `run.dir` has none as new. Credentials by environment."""

    @model_validator(mode="after")
    def _storage_is_a_url(self) -> Self:
        scheme, found, place = (self.storage or "a://b").partition("://")
        if not (scheme and found and place):
            raise ValueError(f"storage ({self.storage}) is not a URL; write s3://bucket/folder or file:///folder")
        if ":" in place.partition("/")[0].rpartition("@")[0]:  # not repeated: it may be the password
            raise ValueError("storage has a password in it; give the hosts their credentials by environment variables")
        return self


_TRACKED = re.compile(
    r"https?://[^/] | (sqlite|postgresql|mysql|mssql)([+]\w+)?://. | file:. | databricks(-uc)?($|://) | uc: "
    r"| azureml:// | arn:aws:",
    re.IGNORECASE | re.VERBOSE,
)
"""What MLflow and the plugins that it names itself take for an address."""


class TrackingConfig(Section):
    """MLflow. A server that is down never stops or slows training."""

    uri: str | None = None
    """Server or `sqlite:///FILE`. None: `sqlite:///<parent of run.dir>/mlflow.db`. `none`: metrics.jsonl only."""
    experiment: str = "jpo"
    log_model: bool = True
    """Log the exported folder as a model of the run."""
    system_metrics: bool = True
    """CPU, memory, disk, network and GPUs of every host, each 10 s, as MLflow's system metrics."""

    @model_validator(mode="after")
    def _uri_has_a_scheme(self) -> Self:
        """A server that is down stops nothing, so a typing error here would be a run that nobody finds again."""
        if self.uri not in (None, "none") and not _TRACKED.match(self.uri):
            shown = "" if "@" in self.uri else f" ({self.uri})"  # not repeated: it may be the password
            raise ValueError(
                f"uri{shown} is no address that MLflow knows; write http://localhost:5000, sqlite:///FILE, or none"
            )
        return self


class RunSection(Section):
    """Where a run lives."""

    dir: str = Field(min_length=1)
    """Folder for checkpoints, metrics.jsonl, export and the resolved config; shared by all hosts."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "jpo"


class JpoConfig(Section):
    """Everything the method needs to know for one run."""

    model: ModelConfig
    data: DataConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    reference: ReferenceConfig = ReferenceConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    engine: EngineConfig = EngineConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    run: RunSection

    @model_validator(mode="after")
    def _reference_fits_the_policy(self) -> Self:
        if self.reference.mode == "adapter_off" and not self.model.lora.rank:
            raise ValueError(
                "reference.mode (adapter_off) needs an adapter to switch off; set model.lora.rank, or use live"
            )
        if self.reference.mode == "adapter_off" and self.reference.path not in (None, self.model.path):
            raise ValueError(
                f"reference.path ({self.reference.path}) must be model.path with reference.mode=adapter_off; drop it"
            )
        return self

    @model_validator(mode="after")
    def _pinned_code_of_the_reference(self) -> Self:
        of_its_own = self.reference.path not in (None, self.model.path)
        if self.reference.revision is not None and not of_its_own:
            raise ValueError(
                f"reference.revision ({self.reference.revision}) belongs to a reference.path other than model.path; "
                "set that, or use model.revision"
            )
        if of_its_own and self.model.trust_remote_code and not _is_commit(self.reference.revision):
            raise ValueError(
                f"model.trust_remote_code (true) with reference.path ({self.reference.path}) needs reference.revision "
                f"(now {self.reference.revision!r}) to be a 40-hex commit; pin it"
            )
        return self


def reference_model(config: JpoConfig) -> ModelConfig:
    """The model section of the reference."""
    return model_at(config.model, config.reference.path, config.reference.revision)


def model_at(model: ModelConfig, path: str | None, revision: str | None = None) -> ModelConfig:
    """`model` with another path, and neither GGUF nor revision of its own; None or its own path: as it is."""
    if path is None or path == model.path:
        return model
    return model.model_copy(update={"path": path, "gguf_file": None, "revision": revision})

"""The typed, closed, frozen settings of the method. Each section is handed only to the code that uses it.

Defaults live here and nowhere else. A string such as `5e-7`, which PyYAML does not take for a number, is read as one.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from jpo_dist.config.addresses import OnDisk, wrong_with_storage, wrong_with_tracking
from jpo_dist.config.base import ROW_MIB, Count, Fraction, NonNegative, Positive, Section, TemplateArgs, is_commit
from jpo_dist.config.groups import GroupChoice, GroupNames


class LoraConfig(Section):
    """Low-rank adapters (peft). The base weights stay frozen."""

    EXPERT = ("target_modules",)

    rank: Annotated[int, Field(ge=0)] = 0
    """Rank of the adapters; 0 trains all weights instead."""
    alpha: Positive = 16.0
    """Adapter scale numerator: the update is alpha/rank * B A."""
    target_modules: Annotated[list[str] | Literal["all-linear"], Field(min_length=1)] = "all-linear"
    """Names of the layers that get an adapter. The head cannot be one of them."""
    merge_on_export: bool = False
    """Also export the base model with the adapter merged in."""


class ModelConfig(Section):
    """The policy, and where it starts."""

    EXPERT = ("revision", "trust_remote_code", "export_dtype")

    path: str = Field(min_length=1)
    """A Hugging Face folder or hub id, or `package:MODULE[/FILE]` for files that an installed package carries."""
    revision: str | None = None
    """Hub revision. A 40-hex commit when trust_remote_code is on."""
    gguf_file: str | None = None
    """Name of a GGUF file inside `path`; it is converted once into an ordinary folder in the cache."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Weights and matrix products. auto: bfloat16 where the hardware has it, float32 elsewhere."""
    export_dtype: Literal["source", "model"] = "source"
    """The dtype of exported weights: that of each weight in model.path, or model.dtype as trained. In a source of
    bfloat16 changes of less than a 512th of a weight are lost."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more compute."""
    trust_remote_code: bool = False
    """Run model code that comes with the weights. Off: a checkpoint is data, not a program."""
    lora: LoraConfig = LoraConfig()

    @model_validator(mode="after")
    def _pinned_remote_code(self) -> Self:
        if self.trust_remote_code and not is_commit(self.revision):
            raise ValueError(
                f"trust_remote_code (true) needs revision (now {self.revision!r}) to be a 40-hex commit; pin it"
            )
        return self


class TokensConfig(Section):
    """How an item becomes tokens."""

    template: str = "chat"
    """`chat`: the tokenizer's chat template. Otherwise text that contains {instruction}; the response follows it."""
    template_args: TemplateArgs = {}  # noqa: RUF012
    """Variables of the chat template: {enable_thinking: false}."""
    on_template_difference: Literal["error", "note", "follow"] = "error"
    """Where the chat template writes a finished conversation in other tokens than its prompt, a response and an end:
    stop with both texts; go on with prompt, response and end, and say so; or take the tokens of the template."""
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
        if self.template != "chat" and self.template_args:
            raise ValueError(f"template_args ({self.template_args}) are for template=chat; drop them")
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
    """About which share of the instructions is held out of `train` when `validation` is None: whole conversations."""
    on_bad_row: Literal["error", "skip"] = "error"
    """A row that cannot be read: stop with file, line, field and reason, or count it and go on."""
    max_row_mib: Count = ROW_MIB
    """Most MiB of one row of JSON lines, one value of a JSON list, or one CSV cell; a longer one is a bad row."""
    desirable_from: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """With objective.loss=kto, for ratings: the least score of a desirable response; below it they are undesirable."""
    groups: GroupNames = Field(default=[])
    """Columns that say who judged (annotator, country, language), kept in each comparison, so that reports are by these
    groups too. A set has them from `jpo data build`."""
    only: GroupChoice = Field(default={})
    """Comparisons to train on, by their groups: {country: [DE, FR]}; of several names, all must fit. What is held out
    stays whole."""
    without: GroupChoice = Field(default={})
    """Comparisons to leave out of training, in the same way."""


class ReferenceConfig(Section):
    """The frozen model the policy is measured against."""

    EXPERT = ("revision", "cache_dir", "tokens_per_pass", "refresh_every", "refresh_share")

    mode: Literal["live", "cached", "adapter_off", "none"] = "live"
    """live: a second engine. cached: score every item once, then free it. adapter_off: the LoRA base in the policy.
    none: no reference, for objective.loss=simpo or sigmoid_norm."""
    path: str | None = None
    """Where the reference's weights are; None: model.path."""
    revision: str | None = None
    """Hub revision of `path`. A 40-hex commit when model.trust_remote_code is on. Without `path`, model.revision."""
    cache_dir: OnDisk | None = None
    """Where cached scores are kept between runs; None: the user cache folder."""
    tokens_per_pass: Count = 65_536
    """Most tokens of a rank in one forward without gradient: a live reference's, one that fills the cache, one of
    evaluation. Where no rank has more in a step, the reference scores the step in one pass, whatever the number of
    micro-steps; a micro-step is never split."""

    refresh_every: Annotated[int, Field(ge=0)] = 0
    """TR-DPO, arXiv 2404.09656: steps between refreshes of a live reference by the policy; 0: it stays as it is."""
    refresh_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Alpha: a refresh makes the reference alpha * policy + (1 - alpha) * reference. 1: a copy of the policy."""

    @model_validator(mode="after")
    def _refreshes_need_a_live_one(self) -> Self:
        if self.refresh_every and self.mode != "live":
            raise ValueError(
                f"refresh_every ({self.refresh_every}) changes the weights of a reference, mode={self.mode} keeps none "
                "that can change; use mode=live, or refresh_every=0"
            )
        if self.refresh_share != 1 and not self.refresh_every:
            raise ValueError(
                f"refresh_share ({self.refresh_share}) has no effect with refresh_every=0; set refresh_every, or use 1"
            )
        return self

    @property
    def has_forwards(self) -> bool:
        """Whether the reference computes in every step."""
        return self.mode in ("live", "adapter_off")


class OptimConfig(Section):
    """AdamW and its schedule."""

    EXPERT = ("weight_decay", "grad_clip", "betas", "eps")

    lr: Positive = 5e-7
    """Learning rate after the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape after the warm-up; cosine and linear end at zero."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises from zero, in a line."""
    weight_decay: NonNegative = 0.0
    """Share of a weight that a step of learning rate 1 would take off it (decoupled, as AdamW has it)."""
    grad_clip: NonNegative | None = 1.0
    """Largest global gradient norm. None or 0: gradients are not clipped."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of AdamW's two moments, by step."""
    eps: Positive = 1e-8
    """What AdamW adds to the root of the second moment."""


class StopConfig(Section):
    """When a run ends before its last step."""

    evaluations: Count
    """After this many evaluations in a row without a new best value of checkpoint.best, which has to be set."""


class TrainConfig(Section):
    """How much, in what portions, in what order."""

    EXPERT = ("squares_per_micro_step", "score_shared_prefix", "sample_by", "max_nonfinite_steps")

    comparisons_per_step: Count = 32
    """Comparisons of one optimizer step over all ranks: the global batch, whatever the number of ranks."""
    items_per_step: Count = 32
    """The same for what is learned from one by one (objective.loss=kto, `jpo sft`): items of one optimizer step."""
    max_steps: Count | None = None
    """Stop after this many optimizer steps; None: after `epochs`."""
    epochs: Count = 1
    """Times that the run goes through the training comparisons."""
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
    """Draw the order of the comparisons anew for each epoch. Off: the order of the data."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """What the order, the held-out instructions and all other chance of a run are drawn from."""
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Steps between evaluations on held-out comparisons; 0: only before the first and after the last step."""
    max_nonfinite_steps: Count = 3
    """Stop after this many steps in a row with a loss or gradient that is not finite; their updates are left out."""
    stop_when: StopConfig | None = None
    """End the run earlier, for example {evaluations: 5}. None: after its last step."""

    @model_validator(mode="after")
    def _groups_need_a_shuffle(self) -> Self:
        if self.sample_by == "group" and not self.shuffle:
            raise ValueError("sample_by (group) orders what shuffle (false) leaves in the order of the data; drop one")
        return self


class CheckpointConfig(Section):
    """Commits to `<run.dir>/checkpoints`."""

    EXPERT = ("other_ranks", "stop_grace_s")

    every: Annotated[int, Field(ge=0)] = 100
    """Steps between commits; 0: only after the last step."""
    keep: Count = 2
    """Newest commits to keep. Older ones go only after a new one is complete."""
    best: Annotated[str, Field(pattern="^eval/.")] | None = None
    """A metric of evaluation, such as eval/loss: where it has a new best value the run commits, keeps that commit
    beside the newest ones, and exports it when it ends. None: the last step is exported."""
    best_is: Literal["auto", "low", "high"] = "auto"
    """Which values of `best` are good. auto: low ones of a loss or perplexity, high ones of anything else."""
    resume: Literal["auto", "must", "never"] = "auto"
    """auto: continue from the newest valid commit, if any. must: fail without one. never: refuse a used run.dir."""
    other_ranks: Literal["refuse", "convert"] = "refuse"
    """A commit of another number of ranks: refuse it, or convert it. A range in cluster.workers converts it too."""
    stop_grace_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds that a run has which Ctrl-C, SIGTERM or SIGHUP tells to end: for its step at hand and the commit of it. A
    second signal, or the end of this time, ends it at once."""
    storage: str | None = None
    """URL of a folder for this run alone (s3://bucket/folder, file:///folder, any of pyarrow or fsspec): commits are
    copied there beside training, and fetched from there where `run.dir` has none as new. Credentials by environment."""

    @model_validator(mode="after")
    def _storage_is_a_url(self) -> Self:
        wrong = None if self.storage is None else wrong_with_storage(self.storage)
        if wrong:
            raise ValueError(f"storage {wrong}")
        return self


class TrackingConfig(Section):
    """MLflow. A server that is down never stops or slows training."""

    EXPERT = ("log_model", "system_metrics")

    uri: str | None = None
    """Server or `sqlite:///FILE`, a URL: `%3F` is a `?` in it. None: what MLFLOW_TRACKING_URI says where the command
    starts, else `sqlite:///<parent of run.dir>/mlflow.db`. `none`: metrics.jsonl only."""
    experiment: str = "jpo"
    """MLflow's name for runs that belong together. Not set: what MLFLOW_EXPERIMENT_NAME says, else jpo."""
    log_model: Literal["pointer", "copy", "none"] = "pointer"
    """The export as a model of the run: its place, a copy that MLflow serves, or not (true: pointer, false: none)."""
    system_metrics: bool = True
    """CPU, memory, disk, network and GPUs of every host, each 10 s, as MLflow's system metrics."""

    @field_validator("log_model", mode="before")
    @classmethod
    def _was_a_switch(cls, value: Any) -> Any:
        return ("pointer" if value else "none") if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _uri_has_a_scheme(self) -> Self:
        """A server that is down stops nothing, so a typing error here would be a run that nobody finds again."""
        wrong = None if self.uri in (None, "none") else wrong_with_tracking(self.uri)
        if wrong:
            raise ValueError(f"uri{wrong}")
        return self


class RunSection(Section):
    """Where a run lives."""

    dir: OnDisk = Field(min_length=1)
    """Folder for checkpoints, metrics.jsonl, export and the resolved config; shared by all hosts."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "jpo"
    """Name of the run in MLflow and of its Ray jobs."""

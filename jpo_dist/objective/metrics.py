"""Numbers of a step or an evaluation, for each comparison until the end, then one read from the device.

Legend: N items of a micro-step on all ranks, C comparisons, K metric columns (_COLUMNS, in their order).

Every mean is over comparisons, unweighted. Names are TRL's where the meaning is the same; `chosen` is the winner.

    rewards/chosen, rewards/rejected    beta * (log pi - log ref), with the objective's instruction weight
    rewards/margins                     their difference, beta * z
    rewards/accuracies                  share of comparisons with z > 0; a tie is not a win
    margin/instruction, margin/response the two parts of z in nats, unweighted: a policy can win by moving p(I) alone
    logps/chosen, logps/rejected        log pi(I, R) in nats; logps/*_response: log pi(R | I)

`rewards/` and `logps/` of an item leave out the tokens that are not scored: those that both items of its comparisons
begin with (`train.score_shared_prefix`). They cancel in margins, and TRL leaves them out too, as the implicit prompt.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from jpo_dist.batches.plan import Step
from jpo_dist.config.sections import ObjectiveConfig
from jpo_dist.objective import losses
from jpo_dist.objective.scores import Scores
from jpo_dist.records.comparisons import INSTRUCTION, RESPONSE

_COLUMNS = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "margin/instruction",
    "margin/response",
    "logps/chosen",
    "logps/rejected",
    "logps/chosen_response",
    "logps/rejected_response",
)


def comparison_columns(scores: Scores, losses_C: torch.Tensor, config: ObjectiveConfig) -> torch.Tensor:
    """The metrics of each comparison of a micro-step, (C, K) in float64, on the device, without gradient.

    `losses_C`: what the comparisons lost, sft_weight included.
    """
    weights = torch.ones(2, dtype=torch.float64, device=losses_C.device)
    weights[INSTRUCTION] = config.instruction_weight
    policy_N2, z_C = scores.policy_N2.detach(), losses.total_margin(scores.margins_C2, config.instruction_weight)
    rewards_N = config.beta * ((policy_N2 - scores.reference_N2) @ weights)
    joint_N = policy_N2.sum(1)
    winners, losers = scores.winners_C, scores.losers_C
    columns = [
        losses_C,
        rewards_N[winners],
        rewards_N[losers],
        config.beta * z_C,
        (z_C > 0).double(),
        scores.margins_C2[:, INSTRUCTION],
        scores.margins_C2[:, RESPONSE],
        joint_N[winners],
        joint_N[losers],
        policy_N2[winners, RESPONSE],
        policy_N2[losers, RESPONSE],
    ]
    return torch.stack([column.detach().double() for column in columns], dim=1)


@dataclass
class Meter:
    """Collects the metrics of comparisons, micro-step by micro-step, until `table` reads them from the device.

    Gathered scores are the same on every rank, and so is the table: no collective is needed.
    """

    rows: list[torch.Tensor] = field(default_factory=list)
    comparisons: list[np.ndarray] = field(default_factory=list)

    def add(self, rows_CK: torch.Tensor, comparisons_C: np.ndarray) -> None:
        """Keep the metrics of the comparisons of one micro-step, by number."""
        self.rows.append(rows_CK)
        self.comparisons.append(comparisons_C)

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the comparisons (C,) and their metrics (C, K), by number: whatever the ranks and the packing."""
        order = np.argsort(np.concatenate(self.comparisons), kind="stable")
        rows_CK = torch.cat(self.rows).cpu().numpy()[order]
        return np.concatenate(self.comparisons)[order], rows_CK


def means(rows_CK: np.ndarray, prefix: str = "") -> dict[str, float]:
    """The mean of each metric over comparisons, by `prefix` and name; empty for no comparisons."""
    if not len(rows_CK):
        return {}
    return {prefix + name: float(value) for name, value in zip(_COLUMNS, rows_CK.mean(0), strict=True)}


def throughput(step: Step, lengths_N: np.ndarray, seconds: float, counted: str = "comparisons") -> dict[str, float]:
    """`perf/...` of one step that took so many seconds. padding_share: share of the computed tokens that belong to no
    item. `counted`: what the step is made of."""
    tokens = int(lengths_N[np.concatenate([micro.items_N for micro in step.micro_steps])].sum())
    fillers = sum(2 for micro in step.micro_steps for mine in micro.items_by_rank if not len(mine))
    return {
        "perf/step_seconds": seconds,
        "perf/tokens_per_second": tokens / seconds,
        f"perf/{counted}_per_second": len(step.comparisons_C) / seconds,
        "perf/padding_share": fillers / (tokens + fillers),
        "perf/micro_steps": float(len(step.micro_steps)),
    }


def column(rows_CK: np.ndarray, name: str) -> np.ndarray:
    """The metric `name` of each comparison, (C,). Raises ValueError for a name that is none."""
    values: np.ndarray = rows_CK[:, _COLUMNS.index(name)]
    return values


def by_protocol(rows_CK: np.ndarray, is_joint_C: np.ndarray, prefix: str) -> dict[str, float]:
    """Means over all comparisons, over the conditional ones and over the joint ones (`is_joint_C`), and their
    number."""
    return {
        **means(rows_CK, prefix),
        **means(rows_CK[~is_joint_C], f"{prefix}conditional/"),
        **means(rows_CK[is_joint_C], f"{prefix}joint/"),
        f"{prefix}comparisons": float(len(rows_CK)),
    }

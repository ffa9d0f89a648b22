"""Numbers of a step or an evaluation, for each comparison until the end, then one read from the device.

Legend: N items of a micro-step on all ranks, C comparisons, K metric columns (_COLUMNS, in their order).

Every mean is over comparisons, unweighted. Names are TRL's where the meaning is the same; `chosen` is the winner.
`loss` is over all comparisons, ties included where they are used. All others that know a winner are over the decided
ones, and left out where there is none.

    rewards/chosen, rewards/rejected    beta * (log pi - log ref), with the objective's instruction weight
    rewards/margins                     their difference, beta * z; a difference of means where the loss has these
    rewards/accuracies                  share of comparisons with z > 0; a tie is not a win
    margin/instruction, margin/response the two parts of z in nats, unweighted: a policy can win by moving p(I) alone
    logps/chosen, logps/rejected        log pi(I, R) in nats; logps/*_response: log pi(R | I)
    ties/share                          share of ties among all comparisons, with a loss that knows ties
    ties/predicted                      how likely the policy makes a tie, over the ties
    ties/predicted_decided              the same over the decided comparisons: it should be lower

`rewards/` and `logps/` of an item leave out the tokens that are not scored: those that both items of its comparisons
begin with (`train.score_shared_prefix`). They cancel in margins, and TRL leaves them out too, as the implicit prompt.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from jpo_dist.batches.plan import Step
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.objective import preference
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
_OF_TIES = ("tie", "tie_probability")
"""Columns that follow where the loss knows ties."""


def comparison_columns(scores: Scores, losses_C: torch.Tensor, config: ObjectiveConfig) -> torch.Tensor:
    """The metrics of each comparison of a micro-step, (C, K) in float64, on the device, without gradient.

    `losses_C`: what the comparisons lost, sft_weight included.
    """
    scores = scores._replace(policy_N2=scores.policy_N2.detach(), margins_C2=scores.margins_C2.detach())
    policy_N2, z_C, rewards_N = scores.policy_N2, preference.margin(scores, config), preference.rewards(scores, config)
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
    tie_probability_C = preference.tie_probabilities(scores, config)
    if tie_probability_C is not None:
        columns += [torch.zeros_like(z_C) if scores.is_tie_C is None else scores.is_tie_C, tie_probability_C]
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
    decided_CK = rows_CK[~ties(rows_CK)]
    found = {"loss": float(rows_CK.mean(0)[0])}
    if len(decided_CK):
        found |= dict(zip(_COLUMNS[1:], decided_CK.mean(0)[1 : len(_COLUMNS)].tolist(), strict=True))
    if _knows_ties(rows_CK):
        found["ties/share"] = float(ties(rows_CK).mean())
        for name, part_CK in (("ties/predicted", rows_CK[ties(rows_CK)]), ("ties/predicted_decided", decided_CK)):
            if len(part_CK):
                found[name] = float(part_CK[:, -1].mean())
    return {prefix + name: value for name, value in found.items()}


def _knows_ties(rows_CK: np.ndarray) -> bool:
    return rows_CK.shape[1] > len(_COLUMNS)


def ties(rows_CK: np.ndarray) -> np.ndarray:
    """Which comparisons are ties, (C,) of bool."""
    none_C = np.zeros(len(rows_CK), dtype=bool)
    return rows_CK[:, len(_COLUMNS) + _OF_TIES.index("tie")] > 0 if _knows_ties(rows_CK) else none_C


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
    values: np.ndarray = rows_CK[:, (_COLUMNS + _OF_TIES).index(name)]
    return values


def counted(rows_CK: np.ndarray, name: str) -> np.ndarray:
    """The metric `name` of the comparisons that its mean is over: all for the loss, the decided ones for others."""
    return column(rows_CK if name == "loss" else rows_CK[~ties(rows_CK)], name)


def by_protocol(rows_CK: np.ndarray, is_joint_C: np.ndarray, prefix: str) -> dict[str, float]:
    """Means over all comparisons, over the conditional ones and over the joint ones (`is_joint_C`), and their
    number."""
    return {
        **means(rows_CK, prefix),
        **means(rows_CK[~is_joint_C], f"{prefix}conditional/"),
        **means(rows_CK[is_joint_C], f"{prefix}joint/"),
        f"{prefix}comparisons": float(len(rows_CK)),
    }

"""The configs that commands take, with what they need beside the settings of the method."""

from cluster.config import ClusterConfig
from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sft import SftConfig
from jpo_dist.evaluate.config import EvaluateConfig, ScoreConfig
from jpo_dist.generate.config import GenerateConfig
from jpo_dist.judge.config import JudgeConfig
from jpo_dist.winrate.config import WinRateConfig


class RunConfig(JpoConfig):
    """Everything one `jpo` command needs."""

    cluster: ClusterConfig = ClusterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    score: ScoreConfig = ScoreConfig()


class SftRunConfig(SftConfig):
    """Everything one `jpo sft` needs."""

    cluster: ClusterConfig = ClusterConfig()


AnyRunConfig = RunConfig | SftRunConfig
"""The config of a run on ranks, whatever it learns."""


class JudgeRunConfig(JudgeConfig):
    """Everything one `jpo judge` needs."""

    cluster: ClusterConfig = ClusterConfig(workers=0)
    """workers: Ray tasks, each with its share of the questions and of endpoint.concurrency. 0: this process."""


class GenerateRunConfig(GenerateConfig):
    """Everything one `jpo generate` needs."""

    cluster: ClusterConfig = ClusterConfig(workers=0)
    """workers: Ray tasks, each with the model and its share of the instructions. 0: this process."""


class WinRateRunConfig(WinRateConfig):
    """Everything one `jpo winrate` needs."""

    cluster: ClusterConfig = ClusterConfig(workers=0)
    """workers: Ray tasks, as in `jpo judge`. 0: this process."""

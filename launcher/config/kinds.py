"""The configs that commands take, with what they need beside the settings of the method."""

from cluster.config import ClusterConfig
from jpo_dist.config.run import JpoConfig
from jpo_dist.evaluate.config import EvaluateConfig, WinRateConfig
from jpo_dist.judge.config import JudgeConfig


class RunConfig(JpoConfig):
    """Everything one `jpo` command needs."""

    cluster: ClusterConfig = ClusterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


class JudgeRunConfig(JudgeConfig):
    """Everything one `jpo judge` needs."""

    cluster: ClusterConfig = ClusterConfig(workers=0)
    """workers: Ray tasks, each with its share of the questions and of endpoint.concurrency. 0: this process."""


class WinRateRunConfig(WinRateConfig):
    """Everything one `jpo winrate` needs."""

    cluster: ClusterConfig = ClusterConfig(workers=0)
    """workers: Ray tasks, as in `jpo judge`. 0: this process."""

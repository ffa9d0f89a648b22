"""`jpo judge`."""

from launcher.arguments import AsJson, ConfigPath, Overrides
from launcher.console import explained, say, say_json


def command(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Label candidate comparisons with a judge: an LLM, a program that checks, or a reward model."""
    with explained("what was answered is kept, and the same command asks the rest"):
        from jpo_dist.judge.report import OUTCOMES
        from launcher.config.kinds import JudgeRunConfig
        from launcher.config.load import load_kind
        from launcher.show.board import at_work

        settings = load_kind(JudgeRunConfig, config, overrides)
        with at_work() as chatter:
            from launcher.stages.judge import run

            report = run(settings, chatter)
        if as_json:
            say_json(report)
            return
        found = report["outcomes"]
        told = [f"{found[outcome]} {outcome}" for outcome in OUTCOMES if found.get(outcome)]
        say(", ".join(told))
        if splits := report.get("splits"):
            say(f"{', '.join(f'{count} {name}' for name, count in splits.items())}: the splits of the candidates")
        say(f"comparisons, report.html: {settings.output}")

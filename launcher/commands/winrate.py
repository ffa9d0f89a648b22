"""`jpo winrate`."""

from launcher.arguments import AsJson, ConfigPath, Overrides
from launcher.console import explained, out, say, say_json


def command(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """How often a model's answers beat gold responses or another model's, by any judge, with intervals and controls."""
    with explained("what was answered is kept, and the same command asks the rest"):
        from launcher.config.kinds import WinRateRunConfig
        from launcher.config.load import load_kind
        from launcher.show.board import at_work

        settings = load_kind(WinRateRunConfig, config, overrides)
        with at_work() as chatter:
            from launcher.show.winrate import terminal
            from launcher.stages.winrate import refuse_incomplete, run

            report = run(settings, chatter)
        for part in [] if as_json else terminal(report):
            say(part) if isinstance(part, str) else out.print(part)
        if as_json:
            say_json(report)
        else:
            say(f"winrate.json, winrate.md, winrate.html, verdicts.jsonl: {settings.output}")
        refuse_incomplete(report, settings)

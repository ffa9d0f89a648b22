"""`jpo evaluate` and `jpo score`."""

from jpo_dist.files import read_json
from launcher.arguments import AsJson, ConfigPath, Overrides, read_config
from launcher.console import explained, out, say, say_json


def command(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Held-out loss, accuracy and margins with intervals; pass-rate of generated answers to checkable instructions."""
    with explained():
        resolved = read_config(config, overrides)
        from launcher.show.board import at_work

        with at_work(resolved.run.dir, "evaluate"):
            from launcher.show.evaluation import evaluation_tables
            from launcher.stages.evaluate import evaluate
            from launcher.stages.ranked import is_driver

            path = evaluate(resolved)
            if is_driver() and as_json:
                say_json(read_json(path))
            elif is_driver():
                for table in evaluation_tables(path):
                    out.print(table)
                say(f"written: {path}")


def score(config: ConfigPath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Rewards of any items, log pi - log ref, and margins of any comparisons, as Parquet: score.data=PLACE."""
    with explained():
        resolved = read_config(config, overrides)
        from launcher.show.board import at_work

        with at_work(resolved.run.dir, "score"):
            from launcher.show.evaluation import score_lines
            from launcher.stages.evaluate import score as score_items
            from launcher.stages.ranked import is_driver

            folder = score_items(resolved)
            if is_driver() and as_json:
                say_json(read_json(folder / "report.json"))
            elif is_driver():
                say("\n".join([*score_lines(folder / "report.json"), f"written: {folder}"]))

"""What MLflow's pages make of what we send: which tags they hide, and Markdown in which text of others is only text."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jpo_dist.redact import redact, visible
from jpo_dist.run_dir import EXPORT, EXPORT_MERGED

INPUT_RUN, INPUT_EXPERIMENT = "jpo.input_run.", "jpo.input_experiment."
"""How tags begin that name the MLflow run of an earlier stage and its experiment, as a pipeline sets them."""
_OF_PROGRAMS = (
    "jpo.uid", "jpo.key", "jpo.input.", INPUT_RUN, INPUT_EXPERIMENT, "jpo.dataset", "jpo.checkpoint.path",
    "jpo.making", "jpo.id", "jpo.copied", "jpo.weights",
)  # fmt: skip
IS_EXTERNAL = "mlflow.model.isExternal"
"""The tag of a logged model that says whether it is a place alone ("true"), or has its files in MLflow ("false")."""
WEIGHTS = "jpo.weights"
"""The tag of a logged model with the mark of its weights (jpo_dist.digests.folder_mark); earlier versions set none."""
TRAININGS = "workflowType=machine_learning"
"""What an address needs so that a page of MLflow 3 is one of trainings, and not of agents. Without it the page is what
the browser was last switched to, whatever the experiment's kind; `#/runs/ID` drops it."""
COMPARISON_FIELDS = ("winner's instruction", "winner's response", "loser's instruction", "loser's response")
EXAMPLE_FIELDS = ("instruction", "response")
"""What a set has of each comparison, and of each example: all of it text."""
LONGEST = 120
"""Characters of a name or path; a sentence of ours that holds some has a few times as many."""


def tag_in_mlflow(key: str) -> str:
    """The tag's key in MLflow. Its pages show no tag that begins with `mlflow.`, so tags that programs find runs by do:
    ids and digests, which a person would have to decode. Searches find them all the same.

    >>> [tag_in_mlflow(key) for key in ("jpo.stage", "jpo.input_run.sft")]
    ['jpo.stage', 'mlflow.jpo.input_run.sft']
    """
    return f"mlflow.{key}" if key.startswith(_OF_PROGRAMS) else key


def page_path(experiment_id: str, run_id: str) -> str:
    """The part of a run's address from `#` on."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{TRAININGS}"


def plain(text: str, longest: int = LONGEST) -> str:
    r"""Text of others for Markdown, as it is: no markup, no link, no HTML, one line, not too long.

    >>> print(plain("a_b <img src=x>|"))
    a\_b \<img src=x&#62;\|
    """
    one_line = visible(" ".join(str(redact(text)).split()))
    short = one_line if len(one_line) <= longest else f"{one_line[:longest]}…"
    escaped = re.sub(r"([\\`*_{}\[\]<()#+!|~])", r"\\\1", short)
    return re.sub("[&>:]", lambda found: f"&#{ord(found[0])};", escaped)  # MLflow would show a backslash before these


def short(place: str) -> str:
    """A model's place, or that of other files, as a person knows it: all of a name on a hub, the end of a path, which
    is a parameter as a whole. Folders of stages are without the key in their name.

    >>> short("org/model"), short("/runs/helpful/sft-0f1e2d3c/export"), short("/models/small")
    ('org/model', 'sft/export', 'small')
    """
    path = Path(place)
    if not path.is_absolute():
        return place
    *_, above, last = ("", *(re.sub(r"(?<=.)-[0-9a-f]{8}$", "", part) for part in path.parts))
    return f"{above}/{last}" if last in (EXPORT, EXPORT_MERGED) else last


def table(head: Sequence[str], rows: Sequence[Sequence[str]], links: Sequence[str] = ()) -> str:
    r"""A table in Markdown of texts as they are. MLflow leaves no room between columns, and has all of them begin at
    the left, where numbers would run into each other: room is made here.

    `links`: for each row a link in the place of its first text; "": none.

    >>> print(table(["", "of"], [["a|b", "3"]]))
    |  | &emsp;of |
    | --- | ---: |
    | a\|b | &emsp;3 |
    """

    def line(row: Sequence[str], link: str = "") -> str:
        first, *others = map(plain, row)
        return f"| {' | '.join([link or first, *(f'&emsp;{cell}' for cell in others)])} |"

    ruler = " | ".join(["---", *["---:"] * (len(head) - 1)])
    return "\n".join([line(head), f"| {ruler} |", *map(line, rows, links or [""] * len(rows))])


def name_of_set(places: str | Sequence[str]) -> str:
    """What MLflow calls a data set: the last part of the first place that it is read from.

    >>> name_of_set(["/data/pairs.jsonl", "/data/more"])
    'pairs.jsonl'
    """
    first = places if isinstance(places, str) else places[0]
    return Path(first.rstrip("/")).name or "data"


def data_set(
    context: str, places: str | Sequence[str], digest: str | None, profile: Mapping[str, Any], fields: Sequence[str]
) -> dict[str, Any]:
    """A data set as `Writer.log_inputs` takes it: what it was for, where it was read from, and what is known of it."""
    source = places if isinstance(places, str) else ", ".join(places)
    found = {"name": name_of_set(places), "digest": digest, "source": source, "context": context}
    return found | {"profile": dict(profile), "fields": fields}


def input_tags(name: str, run: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a run that reads what the stage `name` made; `run`: the entry of that stage's run.json."""
    said = {INPUT_RUN: run.get("run_id"), INPUT_EXPERIMENT: run.get("experiment_id")}
    return {f"{key}{name}": str(value) for key, value in said.items() if value is not None}


def links(tags: Mapping[str, str]) -> str:
    """A sentence with links to the runs of the earlier stages that `tags` name; "" where they name none."""
    found = {key.removeprefix(INPUT_RUN): value for key, value in tags.items() if key.startswith(INPUT_RUN)}
    made = [link_to(name, run_id, tags.get(f"{INPUT_EXPERIMENT}{name}")) for name, run_id in found.items()]
    known = [link for link in made if link]
    return f"Reads what these runs made: {', '.join(known)}" if known else ""


def link_to(name: str, run_id: str, experiment_id: str | None) -> str:
    """A link to a run; "" for an id that is none. Tags and files of earlier versions name no experiment."""
    if not re.fullmatch(r"\w+", run_id):
        return ""
    is_known = experiment_id is not None and re.fullmatch(r"\w+", experiment_id)
    return f"[{plain(name)}]({page_path(str(experiment_id), run_id) if is_known else f'#/runs/{run_id}'})"

"""What the commands take and print, without what they start."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.errors import ClusterError
from launcher.__main__ import main
from launcher.cli import WORKFLOW, app
from launcher.stages.submit import dashboard
from launcher.stages.submit.job import Job

ROOT = Path(__file__).parents[3]
YAML = "model: {path: m}\ndata: {train: d}\nrun: {dir: /runs/a}\n"


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(YAML)
    return str(path)


@pytest.mark.parametrize("verb", ["train", "export"])
def test_a_path_with_brackets_is_printed_with_them(config: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To rich they are markup, which it leaves out."""
    monkeypatch.setattr(f"launcher.stages.{verb}.{verb}", lambda *_: Path("/runs/[a]/export"))
    done = CliRunner().invoke(app, [verb, config])
    assert done.stdout == "exported model: /runs/[a]/export\n"


def test_a_job_is_only_of_a_command_that_there_is(config: str) -> None:
    done = CliRunner().invoke(app, ["submit", config, "--address", "http://localhost:1", "--verb", "foo"])
    assert done.exit_code == 2
    assert "'foo' is not one of 'train', 'evaluate', 'export'" in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_head_where_nobody_listens_is_said_before_ray_is_asked(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("Ray's command was started"))
    with socket.socket() as taken:  # bound and not listening: nobody else gets this port meanwhile
        taken.bind(("127.0.0.1", 0))
        address = f"http://{host}:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"^no Ray dashboard at {address} \(.+\); correct --address"):
            dashboard.run(Job(address, "a", ["ray", "job", "submit"]))


def test_ctrl_c_during_the_imports_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupts:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "launcher.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "launcher.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "error (exit 130): interrupted\n"


def test_the_list_of_commands_is_in_the_order_of_the_work_with_an_example_each() -> None:
    said = CliRunner().invoke(app, ["--help"], terminal_width=200).stdout
    places = [said.index(f"jpo {example}") for _, _, example in WORKFLOW]
    assert places == sorted(places)
    for name, _, example in WORKFLOW:
        assert example.split()[0] == name
        for word in example.split():
            assert not word.startswith("configs/") or (ROOT / word).is_file(), example


def test_version_and_short_help() -> None:
    assert re.fullmatch(r"jpo-dist \d+\.\d+\.\d+\n", CliRunner().invoke(app, ["--version"]).stdout)
    assert "Example: jpo sft configs/sft.yaml" in CliRunner().invoke(app, ["sft", "-h"]).stdout


@pytest.mark.parametrize(("typed", "word", "completed"), [("jpo tra", "1", "train"), ("jpo data bu", "2", "build")])
def test_the_shell_completes_commands(typed: str, word: str, completed: str) -> None:
    """As the installed script is asked: by variables whose names begin with its own."""
    asked = {"_JPO_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": word}
    assert CliRunner().invoke(app, [], env=asked, prog_name="jpo").stdout.split() == [completed]

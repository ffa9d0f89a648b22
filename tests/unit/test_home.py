"""The commands are found where they are installed, whatever the folder holds in which somebody works."""

import subprocess
import sys
from pathlib import Path

import pytest

from jpo_dist.home import find_config, home
from tests.support.commands import environment

ROOT = Path(__file__).parents[2]
MINE = "raise SystemExit('a file of the user was imported')\n"


def test_a_file_of_the_user_does_not_take_the_place_of_ours(tmp_path: Path) -> None:
    for name in ("cluster.py", "launcher.py"):
        (tmp_path / name).write_text(MINE)
    code = "from jpo_dist.home import at_home; at_home(); import cluster.config, launcher; print(launcher.__path__[0])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (str(ROOT / "launcher"), "")


def test_in_the_repository_the_commands_are_beside_the_package() -> None:
    assert home() == ROOT


def test_configs_that_come_along_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    demo = Path("configs/demo.yaml")
    assert find_config(demo) == ROOT / demo
    for absent in (Path("configs/mine.yaml"), Path("demo.yaml"), Path("configs/../pyproject.toml"), Path("configs")):
        assert find_config(absent) == absent
    demo.parent.mkdir()
    demo.write_text("")
    assert find_config(demo) == demo


def test_a_module_of_theirs_runs_by_name(tmp_path: Path) -> None:
    (tmp_path / "cluster.py").write_text(MINE)
    done = subprocess.run(
        [sys.executable, "-m", "jpo_dist.home", "launcher", "--version"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("jpo-dist "), done.stderr

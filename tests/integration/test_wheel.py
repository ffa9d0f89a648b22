"""The wheel alone: built from the tree, installed in an empty environment, used in a folder with files of the user."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.tiny import comparisons, save_tiny, write_jsonl

ROOT = Path(__file__).parents[2]
MINE = "raise SystemExit('a file of the user was imported')\n"

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source distribution, made from what git knows and what it does not ignore."""
    out, tree = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("tree")
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    for kind in ("sdist", "wheel"):
        code = f"from setuptools.build_meta import build_{kind} as build; print(build({str(out)!r}))"
        subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True)
    return out


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment that has the wheel, and of this one only what the wheel needs."""
    place = tmp_path_factory.mktemp("env")
    venv.create(place, with_pip=True)
    (wheel,) = built.glob("*.whl")
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, timeout=240, env={"PATH": os.environ["PATH"]})  # it looks at PYTHONPATH too
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    (packages / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of a user, with files whose names are those of our folders."""
    for name in ("cluster.py", "launcher.py"):
        (tmp_path / name).write_text(MINE)
    return tmp_path


def jpo(python: Path, folder: Path, *words: str) -> str:
    path = os.pathsep.join([str(python), os.environ["PATH"]])
    env = {key: os.environ[key] for key in ("HOME", "TMPDIR", "TORCH_EXTENSIONS_DIR") if key in os.environ}
    done = subprocess.run(
        words, cwd=folder, env={**env, "PATH": path, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_puts_one_name_among_the_packages(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"jpo_dist", "jpo_dist-0.1.0.dist-info"}
    assert {
        "jpo_dist/installed/configs/demo.yaml", "jpo_dist/installed/configs/studies/jpo_vs_dpo.yaml",
        "jpo_dist/sample/train.jsonl", "jpo_dist/judge/prompts/again.txt", "jpo_dist/installed/launcher/cli.py",
        "jpo_dist/installed/cluster/kubernetes/base/ray/raycluster.yaml",
    } <= set(names)  # fmt: skip


def test_the_source_distribution_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (source,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True)
    (again,) = tmp_path.glob("*.whl")
    first, second = (
        {entry.filename: entry.CRC for entry in zipfile.ZipFile(file).infolist() if ".dist-info/" not in entry.filename}
        for file in (wheel, again)
    )
    assert first == second


def test_its_commands_work_in_any_folder(python: Path, mine: Path) -> None:
    assert jpo(python, mine, "jpo", "--version").startswith("jpo-dist 0.")
    assert jpo(python, mine, "python", "-m", "jpo_dist", "--version").startswith("jpo-dist 0.")
    assert "jpo_dist/sample/train.jsonl" in jpo(python, mine, "jpo", "check", "configs/demo.yaml")
    where = jpo(python, mine, "python", "-c", "import jpo_dist; print(jpo_dist.__file__)")
    assert Path(where.strip()).is_relative_to(python.parent)


def test_it_trains_under_ray_beside_files_of_the_user(python: Path, mine: Path) -> None:
    model, data = save_tiny(mine / "model"), write_jsonl(mine / "pairs.jsonl", comparisons(24))
    jpo(
        python, mine, "jpo", "train", "configs/demo.yaml", f"model.path={model}", "model.gguf_file=null",
        f"data.train={data}", "data.validation=null", "train.max_steps=2", "checkpoint.every=2",
        "train.comparisons_per_step=4", "run.dir=runs/mine", "tracking.uri=null", "cluster.workers=2",
    )  # fmt: skip
    assert (mine / "runs" / "mine" / "export" / "model.safetensors").is_file()


def test_the_demo_is_a_command(python: Path, mine: Path) -> None:
    model = save_tiny(mine / "model")
    said = jpo(
        python, mine, "jpo", "demo", f"model.path={model}", "model.gguf_file=null", "train.max_steps=2",
        "checkpoint.every=2", "evaluate.max_new_tokens=2", "run.dir=runs/demo", "tracking.uri=null",
    )  # fmt: skip
    assert "held-out, before -> after" in said

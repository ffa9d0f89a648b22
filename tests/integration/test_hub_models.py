"""A reference whose weights are on a hub: fetched at its revision before its cache is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub import hub
from tests.support.tiny import save_tiny

CODE = """if True:
    import sys
    from jpo_dist.config.sections import ModelConfig
    from jpo_dist.model.load import load_model
    from jpo_dist.objective.reference_cache import cache_path
    from tests.support.runs import config_for
    for path, revision in (("owner/tiny", None), ("owner/tiny", "v1"), (sys.argv[1], None), (sys.argv[2], None)):
        config = config_for("unused", "unused", "unused", model={"path": path, "revision": revision})
        name = cache_path(config.model, None).name
        print(name, float(load_model(config.model).get_output_embeddings().weight.detach().abs().sum()))
"""


def told(folders: list[str], env: dict[str, str]) -> list[str]:
    command = [sys.executable, "-c", CODE, *folders]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.nightly
def test_a_cached_reference_on_the_hub_is_that_of_its_files_at_its_revision(tmp_path: Path) -> None:
    """Over HTTP, from a hub on loopback, with nothing fetched before; then without a network."""
    folders = [save_tiny(tmp_path / f"model{seed}", seed=seed) for seed in (0, 1)]
    main, first = ({file.name: file.read_bytes() for file in Path(folder).iterdir()} for folder in folders)
    env = os.environ | {"HF_HOME": str(tmp_path / "hub"), "JPO_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    env |= {"NO_PROXY": "127.0.0.1", "PYTHONPATH": str(Path(__file__).parents[2])}
    env.pop("HF_HUB_OFFLINE", None)
    main["pytorch_model.bin"] = b"the same weights once more, which nobody needs"
    with hub({"owner/tiny": main, "owner/tiny@v1": first}) as address:
        found = told(folders, env | {"HF_ENDPOINT": address})
    assert found[:2] == found[2:], "as copies of them on this disk"
    assert found[0].split()[0] != found[1].split()[0]
    assert told(folders, env | {"HF_HUB_OFFLINE": "1"}) == found
    assert not list((tmp_path / "hub").rglob("pytorch_model.bin"))


BESIDE = """if True:
    from jpo_dist.config.sections import ModelConfig
    from jpo_dist.model.export.side_files import BESIDE, OF_MODEL
    from jpo_dist.model.files import source_folder
    print(*sorted(f.name for f in source_folder(ModelConfig(path="owner/tiny"), (*BESIDE, *OF_MODEL)).iterdir()))
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_what_lies_beside_a_model_on_the_hub_is_fetched_for_its_export(tmp_path: Path) -> None:
    """Training alone needs neither licence nor processor."""
    files = {file.name: file.read_bytes() for file in Path(save_tiny(tmp_path / "model")).iterdir()}
    files |= {"LICENSE": b"free", "preprocessor_config.json": b"{}", "optimizer.pt": b"nobody needs it"}
    env = os.environ | {"HF_HOME": str(tmp_path / "hub"), "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    env.pop("HF_HUB_OFFLINE", None)
    with hub({"owner/tiny": files}) as address:
        done = subprocess.run(
            [sys.executable, "-c", BESIDE], env=env | {"HF_ENDPOINT": address}, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == files.keys() - {"optimizer.pt"}

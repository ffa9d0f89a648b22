"""A cache of reference scores that a power cut left damaged costs scoring again, and no run."""

from pathlib import Path

import numpy as np

from jpo_dist.batches.prepare import prepare
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.sections import DataConfig, ModelConfig, TrainConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.engine import connect
from jpo_dist.objective.reference_cache import cache_path, score_once
from tests.support.procs import run_ranks
from tests.support.tiny import PLAIN, byte_tokenizer, comparisons, save_tiny


def test_a_damaged_part_is_set_aside_and_scored_again(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    first, again, names = run_ranks(scores_around_damage, 2, str(tmp_path))[0]
    np.testing.assert_array_equal(again, first)
    assert sorted(name.partition("-")[0] for name in names) == ["damaged", "damaged", "part"]


def scores_around_damage(folder: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Of two parts, one is empty and one cut off before the second time."""
    connect(60)
    model, engine = ModelConfig(path=f"{folder}/model", dtype="float32"), EngineConfig()
    kept = f"{folder}/cache"
    data = DataConfig(train="unused", template=PLAIN)
    sets = [prepare(byte_tokenizer(), comparisons(n), data, TrainConfig()).tokens for n in (4, 12)]
    score_once(model, engine, 65_536, kept, sets[:1])
    (first,) = score_once(model, engine, 65_536, kept, sets[1:])
    cache = cache_path(model, kept)
    if ranks.rank() == 0:
        empty, short = cache.glob("part-*")
        empty.write_bytes(b"")
        short.write_bytes(short.read_bytes()[:-20])
    ranks.barrier()
    (again,) = score_once(model, engine, 65_536, kept, sets[1:])
    return first, again, [path.name for path in cache.iterdir()]

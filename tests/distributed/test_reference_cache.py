"""A cache of reference scores that a power cut left damaged costs scoring again, and no run."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jpo_dist.batches.prepare import prepare
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.sections import DataConfig, ModelConfig, TrainConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.engine import connect
from jpo_dist.objective.reference_cache import cache_path, score_once
from jpo_dist.records.columns import pages
from tests.support.procs import run_ranks
from tests.support.tiny import PLAIN, byte_tokenizer, comparisons, save_tiny


def test_a_damaged_part_is_set_aside_and_scored_again(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    first, later, names = run_ranks(scores_around_damage, 2, str(tmp_path))[0]
    for again in later:
        np.testing.assert_array_equal(again, first)
    assert sorted(name.partition("-")[0] for name in names) == ["damaged", "damaged", "damaged", "part"]
    assert all(len(name) == len("part-.parquet") + 64 for name in names if name.startswith("part"))


def scores_around_damage(folder: str) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Of two parts, one is empty and one cut off before the second time. Then scores are changed in the one that is
    left; then it gets a name as older versions gave, which is not of its contents. Then all is in files, as it is of
    many items: once found, and once scored."""
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
    later = score_once(model, engine, 65_536, kept, sets[1:])
    if ranks.rank() == 0:
        (part,) = cache.glob("part-*")
        table = pq.read_table(part)
        halved = [[value / 2 for value in row] for row in table["logps"].to_pylist()]
        pq.write_table(table.set_column(1, table.schema.field(1), pa.array(halved, table.schema.field(1).type)), part)
    ranks.barrier()
    later += score_once(model, engine, 65_536, kept, sets[1:])
    if ranks.rank() == 0:
        (part,) = cache.glob("part-*")
        part.rename(cache / f"part-{'0' * 32}.parquet")
    ranks.barrier()
    later += score_once(model, engine, 65_536, kept, sets[1:])
    pages.IN_MEMORY = 256
    for where in (kept, f"{folder}/other"):
        (mapped,) = score_once(model, engine, 65_536, where, sets[1:])
        assert isinstance(mapped, np.memmap)
        later.append(np.array(mapped))
    return first, later, [path.name for path in cache.iterdir()]

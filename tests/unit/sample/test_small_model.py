"""The small model of studies: the same files each time, a template that training accepts, a folder like any other."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from jpo_dist.batches.template import make_template
from jpo_dist.sample.small_model import END, LONGEST, VOCABULARY, write_small_model

TEXTS = [f"Text number {n} of {n % 7} has café and ☃ in it, {'more ' * (n % 4)}or nothing." for n in range(400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("small")
    assert write_small_model(iter(TEXTS), place) > 2_000_000
    return place


def test_it_is_a_folder_like_any_other(folder: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert len(tokenizer) == model.config.vocab_size <= VOCABULARY
    assert model.config.max_position_embeddings == LONGEST
    assert tokenizer.decode(tokenizer.encode(TEXTS[1]), skip_special_tokens=True) == TEXTS[1]
    assert tokenizer.eos_token == END == tokenizer.decode([model.config.eos_token_id])
    assert make_template(tokenizer, "chat").end_ids == (tokenizer.eos_token_id,)


def test_the_same_texts_give_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_small_model(iter(TEXTS), tmp_path)
    names = {path.name for path in folder.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in names)

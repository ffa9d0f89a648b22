"""A model's numbers from its configuration alone, against numbers worked out by hand."""

from typing import Any

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode

from jpo_dist.config.sections import ModelConfig
from jpo_dist.estimate.model_shape import Passes, activations, build, peak_bytes, pretend
from jpo_dist.model.scorer import Scorer
from tests.support.estimates import LAYER, TABLE, P, config, llama, shape_of

pytestmark = pytest.mark.slow


def test_parameters_are_counted_without_weights() -> None:
    shape = shape_of(config())
    assert (shape.total, shape.trainable, shape.head, shape.in_body) == (P, P, TABLE, 2 * LAYER + 32)
    tied = shape_of(config(), tied=True)
    assert (tied.total, tied.head, tied.in_body, tied.tied) == (P - TABLE, TABLE, 2 * LAYER + 32, True)
    lora = shape_of(config(model={"lora": {"rank": 4}}))
    ends = (32 + 32) * 2 + (32 + 16) * 2 + (32 + 48) * 3  # in and out of q, o, k, v, gate, up, down
    assert lora.trainable == lora.adapters == 2 * 4 * ends
    assert lora.total == P + lora.adapters


def saved(tokens: int, **sizes: Any) -> int:
    model = ModelConfig(path="m", dtype="float32")
    return activations(llama(**sizes), model, Passes((tokens,), (), ()), on_gpu=True).training


def test_activations_of_a_layer_by_hand() -> None:
    """Float32 numbers that a layer keeps for each token, on a GPU: two norms keep input, root mean square, scaled
    input; query, key, value and output of attention with a number a head; gate, up, act, their product."""
    more = saved(64, layers=7) - saved(64, layers=6)
    norms = 2 * (32 + 1 + 32) + 2 * 32  # what a norm returns is kept as the input of the next product
    attention = 32 + 16 + 16 + 32 + 4
    gated = 4 * 48
    by_hand = 4 * 64 * (norms + attention + gated)
    assert more == pytest.approx(by_hand, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("recomputes", [False, True])
def test_three_layers_tell_what_six_need(recomputes: bool) -> None:
    model = ModelConfig(path="m", dtype="float32", gradient_checkpointing=recomputes)
    lengths = (300, 200, 12)
    scorer, mode = Scorer(build(llama(layers=6), model)), FakeTensorMode(allow_non_fake_inputs=True)
    pretend(scorer, mode)
    with mode:
        whole = [peak_bytes(scorer, lengths, trains=trains) for trains in (True, False)]
    found = activations(llama(layers=6), model, Passes(lengths, lengths, ()), on_gpu=False)
    assert found == pytest.approx((*whole, 0), rel=0.01)


def test_the_head_never_has_all_logits() -> None:
    """512 rows of 300,000 logits in float32 are 614 MB; the weight's gradient is 38 MB."""
    assert saved(512, layers=2, vocab_size=300_000) < 200e6

"""Scores, gradients and the head on CUDA against float64 on the CPU.

The same functions run on the CPU in every test run, so that the tests themselves are not first tried on a GPU.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.model.attention import SEGMENTS
from jpo_dist.model.head import target_logps
from jpo_dist.model.scorer import Scorer, pack
from jpo_dist.objective.scores import item_scores
from tests.support import oracle

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")],
)
on_each_device = pytest.mark.parametrize("where", ["cpu", CUDA])

SIZES: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300, "initializer_range": 0.05, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 1,
}  # fmt: skip
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "mistral, window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=9)),
}
LENGTHS = (37, 5, 91, 37, 2, 300)  # equal ones, one of two tokens, one that is longer than a block
COEFFICIENTS = torch.linspace(-1, 1, 2 * len(LENGTHS), dtype=torch.float64).view(-1, 2)


def items() -> TokenizedItems:
    ids = np.random.default_rng(0).integers(2, SIZES["vocab_size"], sum(LENGTHS), dtype=np.int32)
    return TokenizedItems(ids, np.cumsum([0, *LENGTHS]), np.array(LENGTHS) // 2)


def models(family: str, where: str, dtype: torch.dtype) -> tuple[Any, Scorer]:
    """The same weights, rounded to `dtype`: plain in float64 on the CPU, and packed on the device."""
    torch.manual_seed(0)
    plain = FAMILIES[family]().to(dtype).double().eval()
    plain.set_attn_implementation("eager")
    packed = FAMILIES[family]()
    packed.load_state_dict(plain.state_dict())
    packed.set_attn_implementation(SEGMENTS)
    return plain, Scorer(packed.to(device=where, dtype=dtype).eval())


def expected_scores(plain: Any, tokens: TokenizedItems) -> torch.Tensor:
    return torch.stack([torch.stack(oracle.item_logps(plain, tokens, row)) for row in range(len(tokens))])


def packed_scores(scorer: Scorer, tokens: TokenizedItems, rows: list[int], where: str) -> torch.Tensor:
    batch = pack(tokens, np.array(rows), torch.device(where))
    return item_scores(scorer(batch), batch)


def gradient_error(scorer: Scorer, plain: Any) -> float:
    """Norm of the difference over the norm, all weights together."""
    theirs = dict(plain.named_parameters())
    pairs = [(p.grad, theirs[name].grad) for name, p in scorer.model.named_parameters() if p.grad is not None]
    apart = sum(float((mine.double().cpu() - other).square().sum()) for mine, other in pairs)
    return float((apart / sum(float(other.square().sum()) for _, other in pairs)) ** 0.5)


# Sums of up to 300 tokens of about 6 nats each. In bfloat16 each weight product is off by some thousandths; a token
# that attends to another item, or is left out, moves a score by more than a nat.
@on_each_device
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "nats", "relative"), [(torch.float32, 2e-3, 1e-4), (torch.bfloat16, 1.0, 0.05)])
def test_packed_scores_and_gradients_equal_the_float64_oracle(
    where: str, family: str, dtype: torch.dtype, nats: float, relative: float
) -> None:
    """bfloat16 on CUDA: all items in one variable-length attention call; float32: item by item."""
    tokens, (plain, scorer) = items(), models(family, where, dtype)
    expected = expected_scores(plain, tokens)
    found = packed_scores(scorer, tokens, list(range(len(LENGTHS))), where)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=nats)
    (expected * COEFFICIENTS).sum().backward()
    (found * COEFFICIENTS.to(where)).sum().backward()
    assert gradient_error(scorer, plain) <= relative


@on_each_device
@pytest.mark.parametrize("family", FAMILIES)
def test_an_item_scores_the_same_alone_and_in_any_company(where: str, family: str) -> None:
    """In bfloat16: what it is packed with changes the shape of the products, never what an item sees."""
    tokens, (_, scorer) = items(), models(family, where, torch.bfloat16)
    with torch.no_grad():
        alone = torch.cat([packed_scores(scorer, tokens, [row], where) for row in range(len(LENGTHS))])
        together = packed_scores(scorer, tokens, [5, 3, 1, 0, 2, 4], where)
    torch.testing.assert_close(together[[3, 2, 4, 1, 5, 0]], alone, rtol=0, atol=0.5)


@on_each_device
def test_checkpointed_layers_give_the_same_gradients(where: str) -> None:
    tokens, gradients = items(), []
    for checkpointing in (False, True):
        _, scorer = models("llama", where, torch.bfloat16)
        if checkpointing:
            scorer.model.train().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        (packed_scores(scorer, tokens, [0, 2, 5], where) * COEFFICIENTS[:3].to(where)).sum().backward()
        gradients.append([p.grad.float() for p in scorer.model.parameters() if p.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=0.02, atol=1e-3)


# Logits of up to 16: rounded to bfloat16 they would be off by up to 0.06, and so would be log-probs.
@on_each_device
def test_head_of_narrow_weights_has_wide_logits(where: str) -> None:
    """Against float64 products of the same bfloat16 numbers: the product itself must not round its result."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(600, 256, generator=generator).to(torch.bfloat16)
    weight = (torch.randn(3000, 256, generator=generator) / 4).to(torch.bfloat16)
    targets = torch.randint(3000, (600,), generator=generator)
    expected = torch.log_softmax(hidden.double() @ weight.double().T, -1).gather(-1, targets[:, None]).squeeze(-1)
    found = target_logps(*(t.to(where) for t in (hidden, weight)), None, targets.to(where))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.cpu().double(), expected, rtol=0, atol=1e-3)

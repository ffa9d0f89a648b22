"""Packed scores equal the naive float64 oracle in value and gradient, for every family, whatever shares the pack."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jpo_dist.batches.shared_prefix import shared_instructions
from jpo_dist.batches.tokenize import TokenizedItems, tokenize
from jpo_dist.config.sections import DataConfig
from jpo_dist.model.attention import SEGMENTS, has_varlen
from jpo_dist.model.head import HeadShape
from jpo_dist.model.head_shape import shape_of
from jpo_dist.model.scorer import Packed, Scorer, pack
from jpo_dist.objective.scores import item_scores
from jpo_dist.records.comparisons import INSTRUCTION, RESPONSE, Item
from tests.support import oracle
from tests.support.families import FAMILIES, GROUPED, SIZES
from tests.support.tiny import byte_tokenizer

CPU = torch.device("cpu")
ITEMS = [
    Item.of("say it", "yes yes yes"),
    Item.of("tell me a longer story", "no"),
    Item.of("x", ""),
    Item.of("say it", "because of that"),
]
# Weighted so that no item's or part's gradient can hide behind another's.
COEFFICIENTS = torch.linspace(-1, 1, 2 * len(ITEMS), dtype=torch.float64).view(-1, 2)


def build(config: Any, attention: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=attention)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # zero at the start: a forgotten one would not be seen
            nn.init.normal_(parameter, std=0.3)
    return model.to(dtype).eval()


def encode(items: list[Item] = ITEMS, with_bos: bool = True) -> TokenizedItems:
    return tokenize(byte_tokenizer(with_bos), items, DataConfig(train="unused", template="{instruction}:"))


def score(scorer: Scorer, tokens: TokenizedItems, rows: list[int]) -> torch.Tensor:
    batch = pack(tokens, np.array(rows, dtype=np.int64), CPU)
    return item_scores(scorer(batch), batch)


def naive(model: nn.Module, tokens: TokenizedItems) -> torch.Tensor:
    return torch.stack([torch.stack(oracle.item_logps(model, tokens, row)) for row in range(len(tokens))])


def gradients(model: nn.Module, value: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    value.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_gradients_close(ours: dict[str, Any], theirs: dict[str, Any], relative: float) -> None:
    """Per tensor, against its norm; against the whole gradient's for tensors that have next to none."""
    assert ours.keys() == theirs.keys()
    whole = torch.stack([g.norm() for g in theirs.values()]).norm().item()
    for name, expected in theirs.items():
        scale = max(expected.norm().item(), 1e-6 * whole)
        assert (ours[name] - expected).norm().item() <= relative * scale, name


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_scores_and_gradients_equal_the_float64_oracle(family: str) -> None:
    """1e-9 on values; 1e-6 on gradients, since Hugging Face's norms are float32 even inside a float64 model."""
    config, tokens = FAMILIES[family](), encode()
    plain = build(config, "eager" if "softcaps" in family else "sdpa")
    packed = build(config, SEGMENTS)
    expected, found = naive(plain, tokens), score(Scorer(packed), tokens, [0, 1, 2, 3])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    ours = gradients(packed, (found * COEFFICIENTS).sum())
    assert_gradients_close(ours, gradients(plain, (expected * COEFFICIENTS).sum()), 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_instructions_computed_once_give_the_same_scores_and_gradients(family: str) -> None:
    """Items 0, 3 and 4 have one instruction; the row has its tokens once. Skips differ between them on purpose."""
    config, tokens = FAMILIES[family](), encode([*ITEMS, Item.of("say it", "yes yes no")])
    plain = build(config, "eager" if "softcaps" in family else "sdpa")
    packed = build(config, SEGMENTS)
    batch = pack(tokens, np.arange(5), CPU, instructions_n=shared_instructions(tokens)[:, 0])
    shared = int(tokens.instruction_lengths_N[0])
    assert batch.ids_1T.shape[1] == len(tokens.ids_T) - 2 * shared
    expected, found = naive(plain, tokens), item_scores(Scorer(packed)(batch), batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    coefficients = torch.linspace(-1, 1, 10, dtype=torch.float64).view(-1, 2)
    ours = gradients(packed, (found * coefficients).sum())
    assert_gradients_close(ours, gradients(plain, (expected * coefficients).sum()), 1e-6)


@pytest.mark.parametrize("share", [False, True])
def test_what_is_skipped_is_missing_from_the_instruction_part_alone(share: bool) -> None:
    tokens, model = encode(), build(FAMILIES["llama"](), SEGMENTS)
    scorer, skips = Scorer(model), np.array([4, 0, 3, 7])
    whole = pack(tokens, np.arange(4), CPU)
    part = pack(tokens, np.arange(4), CPU, skips, shared_instructions(tokens)[:, 0] if share else None)
    assert len(part.rows_R) == len(whole.rows_R) - (3 + 2 + 6), "the first token has no row anyway"
    with torch.no_grad():
        all_logps, scores = scorer(whole), item_scores(scorer(part), part)
    item = torch.from_numpy(np.repeat(np.arange(4), tokens.lengths_N - 1))
    for i, skip in enumerate(skips):
        own, boundary = all_logps[item == i].double(), int(tokens.instruction_lengths_N[i])
        expected = torch.stack([own[max(0, skip - 1) : boundary - 1].sum(), own[boundary - 1 :].sum()])
        torch.testing.assert_close(scores[i], expected, rtol=0, atol=1e-9)


def test_checkpointed_layers_keep_instructions_shared() -> None:
    tokens = encode()
    plain, recomputing = (build(FAMILIES["llama"](), SEGMENTS).train() for _ in range(2))
    recomputing.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    found = []
    for model in (plain, recomputing):
        batch = pack(tokens, np.arange(4), CPU, instructions_n=shared_instructions(tokens)[:, 0])
        scores = item_scores(Scorer(model)(batch), batch)
        found.append(gradients(model, (scores * COEFFICIENTS).sum()))
    assert_gradients_close(found[0], found[1], 1e-9)


@pytest.mark.parametrize("family", ["llama", "qwen2, window", "gpt2"])
def test_long_items_beside_short_ones_equal_the_float64_oracle(family: str) -> None:
    """On the CPU a pack of short items attends in blocks, one with an item of over 256 tokens item by item."""
    config = FAMILIES[family]()
    config.max_position_embeddings = 512
    tokens = encode([*ITEMS[:2], Item.of("tell me", "a long story " * 24)])
    assert tokens.lengths_N.max() > 256
    plain, scorer = build(config, "sdpa"), Scorer(build(config, SEGMENTS))
    expected, found = naive(plain, tokens), score(scorer, tokens, [0, 1, 2])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(score(scorer, tokens, [0, 1]), expected[:2], rtol=0, atol=1e-9)
    ours = gradients(scorer.model, (found * COEFFICIENTS[:3]).sum())
    assert_gradients_close(ours, gradients(plain, (expected * COEFFICIENTS[:3]).sum()), 1e-6)


@pytest.mark.parametrize("window", [255, 256, 260, 299])
def test_a_window_shorter_than_an_item_holds_however_long_it_is(window: int) -> None:
    """Beside items that it does not reach: a block of theirs needs no window."""
    settings = {**GROUPED, "sliding_window": window, "max_position_embeddings": 512, "head_dim": 8}
    config = hf.MistralConfig(**settings)
    tokens = encode([*ITEMS[:2], Item.of("x" * 20, "a long story " * 22)])
    assert tokens.lengths_N.max() > 300
    plain, scorer = build(config, "sdpa"), Scorer(build(config, SEGMENTS))
    expected, found = naive(plain, tokens), score(scorer, tokens, [0, 2, 1])[[0, 2, 1]]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    ours = gradients(scorer.model, (found * COEFFICIENTS[:3]).sum())
    assert_gradients_close(ours, gradients(plain, (expected * COEFFICIENTS[:3]).sum()), 1e-6)


def test_a_model_that_is_float64_throughout_agrees_to_1e_12() -> None:
    """GPT-2's norms keep the dtype, so nothing hides behind float32."""
    tokens, plain, packed = encode(), build(FAMILIES["gpt2"](), "sdpa"), build(FAMILIES["gpt2"](), SEGMENTS)
    expected, found = naive(plain, tokens), score(Scorer(packed), tokens, [0, 1, 2, 3])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    ours = gradients(packed, (found * COEFFICIENTS).sum())
    assert_gradients_close(ours, gradients(plain, (expected * COEFFICIENTS).sum()), 1e-12)


@pytest.mark.parametrize("family", ["llama", "mistral, window", "gemma2, softcaps", "gpt2"])
def test_float32_agrees_to_1e_6_in_value_and_1e_5_in_gradient(family: str) -> None:
    config, tokens = FAMILIES[family](), encode()
    plain, packed = build(config, "eager"), build(config, SEGMENTS, torch.float32)
    expected, found = naive(plain, tokens), score(Scorer(packed), tokens, [0, 1, 2, 3])
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
    ours = gradients(packed, (found * COEFFICIENTS).sum())
    assert_gradients_close(ours, gradients(plain, (expected * COEFFICIENTS).sum()), 1e-5)


@pytest.fixture(scope="module")
def windowed() -> Scorer:
    return Scorer(build(FAMILIES["mistral, window"](), SEGMENTS))


@given(st.lists(st.integers(0, len(ITEMS) - 1), min_size=1, max_size=6))
@settings(deadline=None, max_examples=25)
def test_an_item_scores_the_same_alone_beside_others_and_in_any_order(windowed: Scorer, rows: list[int]) -> None:
    tokens = encode()
    alone = torch.cat([score(windowed, tokens, [row]) for row in rows])
    torch.testing.assert_close(score(windowed, tokens, rows), alone, rtol=0, atol=1e-9)


def test_a_batch_mate_gets_no_gradient_from_an_item(windowed: Scorer) -> None:
    """Embeddings of bytes that only item 1 has stay untouched by item 0's score."""
    tokens = encode([Item.of("aa", "bb"), Item.of("cc", "dd")])
    scores = score(windowed, tokens, [1, 0, 1])
    core: Any = windowed.model
    embedding = core.get_input_embeddings().weight
    (grad,) = torch.autograd.grad(scores[1].sum(), embedding)
    touched = {int(i) for i in grad.abs().sum(1).nonzero().flatten()}
    assert touched == {*tokens.ids(0)[:-1].tolist()}


def test_the_filler_counts_for_nothing_and_its_gradient_is_zero(windowed: Scorer) -> None:
    """Finite zeros for every weight, none missing: under ZeRO-3 all ranks reduce the same tensors."""
    filler = pack(encode(), np.zeros(0, dtype=np.int64), CPU)
    logps = windowed(filler)
    assert item_scores(logps, filler).shape == (0, 2)
    assert torch.isfinite(logps).all()
    grads = gradients(windowed, 0.0 * logps.sum())
    assert grads.keys() == dict(windowed.named_parameters()).keys()
    assert all(grad.abs().max() == 0 for grad in grads.values())


@pytest.mark.parametrize("with_bos", [True, False])
def test_scored_tokens_are_instruction_response_and_one_end(with_bos: bool) -> None:
    """BOS is never predicted; without BOS the first token is not either, having nothing before it."""
    tokens = encode(with_bos=with_bos)
    batch = pack(tokens, np.arange(len(ITEMS)), CPU)
    counts = torch.bincount(batch.slots_R, minlength=2 * len(ITEMS)).view(-1, 2)
    for row, item in enumerate(ITEMS):
        instruction, response = len(item.instruction[0].content) + 1, len(item.response)  # the template adds ":"
        assert counts[row, RESPONSE] == response + 1
        assert counts[row, INSTRUCTION] == instruction - (not with_bos)
    starts = {int(tokens.ids(row)[0]) for row in range(len(ITEMS))}
    assert not with_bos or starts.isdisjoint(batch.targets_R.tolist())
    assert batch.targets_R.tolist().count(1) == len(ITEMS), "every EOS is a target once"


def test_targets_are_the_tokens_after_the_first_of_each_item() -> None:
    tokens = encode()
    batch = pack(tokens, np.array([3, 0]), CPU)
    assert batch.targets_R.tolist() == [*tokens.ids(3)[1:].tolist(), *tokens.ids(0)[1:].tolist()]
    assert batch.ids_1T[0, batch.rows_R].tolist() == [*tokens.ids(3)[:-1].tolist(), *tokens.ids(0)[:-1].tolist()]
    lengths = [int(tokens.lengths_N[3]), int(tokens.lengths_N[0])]
    assert batch.positions_1T[0].tolist() == [*range(lengths[0]), *range(lengths[1])]
    assert batch.segment_lengths == tuple(lengths)


def test_scores_without_bos_equal_the_oracle() -> None:
    tokens = encode(with_bos=False)
    plain, packed = build(FAMILIES["qwen2"](), "sdpa"), build(FAMILIES["qwen2"](), SEGMENTS)
    torch.testing.assert_close(score(Scorer(packed), tokens, [0, 1, 2, 3]), naive(plain, tokens), rtol=0, atol=1e-9)


def test_sums_are_float64() -> None:
    """4,000 log-probs of -0.1 in float32: a float32 sum would be off by more than 1e-3 nats."""
    count = 4000
    tokens = TokenizedItems(np.zeros(count + 1, np.int32), np.array([0, count + 1]), np.array([1]))
    batch = pack(tokens, np.array([0]), CPU)
    found = item_scores(torch.full((count,), -0.1, dtype=torch.float32), batch)
    assert found[0, RESPONSE].item() == pytest.approx(count * float(np.float32(-0.1)), abs=1e-9)


def test_checkpointed_layers_see_their_own_segments() -> None:
    """The recomputation runs after another batch has gone through: lengths must travel with the call."""
    tokens, model, plain = encode(), build(FAMILIES["llama"](), SEGMENTS), build(FAMILIES["llama"](), SEGMENTS)
    core: Any = model
    core.gradient_checkpointing_enable({"use_reentrant": False})
    scorer, expected = Scorer(model.train()), Scorer(plain)
    first, second = (score(scorer, tokens, rows) for rows in ([0, 1], [3, 2]))
    ours = gradients(model, first.sum() + second.sum())
    theirs = gradients(plain, score(expected, tokens, [0, 1, 2, 3]).sum())
    assert_gradients_close(ours, theirs, 1e-6)


@pytest.mark.parametrize(
    ("size", "value_size", "dtype", "capability", "taken"),
    [
        (64, 64, torch.bfloat16, (8, 0), True),
        (256, 256, torch.float16, (9, 0), True),
        (64, 64, torch.float16, (7, 5), False),
        (64, 64, torch.float32, (9, 0), False),
        (192, 128, torch.bfloat16, (9, 0), False),
        (264, 264, torch.bfloat16, (9, 0), False),
        (84, 84, torch.bfloat16, (9, 0), False),
    ],
)
def test_the_flash_kernel_is_asked_for_what_it_computes(
    size: int, value_size: int, dtype: Any, capability: Any, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    query, value = (torch.empty(1, 2, 3, n, dtype=dtype, device="meta") for n in (size, value_size))
    assert has_varlen(query, value) == taken


def test_other_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="packed items would see each other"):
        Scorer(build(FAMILIES["llama"](), "sdpa"))


def test_an_unpacked_call_is_refused() -> None:
    model = build(FAMILIES["llama"](), SEGMENTS)
    with pytest.raises(ValueError, match="packed items only"):
        model(torch.zeros(1, 4, dtype=torch.long))


def refused_or_right(config: Any, dtype: torch.dtype) -> None:
    tokens, plain = encode(), build(config, "eager", dtype)
    try:
        found = score(Scorer(build(config, SEGMENTS, dtype)), tokens, [0, 1, 2, 3])
    except ValueError:
        return
    torch.testing.assert_close(found, naive(plain, tokens), rtol=0, atol=1e-3)


def test_models_with_layers_other_than_attention_are_refused() -> None:
    refused_or_right(hf.Lfm2Config(**GROUPED, layer_types=["conv", "full_attention"]), torch.float32)


def test_attention_with_sinks_is_refused() -> None:
    config = hf.GptOssConfig(**GROUPED, num_local_experts=2, num_experts_per_tok=1, head_dim=8)
    refused_or_right(config, torch.float32)


def factor_before_the_head() -> Any:
    ranks = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
    return hf.MiniCPM3Config(**SIZES, **ranks, dim_model_base=8)


@pytest.mark.parametrize("make", [lambda: hf.ModernBertDecoderConfig(**SIZES), factor_before_the_head])
def test_a_head_that_is_more_than_a_product_is_refused(make: Callable[[], Any]) -> None:
    """Its model type computes something between its last hidden state and its head."""
    with pytest.raises(ValueError, match=r"model type '(modernbert-decoder|minicpm3)'.*use a model type whose head"):
        Scorer(build(make(), SEGMENTS))


def test_what_a_model_makes_of_its_product_is_found_out_without_weights() -> None:
    """As under ZeRO-3, where they are partitioned by then. No random number is drawn and nothing is left behind."""
    with torch.device("meta"):
        model: Any = hf.AutoModelForCausalLM.from_config(hf.Gemma2Config(**GROUPED, final_logit_softcapping=7.0))
    before = torch.get_rng_state()
    assert shape_of(model) == HeadShape(1.0, 7.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any("forward" in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("made", [lambda x: x + 1, lambda x: x.clamp(max=30), lambda x: x[..., :-1], lambda x: x**3])
def test_logits_of_another_form_are_refused(made: Callable[[torch.Tensor], torch.Tensor]) -> None:
    model: Any = build(FAMILIES["llama"](), SEGMENTS)
    own = model.forward

    def changed(**arguments: Any) -> Any:
        found = own(**arguments)
        found.logits = made(found.logits)
        return found

    model.forward = changed
    with pytest.raises(ValueError, match=r"another way than softcap\(scale \* product\)"):
        shape_of(model)


def test_packed_reads_no_token_of_the_padding_kind() -> None:
    """Pad and EOS are one token here, as in most models: both are told apart by length, never by id."""
    tokens = encode([Item.of("q", "</s></s>"), Item.of("q", "r")])
    batch: Packed = pack(tokens, np.array([0, 1]), CPU)
    counts = torch.bincount(batch.slots_R, minlength=4).view(-1, 2)
    assert counts[:, RESPONSE].tolist() == [3, 2]

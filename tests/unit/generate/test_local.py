"""Answers of a local model: what it would say of each prompt by itself, whatever shares its batch."""

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)
from transformers.models.llama.modeling_llama import LlamaMLP

from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.sections import DataConfig, ModelConfig
from jpo_dist.fan_out import here
from jpo_dist.generate.asking import Row
from jpo_dist.generate.config import GenerateConfig
from jpo_dist.generate.decoder import Decoder, Prompts, can_pack
from jpo_dist.generate.local import Asked, Counts, Limits, Said, answer_all, generate
from jpo_dist.generate.prompts import read_prompts
from jpo_dist.generate.run import OtherSettings
from jpo_dist.generate.run import generate as answered
from jpo_dist.generate.sampling import choose, key_of, noise, noise_size
from jpo_dist.generate.shards import LocalModel
from jpo_dist.records.comparisons import Item
from tests.support.templates import KINDS, ONE, SYSTEM, change_config, save_kind
from tests.support.tiny import CHAT_TEMPLATE, PLAIN, byte_tokenizer, save_tiny

pytestmark = pytest.mark.slow

TEXTS = ["say it", "tell me a longer story", "x", "say it again", "yes?"]


def greedy(model: Any, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == byte_tokenizer().eos_token_id:
            break
    return ids[len(prompt) :]


@torch.no_grad()
def test_a_prompt_is_what_training_puts_before_a_response(tmp_path: Path) -> None:
    """BOS with it, also where the template writes none; and whatever is padded beside it."""
    folder, texts = save_tiny(tmp_path / "model"), TEXTS[:3]
    tokens = tokenize(byte_tokenizer(), [Item.of(t, "") for t in texts], DataConfig(train="unused", template=PLAIN))
    prompts = [tokens.ids(row)[: tokens.instruction_lengths_N[row]].tolist() for row in range(len(texts))]
    assert all(prompt[0] == byte_tokenizer().bos_token_id for prompt in prompts)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    wanted, without = ([byte_tokenizer().decode(greedy(model, p[cut:], 6)).strip() for p in prompts] for cut in (0, 1))
    assert wanted != without, "or the test could not tell"
    found = generate(ModelConfig(path=folder, dtype="float32"), texts, PLAIN, 6)
    assert [answer.text for answer in found] == wanted


def asked_of(prompts: Prompts, samples: int = 3, temperatures: tuple[float, ...] = (0.0, 1.0)) -> list[Asked]:
    ids = prompts.encode([Item.of(text, "").instruction for text in TEXTS])
    return [
        Asked(tuple(one), temperature, key_of(0, text, sample, temperature))
        for temperature in temperatures
        for text, one in zip(TEXTS, ids, strict=True)
        for sample in range(samples)
    ]


def said(made: Any) -> list[tuple[str, bool, int]]:
    found: list[Said] = sorted(made, key=lambda one: one.place)
    return [(one.text, one.finished, one.tokens) for one in found]


def alone(model: Any, asked: Asked, limits: Limits) -> tuple[str, bool, int]:
    """The answer by plain forwards of the model on all tokens so far: no cache, no batch."""
    ids: list[int] = []
    while len(ids) < limits.max_new_tokens and not (ids and ids[-1] in limits.ends):
        with torch.no_grad():
            logits = model(torch.tensor([[*asked.ids, *ids]])).logits[:, -1].float()
        drawn = noise(asked.key, len(ids), noise_size(logits.shape[1]))
        ids.append(int(choose(logits, torch.from_numpy(drawn)[None], asked.temperature, limits.top_p).tokens_B))
    ended = ids[-1] in limits.ends
    return byte_tokenizer().decode(ids[:-1] if ended else ids, skip_special_tokens=True).strip(), ended, len(ids)


def windowed(folder: Path) -> str:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = MistralConfig(**sizes, num_key_value_heads=2, vocab_size=258, sliding_window=8, initializer_range=0.2)
    MistralForCausalLM(config).save_pretrained(folder)
    return str(folder)


def capped(folder: Path) -> str:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = Gemma2Config(**sizes, num_key_value_heads=2, head_dim=8, vocab_size=258, sliding_window=8,
                          initializer_range=0.2)  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(folder)
    return str(folder)


def scaled_rotary(folder: Path) -> str:
    """A key head for each query head; positions divided by 2."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    rotary = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=258, rope_parameters=rotary,
                                 initializer_range=0.2)).save_pretrained(folder)  # fmt: skip
    return str(folder)


def partly_rotary(folder: Path) -> str:
    """A quarter of a head turns, queries, keys and values come from one product, and layers have biases."""
    sizes = {"hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, vocab_size=258, initializer_range=0.2)).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "family",
    [
        save_tiny,
        windowed,
        capped,
        *(pytest.param(one, marks=pytest.mark.nightly) for one in (scaled_rotary, partly_rotary)),
    ],
)
def test_answers_are_those_of_the_model_by_itself(tmp_path: Path, family: Any) -> None:
    """Grouped heads, sliding windows and softcaps included; rows join and leave, and some prompts are shared."""
    folder = family(tmp_path / "model")
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    config = ModelConfig(path=folder, dtype="float32")
    prompts = Prompts(config, "chat")
    limits = Limits(12, prompts.ends | set(range(40, 80)), top_p=0.9, tokens_per_batch=200)
    asked, counts = asked_of(prompts), Counts()
    found = said(answer_all(Decoder(config), prompts, asked, limits, counts))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    assert found == [alone(model, one, limits) for one in asked]
    assert any(finished for _, finished, _ in found)
    assert not all(finished for _, finished, _ in found)


def test_a_stop_text_that_could_never_be_found_is_refused(tmp_path: Path) -> None:
    """Answers are searched as text, from which special tokens are gone: it ran on to another end without a word."""
    prompts = Prompts(ModelConfig(path=save_tiny(tmp_path / "model"), dtype="float32"), "chat")
    end = prompts.tokenizer.eos_token
    assert prompts.ends_with([end, "###"]) == prompts.ends
    with pytest.raises(ValueError, match=rf"stop \('{end} x'\) has the special token {end} beside other text"):
        prompts.ends_with(["###", f"{end} x"])


def test_a_batch_of_any_size_gives_the_same_answers_within_its_budget(tmp_path: Path) -> None:
    config = ModelConfig(path=save_tiny(tmp_path / "model"), dtype="float32")
    prompts, decoder = Prompts(config, "chat"), Decoder(config)
    asked, found = asked_of(prompts), []
    for budget in (1, 100, 333, 100_000):
        counts = Counts()
        limits = Limits(10, prompts.ends, tokens_per_batch=budget)
        found.append(said(answer_all(decoder, prompts, asked, limits, counts)))
        longest = max(len(one.ids) for one in asked) + 10
        assert counts.most_cells <= max(budget, longest)
    assert found[1:] == found[:-1]
    samples = [found[0][i : i + 3] for i in range(0, len(asked), 3)]
    assert all(len(set(some)) == 1 for some in samples[: len(TEXTS)])  # temperature 0
    assert all(len(set(some)) > 1 for some in samples[len(TEXTS) :])


def test_a_choice_that_last_bits_decide_is_made_by_the_row_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every choice taken for unsure, answers are the same."""
    config = ModelConfig(path=save_tiny(tmp_path / "model"), dtype="float32")
    prompts, decoder, counts = Prompts(config, "chat"), Decoder(config), Counts()
    limits, asked = Limits(6, prompts.ends), asked_of(Prompts(config, "chat"), samples=1)
    plain = said(answer_all(decoder, prompts, asked, limits))
    monkeypatch.setattr("jpo_dist.generate.local.NEAR", 1e9)  # divided by MARGIN, still above all logits
    assert said(answer_all(decoder, prompts, asked, limits, counts)) == plain
    assert counts.unsure == counts.choices > 0


def test_a_model_that_reads_weights_its_own_way_computes_with_plain_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = ModelConfig(path=save_tiny(tmp_path / "model"), dtype="float32")
    prompts, packed = Prompts(config, "chat"), Decoder(config)
    limits, asked = Limits(6, prompts.ends), asked_of(prompts, samples=1)
    wanted = said(answer_all(packed, prompts, asked, limits))
    assert "plain weights" not in caplog.text

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(self.act_fn(self.gate_proj(x)) * self.up_proj(x), self.down_proj.weight)

    monkeypatch.setattr(LlamaMLP, "forward", forward)
    plain = Decoder(config)
    assert ("plain weights" in caplog.text) == can_pack(torch.float32)
    assert said(answer_all(plain, prompts, asked, limits)) == wanted
    assert any(type(layer) is torch.nn.Linear for layer in plain.model.modules())


def test_a_stop_text_ends_an_answer_and_is_no_part_of_it(tmp_path: Path) -> None:
    config = ModelConfig(path=save_tiny(tmp_path / "model"), dtype="float32")
    prompts, decoder = Prompts(config, "chat"), Decoder(config)
    asked = asked_of(prompts, samples=1)
    whole = said(answer_all(decoder, prompts, asked, Limits(12, prompts.ends)))
    stop = next(two for text, _, _ in whole for two in map("".join, pairwise(text)) if two.isascii() and two.isalnum())
    for (before, _, _), (after, finished, tokens) in zip(
        whole, said(answer_all(decoder, prompts, asked, Limits(12, prompts.ends, stop=(stop,)))), strict=True
    ):
        if stop in before:
            assert (after, finished) == (before[: before.index(stop)].strip(), True)
            assert tokens < 12
        else:
            assert after == before


TURN, OTHER = "<|user|>", "<|eom|>"


def like_glm(folder: Path, ends: Any) -> ModelConfig:
    """A model whose template writes no end, and whose generation_config.json names what ends its answers."""
    save_tiny(folder)
    tokenizer = copy.deepcopy(byte_tokenizer())  # all tests have that one
    tokenizer.add_special_tokens({"additional_special_tokens": [TURN, OTHER]})
    tokenizer.chat_template = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    named = [tokenizer.convert_tokens_to_ids(one) if isinstance(one, str) else one for one in ends]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": named}))
    return ModelConfig(path=str(folder), dtype="float32")


def test_what_generation_config_names_ends_an_answer_unless_it_is_text(tmp_path: Path) -> None:
    letter = byte_tokenizer().convert_tokens_to_ids("a")
    config = like_glm(tmp_path / "model", [TURN, letter])
    prompts = Prompts(config, "{instruction}")
    apart = prompts.tokenizer.convert_tokens_to_ids([TURN, OTHER])
    assert prompts.ends == {prompts.tokenizer.eos_token_id, apart[0]}
    assert prompts.ends_with(["\n\n", OTHER]) == {*prompts.ends, apart[1]}
    (tmp_path / "model/generation_config.json").unlink()
    settings = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps({**settings, "eos_token_id": apart[1]}))
    assert Prompts(config, "{instruction}").ends == {prompts.tokenizer.eos_token_id, apart[1]}


def test_an_answer_ends_where_transformers_ends_it(tmp_path: Path) -> None:
    """Against its `generate`, with an end that this model says early in one of its answers."""
    config = like_glm(tmp_path / "model", [TURN])
    prompts, decoder = Prompts(config, "{instruction}"), Decoder(config)
    asked = asked_of(prompts, samples=1, temperatures=(0.0,))

    def theirs() -> list[list[int]]:
        model = AutoModelForCausalLM.from_pretrained(config.path, dtype=torch.float32).eval()
        made = [model.generate(torch.tensor([one.ids]), max_new_tokens=12, do_sample=False)[0] for one in asked]
        return [ids[len(one.ids) :].tolist() for one, ids in zip(asked, made, strict=True)]

    end = theirs()[0][4]
    (tmp_path / "model/generation_config.json").write_text(json.dumps({"eos_token_id": [end]}))
    wanted = theirs()
    assert len(wanted[0]) <= 5
    assert max(map(len, wanted)) == 12
    found = said(answer_all(decoder, prompts, asked, Limits(12, frozenset({end}))))
    ended = [ids[-1] == end for ids in wanted]
    texts = [prompts.decode(ids[:-1] if ends else ids).strip() for ids, ends in zip(wanted, ended, strict=True)]
    assert found == list(zip(texts, ended, map(len, wanted), strict=True))


def test_prompts_have_the_variables_of_the_template_and_follow_it_when_told(tmp_path: Path) -> None:
    config = ModelConfig(path=save_kind(tmp_path / "qwen3", KINDS["qwen3"]), dtype="float32")
    asked = (Item.of("say", "").instruction,)
    empty = "<think>\n\n</think>\n\n"

    def written(**how: Any) -> str:
        prompts = Prompts(config, "chat", **how)
        return str(prompts.tokenizer.decode(prompts.encode(asked)[0], skip_special_tokens=False))

    plain = "<|im_start|>user\nsay<|im_end|>\n<|im_start|>assistant\n"
    assert written() == plain
    assert written(args={"enable_thinking": False}) == written(follow=True) == plain + empty
    with pytest.raises(ValueError, match=r"template_args\.thinkng"):
        written(args={"thinkng": False})


def test_instructions_that_the_template_refuses_stop_or_are_counted(tmp_path: Path) -> None:
    model = save_kind(tmp_path / "gemma", KINDS["gemma"])
    rows = [[turn._asdict() for turn in item.instruction] for item in (ONE, SYSTEM)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))
    settings: dict[str, Any] = {
        "instructions": str(tmp_path / "asked.jsonl"), "output": str(tmp_path / "out"), "temperatures": [0.0],
        "model": {"path": model, "dtype": "float32"}, "max_new_tokens": 4,
    }  # fmt: skip
    asked = read_prompts(settings["instructions"], "error").prompts
    with pytest.raises(ValueError, match=r"refuses 1 of 2 .*System role not supported; .*on_bad_row=skip"):
        answered(asked, GenerateConfig.model_validate(settings), tmp_path / "out")
    skipping = GenerateConfig.model_validate(settings | {"on_bad_row": "skip"})
    report = answered(asked, skipping, tmp_path / "out").report
    assert report["refused_by_template"] == [{"prompt": 1, "refused": "System role not supported"}]
    counts = report["temperatures"]["0.0"]
    assert (counts["asked"], counts["answers"], counts["skipped"]) == (2, 1, 1)
    assert report["over_long"] == []
    following = skipping.model_copy(update={"on_template_difference": "follow"})
    with pytest.raises(OtherSettings, match="on_template_difference=None, this config has 'follow'"):
        answered(asked, following, tmp_path / "out")


@pytest.mark.parametrize("changed", ["chat_template.jinja", "tokenizer.json", "config.json"])
def test_answers_of_another_template_tokenizer_or_config_are_not_gone_on_with(
    changed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights alone do not tell: a template that was mended asks other prompts of them."""
    model, out = Path(save_kind(tmp_path / "model", KINDS["plain"])), tmp_path / "out"
    (tmp_path / "asked.jsonl").write_text('{"prompt": "say"}\n')
    settings = {"instructions": str(tmp_path / "asked.jsonl"), "output": str(out), "temperatures": [0.0],
                "model": {"path": str(model), "dtype": "float32"}, "max_new_tokens": 2}  # fmt: skip
    config, asked = GenerateConfig.model_validate(settings), read_prompts(settings["instructions"], "error").prompts
    answered(asked, config, out)
    answered(asked, config, out)
    if changed == "chat_template.jinja":
        file = model / changed
        file.write_text("Answer. " + file.read_text())
    elif changed == "config.json":
        change_config(str(model), rms_norm_eps=0.1)
    else:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        tokenizer.add_tokens(["say"])
        tokenizer.save_pretrained(model)
    name = "config.json and code of the model" if changed == "config.json" else "tokenizer and chat template"
    with pytest.raises(OtherSettings, match=f"holds answers with {name}='.* name another output, or put it back"):
        answered(asked, config, out)
    kept = json.loads((out / "settings.json").read_text())
    (out / "settings.json").write_text(json.dumps({key: kept[key] for key in kept if " " not in key}))
    answered(asked, config, out)
    assert "was begun by an earlier version: whether its answers are of this tokenizer" in caplog.text


def test_a_quantised_model_and_a_tokenizer_of_another_do_not_answer(tmp_path: Path) -> None:
    model = save_kind(tmp_path / "packed", KINDS["plain"])
    change_config(model, quantization_config={"quant_method": "awq", "bits": 4})
    settings = {"instructions": "x", "output": str(tmp_path / "out"), "model": {"path": model}}
    with pytest.raises(ValueError, match="holds quantised weights"):
        LocalModel(GenerateConfig.model_validate(settings))
    other = save_kind(tmp_path / "other", KINDS["plain"], vocab_size=60)
    small = LocalModel(GenerateConfig.model_validate(settings | {"model": {"path": other}}))
    row = Row(0, Item.of("say", "").instruction, 0.0, 0)
    with pytest.raises(ValueError, match="has 60 embedding rows, and the tokenizer writes token"):
        small.ask([row], tmp_path, here, 1)

"""Chat templates of the public kinds, in short, and tiny models that have them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Message
from tests.support.tiny import CHAT_TEMPLATE, tiny_model
from tests.support.tokens import PROMPT, with_template


class Kind(NamedTuple):
    """A chat template and the special tokens that it writes."""

    template: str
    specials: tuple[str, ...] = ()
    bos: bool = True

    def tokenizer(self) -> Any:
        return with_template(self.template, *self.specials, bos=self.bos)


EACH, END = "{% for m in messages %}", "{% endfor %}"
HEADED = "<|h|>{{ m['role'] }}<|/h|>\n\n{{ m['content'] | trim }}<|eot|>"
SAID = "m['content'].split('</think>')[-1].lstrip('\n')"
THOUGHT = "m['content'].split('</think>')[0].split('<think>')[-1].strip('\n') if '</think>' in m['content'] else ''"
QWEN3 = (
    EACH + "{% if m['role'] == 'assistant' and loop.last %}<|im_start|>assistant\n<think>\n"
    "{{ (" + THOUGHT + ") + '\n</think>\n\n' + " + SAID + " }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m['role'] }}\n{{ " + SAID + " }}<|im_end|>\n{% endif %}"
    + END + "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)  # fmt: skip
KINDS = {
    "plain": Kind(CHAT_TEMPLATE),
    "chatml": Kind(
        EACH + "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n" + END
        + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", ("<|im_start|>", "<|im_end|>"), False
    ),
    "no generation prompt": Kind(
        "{{ bos_token }}" + EACH + "<{{ m['role'] }}>\n{{ m['content'] }}</s>\n" + END
    ),
    "no bos": Kind(CHAT_TEMPLATE.replace("{{ bos_token }}", "")),
    "qwen3": Kind(QWEN3, ("<|im_start|>", "<|im_end|>"), False),
    "llama3": Kind(
        "{{ bos_token }}Today: {{ strftime_now('%d %b %Y') }}\n" + EACH + HEADED + END
        + "{% if add_generation_prompt %}<|h|>assistant<|/h|>\n\n{% endif %}", ("<|h|>", "<|/h|>", "<|eot|>")
    ),
    "gemma": Kind(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}" + EACH + "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
        "<sot>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<eot>\n" + END
        + "{% if add_generation_prompt %}<sot>model\n{% endif %}", ("<sot>", "<eot>")
    ),
    "mistral": Kind(  # forgets system turns
        "{{ bos_token }}" + EACH + "{% if m['role'] == 'assistant' %} {{ m['content'] }}</s>"
        "{% elif m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% endif %}" + END
    ),
    "deepseek r1": Kind(
        "{{ bos_token }}" + EACH + "{% if m['role'] == 'assistant' %}<A>{{ m['content'].split('</think>')[-1] }}</s>"
        "{% elif m['role'] == 'user' %}<U>{{ m['content'] }}{% else %}{{ m['content'] }}{% endif %}" + END
        + "{% if add_generation_prompt %}<A><think>\n{% endif %}", ("<A>", "<U>")
    ),
    "harmony": Kind(
        "{{ bos_token }}" + EACH + "<start>{{ m['role'] }}{% if m['role'] == 'assistant' %}<channel>final{% endif %}"
        "<message>{{ m['content'] }}{{ '<return>' if m['role'] == 'assistant' and loop.last else '<end>' }}" + END
        + "{% if add_generation_prompt %}<start>assistant{% endif %}",
        ("<start>", "<channel>", "<message>", "<end>", "<return>")
    ),
    "no end": Kind("{{ bos_token }}" + EACH + "<{{ m['role'] }}>{{ m['content'] }}" + END + PROMPT),
    "space before the end": Kind(
        "{{ bos_token }}" + EACH + "<{{ m['role'] }}>{{ m['content'] }}\n</s>" + END + PROMPT
    ),
}  # fmt: skip
ONE, SYSTEM = Item.of("say", "yes"), Item((Message("system", "Be brief."), Message("user", "say")), "yes")
LONG = Item(
    (Message("user", "Hi."), Message("assistant", "<think>\nhm\n</think>\n\nYes?"), Message("user", "Go.")), "Gone."
)


def compared(*items: Item) -> ComparisonSet:
    """Each item against another response, as read from f.jsonl, a line each."""
    return ComparisonSet.build(
        [Comparison(one, Item(one.instruction, "other"), source=f"f.jsonl:{n}") for n, one in enumerate(items, 1)]
    )


def save_kind(folder: Path, kind: Kind, **model: Any) -> str:
    """A Hugging Face folder with a tiny model and the tokenizer of a kind. Returns its path."""
    tiny_model(**{"vocab_size": 270, **model}).save_pretrained(folder)
    kind.tokenizer().save_pretrained(folder)
    return str(folder)


def change_config(folder: str | Path, **settings: Any) -> None:
    """Change the config.json of a model's folder."""
    path = Path(folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def write_pairs(path: Path, items: list[Item]) -> str:
    """The items as winners of pairs in messages; returns the path."""
    with path.open("w", encoding="utf-8") as file:
        for item in items:
            row = {
                "prompt": [turn._asdict() for turn in item.instruction],
                "chosen": [{"role": "assistant", "content": item.response}],
                "rejected": [{"role": "assistant", "content": "no"}],
            }
            file.write(json.dumps(row) + "\n")
    return str(path)

"""What must hold between JPO, DPO and the models' own probabilities, in float64, on made rows and on real ones.

Tolerances: 1e-9 on margins, 1e-10 on losses, 1e-6 relative on gradients (Llama's norm is float32 inside).
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from jpo_dist.batches.tokenize import TokenizedItems, tokenize
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.sections import DataConfig
from jpo_dist.model.attention import SEGMENTS
from jpo_dist.model.scorer import Scorer, pack
from jpo_dist.objective.comparison_losses import comparison_losses
from jpo_dist.objective.losses import margins, total_margin
from jpo_dist.objective.metrics import column, comparison_columns
from jpo_dist.objective.scores import Scores, item_scores
from jpo_dist.records.comparisons import INSTRUCTION, RESPONSE, Comparison, ComparisonSet, Item
from tests.support import oracle
from tests.support.tiny import PLAIN, tiny_model

FILE = Path(__file__).resolve().parents[2].parent / "shared/data/helpful/val_conditional_pref.jsonl"
BETA = 0.1
ODD_LINES = (265, 317)  # the loser starts with `*` or `"`: encoded together, BPE merges it with the template's `:`
LINES = (3, 21, 61, 91, 250, *ODD_LINES, 171)
Rows = list[tuple[str, str, str]]  # (instruction, winner, loser)

MADE: Rows = [
    ("Where can I buy dry ice?", "At a hardware store, say.", "No idea."),
    ("Name three fruits, one a line.", "A pear.\nA plum.\nA fig.", "* pear\n* plum"),
    ("How long does tea take?", "Four minutes.", '"Long"'),
    ("Is it cold today?", "yes", "It may be; look outside and you will see for yourself."),
    ("Write x.", "x", ""),
    ("Which way is north?", "Follow the moss: it grows on that side, more or less.", "*shrugs* that way"),
    ("Who wrote it?", "Nobody knows.", '"I did", said the cat.'),
    ("Ünïcode?", "Ja, größtenteils – 完全。", "No\ufffd"),
]


@cache
def rows_of(source: str) -> Rows:
    if source == "made":
        return MADE
    if not FILE.is_file():
        pytest.skip(f"the helpful rows are not beside the project (looked for {FILE})")
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    chosen = [rows[line - 1] for line in LINES]
    assert all(row["i_chosen"] == row["i_reject"] for row in chosen)
    return [(row["i_chosen"], row["r_chosen"], row["r_reject"]) for row in chosen]


on_both = pytest.mark.parametrize("source", ["made", "real"])


@cache
def merging_tokenizer() -> PreTrainedTokenizerFast:
    """A BPE trained on text as joint encoding sees it, in which `:*` and `:"` are tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [PLAIN.replace("{instruction}", i) + r for i, *responses in MADE for r in responses]
    backend.train_from_iterator(text + [f"Response:{c}" for c in '*"'] * 200, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


class Problem(NamedTuple):
    comparisons: ComparisonSet
    tokens: TokenizedItems
    policy: Scorer
    reference: Scorer
    reference_N2: torch.Tensor


@cache
def problem(source: str = "made", rotated: bool = False, same_model: bool = False) -> Problem:
    """Eight comparisons; `rotated`: each winner against the next row's loser."""
    rows = rows_of(source)
    losers = rows[1:] + rows[:1] if rotated else rows
    made = ComparisonSet.build(
        Comparison(Item.of(i, winner), Item.of(j, loser), 1.0 + n % 3)
        for n, ((i, winner, _), (j, _, loser)) in enumerate(zip(rows, losers, strict=True))
    )
    items = made.all_items()
    tokens = tokenize(merging_tokenizer(), items, DataConfig(train="unused", template=PLAIN))
    policy, reference = scorer(0), scorer(0 if same_model else 1)
    with torch.no_grad():
        return Problem(made, tokens, policy, reference, scores(reference, tokens))


def scorer(seed: int) -> Scorer:
    return Scorer(tiny_model(seed, vocab_size=400, attn_implementation=SEGMENTS).double().eval())


def plain_model(seed: int) -> torch.nn.Module:
    return tiny_model(seed, vocab_size=400).double().eval()


def scores(model: Scorer, tokens: TokenizedItems) -> torch.Tensor:
    batch = pack(tokens, np.arange(len(tokens)), torch.device("cpu"))
    return item_scores(model(batch), batch)


def margin(p: Problem, instruction_weight: float = 1.0, swapped: bool = False) -> torch.Tensor:
    edges = [torch.from_numpy(ends.copy()) for ends in (p.comparisons.winners_C, p.comparisons.losers_C)]
    winners, losers = reversed(edges) if swapped else edges
    return total_margin(margins(scores(p.policy, p.tokens), p.reference_N2, winners, losers), instruction_weight)


def loss(p: Problem, z_C: torch.Tensor) -> torch.Tensor:
    weights = torch.from_numpy(p.comparisons.weights_C.copy())
    return (weights * comparison_losses(z_C, BETA, "sigmoid")).sum() / weights.sum()


def gradient(p: Problem, value: torch.Tensor) -> torch.Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(p.policy.parameters()))])


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def oracle_loss(p: Problem, instruction_weight: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient of the naive objective."""
    model, ends = plain_model(0), (p.comparisons.winners_C, p.comparisons.losers_C, p.comparisons.weights_C)
    edges = [(int(winner), int(loser), float(x)) for winner, loser, x in zip(*ends, strict=True)]
    value = oracle.jpo_loss(model, plain_model(1), p.tokens, edges, BETA, instruction_weight)
    value.backward()
    return value.detach(), torch.cat([q.grad.flatten() for q in model.parameters() if q.grad is not None])


# ---- JPO and DPO


@on_both
def test_jpo_is_dpo_on_equal_instructions(source: str) -> None:
    """Margin, loss and gradient; the DPO side by the oracle, which leaves the instruction's tokens out."""
    p = problem(source)
    z_jpo, z_dpo = margin(p), margin(p, instruction_weight=0.0)
    assert (z_jpo - z_dpo).abs().max() < 1e-9
    assert z_jpo.abs().min() > 0.01, "equal because both are nothing"
    dpo_loss, dpo_gradient = oracle_loss(p, instruction_weight=0.0)
    jpo_loss = loss(p, z_jpo)
    assert abs(jpo_loss.item() - dpo_loss.item()) < 1e-10
    assert relative(gradient(p, jpo_loss), dpo_gradient) < 1e-6


@on_both
def test_equal_instructions_have_equal_tokens_where_joint_encoding_would_merge(source: str) -> None:
    """Lines 265 and 317: one token of header and response together, so joint encoding breaks JPO = DPO."""
    p, tokenizer = problem(source), merging_tokenizer()
    for line in ODD_LINES:
        c = LINES.index(line)
        instruction, _, loser = rows_of(source)[c]
        head = PLAIN.replace("{instruction}", instruction)
        ids = lambda text: tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
        assert ids(head + loser)[: len(ids(head))] != ids(head), "this row does not show the trap any more"
        for row in (int(p.comparisons.winners_C[c]), int(p.comparisons.losers_C[c])):
            assert p.tokens.ids(row)[: p.tokens.instruction_lengths_N[row]].tolist() == [0, *ids(head)]


@on_both
def test_jpo_is_not_dpo_on_rotated_losers(source: str) -> None:
    p = problem(source, rotated=True)
    assert (margin(p) - margin(p, instruction_weight=0.0)).abs().min() > 0.1


@pytest.mark.parametrize("instruction_weight", [1.0, 0.0, 0.5])
def test_loss_and_gradient_of_joint_comparisons_equal_the_oracle(instruction_weight: float) -> None:
    p = problem(rotated=True)
    ours = loss(p, margin(p, instruction_weight))
    expected, expected_gradient = oracle_loss(p, instruction_weight)
    assert abs(ours.item() - expected.item()) < 1e-10
    assert relative(gradient(p, ours), expected_gradient) < 1e-6


def test_the_difference_of_jpo_and_dpo_is_what_the_instructions_moved_by_themselves() -> None:
    """z_JPO = z_DPO + d(I_w) - d(I_l), with d(I) scored on the instruction alone, no response after it."""
    p = problem(rotated=True)
    d_N = torch.stack([alone(plain_model(0), p, row) - alone(plain_model(1), p, row) for row in range(len(p.tokens))])
    moved = d_N[p.comparisons.winners_C.tolist()] - d_N[p.comparisons.losers_C.tolist()]
    assert (margin(p) - margin(p, instruction_weight=0.0) - moved).abs().max() < 1e-9


def alone(model: torch.nn.Module, p: Problem, row: int) -> torch.Tensor:
    """log p(I) from the tokens of the instruction only."""
    ids = torch.tensor(p.tokens.ids(row)[: p.tokens.instruction_lengths_N[row]].tolist())
    with torch.no_grad():
        logps = torch.log_softmax(model(ids[None]).logits[0].double(), -1)
    return logps[torch.arange(len(ids) - 1), ids[1:]].sum()


def test_joint_log_prob_is_that_of_the_instruction_plus_that_of_the_response_given_it() -> None:
    p = problem(rotated=True)
    found = scores(p.policy, p.tokens)
    for row in range(len(p.tokens)):
        assert abs(found[row, INSTRUCTION].item() - alone(plain_model(0), p, row).item()) < 1e-9
        ids = torch.tensor(p.tokens.ids(row).tolist())
        with torch.no_grad():
            logps = torch.log_softmax(plain_model(0)(ids[None]).logits[0], -1)
        whole = logps[torch.arange(len(ids) - 1), ids[1:]].sum()
        assert abs(found[row].sum().item() - whole.item()) < 1e-9


# ---- margins


def test_exchanging_winner_and_loser_negates_the_margin_and_costs_beta_z() -> None:
    p = problem(rotated=True)
    z, back = margin(p), margin(p, swapped=True)
    assert (z + back).abs().max() < 1e-9
    losses = [comparison_losses(m, BETA, "sigmoid") for m in (z, back)]
    assert (losses[1] - losses[0] - BETA * z).abs().max() < 1e-9


def test_margins_add_up_along_a_path_of_items() -> None:
    p = problem(rotated=True)
    a, b, c = (torch.tensor([n]) for n in (0, 5, 9))
    z = lambda w, l: total_margin(margins(scores(p.policy, p.tokens), p.reference_N2, w, l), 1.0)  # noqa: E731, E741
    assert (z(a, c) - z(a, b) - z(b, c)).abs().max() < 1e-9
    assert z(a, b).abs() > 0.1


def test_the_gradient_is_minus_beta_times_the_doubt_times_the_score_difference() -> None:
    """grad L = -beta sigmoid(-beta z) (grad log pi(winner) - grad log pi(loser)), instruction tokens included."""
    p = problem(rotated=True)
    w, l = int(p.comparisons.winners_C[2]), int(p.comparisons.losers_C[2])  # noqa: E741
    z = margin(p)[2]
    expected = -BETA * torch.sigmoid(-BETA * z.detach()) * (
        gradient(p, scores(p.policy, p.tokens)[w].sum()) - gradient(p, scores(p.policy, p.tokens)[l].sum())
    )  # fmt: skip
    assert relative(gradient(p, comparison_losses(z[None], BETA, "sigmoid").sum()), expected) < 1e-6


def test_accumulated_parts_are_the_whole_batch() -> None:
    """Sums over the weight of all comparisons; a mean of the parts' means would be another objective."""
    p = problem(rotated=True)
    weights = torch.from_numpy(p.comparisons.weights_C.copy())
    whole = gradient(p, loss(p, margin(p)))
    parts = torch.zeros_like(whole)
    for part in (slice(0, 3), slice(3, 4), slice(4, 8)):
        z = margin(p)[part]
        parts += gradient(p, (weights[part] * comparison_losses(z, BETA, "sigmoid")).sum() / weights.sum())
    assert relative(parts, whole) < 1e-6
    halves = [comparison_losses(margin(p)[part], BETA, "sigmoid").mean() for part in (slice(0, 1), slice(1, 8))]
    assert relative(gradient(p, torch.stack(halves).mean()), whole) > 0.01


# ---- step 0


def test_equal_models_give_margin_zero_loss_ln_2_and_no_win() -> None:
    p = problem(rotated=True, same_model=True)
    z = margin(p)
    assert z.abs().max() < 1e-12
    assert abs(loss(p, z).item() - 0.6931471805599453) < 1e-12
    edges = torch.from_numpy(p.comparisons.winners_C.copy()), torch.from_numpy(p.comparisons.losers_C.copy())
    found = Scores(p.reference_N2, p.reference_N2, *edges, margins(p.reference_N2, p.reference_N2, *edges))
    rows = comparison_columns(found, comparison_losses(z, BETA, "sigmoid"), ObjectiveConfig())
    assert column(rows.numpy(), "rewards/accuracies").sum() == 0


def test_equal_models_still_learn() -> None:
    p = problem.__wrapped__(rotated=True, same_model=True)  # its policy is changed here: not the cached one
    z = margin(p)
    (slope,) = torch.autograd.grad(comparison_losses(z, BETA, "sigmoid").sum(), z, retain_graph=True)
    assert (slope + BETA / 2).abs().max() < 1e-12
    before = loss(p, z)
    grad = gradient(p, before)
    assert grad.norm() > 1e-3
    with torch.no_grad():
        step = 1e-4 / grad.norm() * grad
        for parameter, change in zip(
            p.policy.parameters(), step.split([q.numel() for q in p.policy.parameters()]), strict=True
        ):
            parameter.sub_(change.view_as(parameter))
    after = loss(p, margin(p)).item()
    assert after < before.item()
    assert before.item() - after == pytest.approx(1e-4 * grad.norm().item(), rel=0.05), "not the slope it claims"


@on_both
def test_scored_tokens_are_instruction_response_and_end(source: str) -> None:
    p = problem(source)
    batch = pack(p.tokens, np.arange(len(p.tokens)), torch.device("cpu"))
    counts = torch.bincount(batch.slots_R, minlength=2 * len(p.tokens)).view(-1, 2)
    items = p.comparisons.all_items()
    for row in range(len(p.tokens)):
        item = items[row]
        encode = lambda text: len(merging_tokenizer().encode(text, add_special_tokens=False))  # noqa: E731
        instruction = encode(PLAIN.replace("{instruction}", item.instruction[0].content))
        assert counts[row].tolist() == [instruction, encode(item.response) + 1]
        assert counts[row, RESPONSE] == counts[row].sum() - instruction

"""The blocked log-prob head equals a plain log-softmax, in value and gradient, and never holds rows x vocabulary."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jpo_dist.model.head import HeadShape, replace_head_forward, target_logps

ROWS, VOCABULARY, HIDDEN = 13, 29, 7
SHAPES = [(1.0, None), (0.25, None), (1.0, 3.0), (0.5, 2.0)]


def problem(bias: bool = True, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
    return {
        "hidden": draw(ROWS, HIDDEN).requires_grad_(),
        "weight": draw(VOCABULARY, HIDDEN).requires_grad_(),
        "bias": draw(VOCABULARY).requires_grad_() if bias else None,
        "targets": torch.randint(VOCABULARY, (ROWS,), generator=generator),
        "upstream": draw(ROWS),
    }


def naive(p: dict[str, Any], scale: float = 1.0, softcap: float | None = None) -> torch.Tensor:
    logits = (p["hidden"] @ p["weight"].T + (0 if p["bias"] is None else p["bias"])) * scale
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    return torch.log_softmax(logits, -1)[torch.arange(len(logits)), p["targets"]]


def blocked(p: dict[str, Any], *shape: Any) -> torch.Tensor:
    return target_logps(p["hidden"], p["weight"], p["bias"], p["targets"], HeadShape(*shape, narrowest=1))


def gradients(p: dict[str, Any], value: torch.Tensor) -> list[torch.Tensor]:
    wanted = [p[name] for name in ("hidden", "weight", "bias") if p[name] is not None and p[name].requires_grad]
    return list(torch.autograd.grad((value * p["upstream"].to(value.dtype)).sum(), wanted))


TILES = [ROWS, 5 * ROWS, 28 * ROWS, VOCABULARY * ROWS, 10_000]
"""One column at a time, some, all but one, all."""


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("scale", "softcap"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_equal_log_softmax(
    tile: int, scale: float, softcap: float | None, bias: bool, frozen: bool
) -> None:
    p = problem(bias)
    for name in ("weight", "bias") if frozen else ():
        if p[name] is not None:
            p[name].requires_grad_(False)
    ours, plain = blocked(p, scale, softcap, tile), naive(p, scale, softcap)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    for mine, theirs in zip(gradients(p, ours), gradients(p, plain), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("scale", "softcap"), SHAPES)
def test_gradients_equal_finite_differences(scale: float, softcap: float | None) -> None:
    p = problem()
    function = lambda h, w, b: target_logps(h, w, b, p["targets"], HeadShape(scale, softcap, 4 * ROWS, 1))  # noqa: E731
    assert torch.autograd.gradcheck(function, (p["hidden"], p["weight"], p["bias"]))
    frozen = lambda h: function(h, p["weight"].detach(), p["bias"].detach())  # noqa: E731
    assert torch.autograd.gradcheck(frozen, (p["hidden"],))


def peaked(dtype: torch.dtype, frozen: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Logits of up to 45, as trained models have them, every other target the likeliest; and the same in float64."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator).to(dtype)  # noqa: E731
    p = {"hidden": draw(60, 64), "weight": 1.5 * draw(1000, 64), "bias": draw(1000), "upstream": draw(60).double()}
    likeliest = (p["hidden"].double() @ p["weight"].double().T + p["bias"].double()).argmax(-1)
    p["targets"] = torch.where(torch.arange(60) % 2 == 0, likeliest, torch.randint(1000, (60,), generator=generator))
    exact = {name: value.double() if value.is_floating_point() else value for name, value in p.items()}
    for mine in (p, exact):
        for name in ("hidden",) if frozen else ("hidden", "weight", "bias"):
            mine[name].requires_grad_()
    return p, exact


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.5, None), (1.0, 30.0)])
@pytest.mark.parametrize(
    ("dtype", "nats", "relative"), [(torch.float32, 5e-5, 1e-5), (torch.bfloat16, 4e-4, 5e-3)], ids=["float32", "bf16"]
)
def test_narrow_weights_have_wide_logits(
    dtype: torch.dtype, nats: float, relative: float, scale: float, softcap: float | None, frozen: bool
) -> None:
    """Against float64 products of the very numbers that the narrow weights are: logits rounded to bfloat16 are off by
    up to 0.1 nats, and their shares make gradients that are off by 5 %. What is left here is the rounding of the
    gradients themselves, 2^-9 at most."""
    p, exact = peaked(dtype, frozen)
    ours = target_logps(p["hidden"], p["weight"], p["bias"], p["targets"], HeadShape(scale, softcap, 60 * 300, 1))
    plain = naive(exact, scale, softcap)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), plain, rtol=0, atol=nats)
    for mine, theirs in zip(gradients(p, ours), gradients(exact, plain), strict=True):
        assert mine.dtype == dtype
        assert (mine.double() - theirs).norm() <= relative * theirs.norm()


def test_narrow_weight_gradient_adds_up_in_float32() -> None:
    """512 equal rows of gradient 1/2: added up in bfloat16 the sum would stop growing at 128."""
    hidden = torch.ones(512, 1, dtype=torch.bfloat16)
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    logps = target_logps(hidden, weight, None, torch.zeros(512, dtype=torch.long), HeadShape(tile=512, narrowest=1))
    (grad,) = torch.autograd.grad(logps.sum(), weight)
    assert grad.flatten().tolist() == [256.0, -256.0]


@pytest.mark.parametrize("frozen", [False, True])
def test_narrow_hidden_gradient_adds_up_in_float32(frozen: bool) -> None:
    """512 words, each a block, that each take 1/512 of the same direction: bfloat16 would stop adding at 1/2."""
    hidden = torch.zeros(1, 1, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.ones(512, 1, dtype=torch.bfloat16, requires_grad=not frozen)
    with torch.no_grad():
        weight[0] = 0
    (grad,) = torch.autograd.grad(
        target_logps(hidden, weight, None, torch.zeros(1, dtype=torch.long), HeadShape(tile=1, narrowest=1)).sum(),
        hidden,
    )
    assert grad.item() == pytest.approx(-511 / 512, rel=4e-3)


def test_no_rows_give_no_log_probs_and_zero_gradients() -> None:
    p = problem()
    logps = target_logps(p["hidden"][:0], p["weight"], p["bias"], p["targets"][:0])
    assert logps.shape == (0,)
    logps.sum().backward()
    assert p["weight"].grad.abs().max() == 0
    assert p["bias"].grad.abs().max() == 0


def test_replaced_forward_of_a_module_equals_the_function() -> None:
    p = problem()
    head = torch.nn.Linear(HIDDEN, VOCABULARY, dtype=torch.float64)
    head.load_state_dict({"weight": p["weight"].detach(), "bias": p["bias"].detach()})
    replace_head_forward(head, HeadShape(0.5, 2.0))
    torch.testing.assert_close(head(p["hidden"], p["targets"]), naive(p, 0.5, 2.0), rtol=0, atol=1e-12)
    assert sorted(head.state_dict()) == ["bias", "weight"]


class Sizes(TorchDispatchMode):
    """Element counts of the tensors that any operation gives, those of the backward pass included."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.shapes += [tuple(leaf.shape) for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        return out

    @property
    def largest(self) -> int:
        return max(torch.Size(shape).numel() for shape in self.shapes)


class Products(TorchDispatchMode):
    """How many matrix products there were."""

    products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("frozen", [False, True])
def test_rows_times_vocabulary_never_exists(frozen: bool) -> None:
    """1,000 rows of a vocabulary of 30,000: the largest tensor is a tile, forward and backward."""
    hidden, weight = torch.randn(1000, 8, requires_grad=True), torch.randn(30000, 8, requires_grad=not frozen)
    targets = torch.randint(30000, (1000,))
    with Sizes() as ours:
        target_logps(hidden, weight, None, targets).sum().backward()
    assert 0.99 * HeadShape().tile < ours.largest <= HeadShape().tile < 1000 * 30000 / 3
    with Sizes() as plain:
        torch.log_softmax(hidden @ weight.T, -1).gather(-1, targets[:, None]).sum().backward()
    assert plain.largest == 1000 * 30000, "the counter itself must see what it forbids"


def test_frozen_weight_has_no_gradient_and_no_buffer() -> None:
    p = problem(bias=False)
    p["weight"].requires_grad_(False)
    with Sizes() as seen:
        blocked(p, 1.0, None, 4 * ROWS).sum().backward()
    assert p["weight"].grad is None
    p["weight"].requires_grad_(True)
    with Sizes() as trained:
        blocked(p, 1.0, None, 4 * ROWS).sum().backward()
    buffers = lambda sizes: sizes.shapes.count((VOCABULARY, HIDDEN))  # noqa: E731
    assert buffers(seen) == 0 < buffers(trained)


def test_the_backward_pass_of_a_frozen_head_has_no_product() -> None:
    p = problem()
    p["weight"].requires_grad_(False)
    p["bias"].requires_grad_(False)
    value = blocked(p, 1.0, None, 4 * ROWS).sum()
    with Products() as count:
        value.backward()
    assert count.products == 0
    q = problem()
    value = blocked(q, 1.0, None, VOCABULARY * ROWS).sum()
    with Products() as count:
        value.backward()
    assert count.products == 3, "logits once more, and one for each of the two gradients"


def test_nothing_is_kept_for_the_backward_pass_but_inputs_and_one_number_a_row() -> None:
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    p = problem(bias=False)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        blocked(p, 1.0, None, 4 * ROWS)
    assert sorted(kept) == sorted([ROWS * HIDDEN, ROWS, ROWS])


def test_a_second_backward_gives_the_same_gradient() -> None:
    """Logits are reused in place inside a chunk; nothing that lives longer may be."""
    p = problem()
    value = blocked(p, 0.5, 2.0, 4 * ROWS)
    first = torch.autograd.grad(value.sum(), [p["hidden"], p["weight"], p["bias"]], retain_graph=True)
    second = torch.autograd.grad(value.sum(), [p["hidden"], p["weight"], p["bias"]])
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)

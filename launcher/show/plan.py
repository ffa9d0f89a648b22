"""What `jpo plan` found, as tables."""

from typing import Any

from rich.console import Console
from rich.table import Table

from jpo_dist.estimate.hardware import STATED


def show(found: dict[str, Any], out: Console) -> None:
    """Print what `jpo plan` found: notes, tables, advice."""
    for line in found["about"]:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    for table in (_model_table(found), _memory_table(found), _step_table(found)):
        out.print(table)
    if found["extrapolation"]:
        out.print(_extrapolation_table(found["extrapolation"]))
    for line in found["advice"] or ["nothing to change"]:
        out.print(f"advice: {line}", markup=False, highlight=False, soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
    return table


def _model_table(found: dict[str, Any]) -> Table:
    model, device, network = found["model"], found["device"], found["network"]
    table = _table("model and machines", "", "")
    table.add_row("parameters", f"{model['parameters'] / 1e9:.3f} B {model['type']}, {model['dtype']}")
    table.add_row("trainable", f"{model['trainable'] / 1e9:.3f} B")
    table.add_row("head", f"{model['head_share_of_products']:.1%} of a forward{', tied' if model['tied'] else ''}")
    table.add_row("ranks", f"{found['ranks']} x {device['name']}, {device['memory'] / 1e9:.0f} GB")
    table.add_row("reckoned speed", f"{device['reckoned_flops'] / 1e12:.2f} TFLOP/s a rank")
    table.add_row("network", f"{network['name']}, {network['rate'] / 1e9:.3g} GB/s a rank")
    return table


_PARTS = {
    "process": "libraries, allocator",
    "weights": "policy weights",
    "reference": "reference weights",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "buffers": "reduction buffers",
    "gathered": "gathered weights (ZeRO-3)",
    "activations": "activations, head tile, gradients on their way",
    "scoring": "or: a reference pass, or evaluation",
    "update": "or: copies of the optimizer step",
    "filling": "or: filling the reference cache, before training",
    "peak": "peak",
    "host": "main memory, offloaded",
}


def _memory_table(found: dict[str, Any]) -> Table:
    table = _table(f"memory of a rank, of {found['memory']['room'] / 1e9:.0f} GB", "", "GB")
    for key, name in _PARTS.items():
        if found["memory"][key]:
            table.add_row(name, f"{found['memory'][key] / 1e9:.2f}", style="bold" if key == "peak" else None)
    for name, other in found["alternatives"].items():
        note = "" if other["fits"] else " (does not fit)"
        table.add_row(f"peak with {name}{note}", f"{other['peak'] / 1e9:.2f}", style="dim")
    return table


def _step_table(found: dict[str, Any]) -> Table:
    tokens, moved, took = found["tokens"], found["traffic"], found["time"]
    parameters = found["model"]["parameters"]
    table = _table("a step", "", "")
    table.add_row("tokens", f"{tokens['per_step']:,.0f} in {tokens['micro_steps']:.1f} micro-steps")
    table.add_row(
        "tokens of a rank in a micro-step",
        f"{tokens['per_rank_and_micro_step']:,.0f}, ZeRO-3 breaks even at {tokens['break_even']:,.0f}",
    )
    table.add_row("padding", f"{tokens['padding_share']:.1%}")
    table.add_row("fullest rank / mean", f"{tokens['balance']:.3f}")
    for key, name in (
        ("policy_gathers", "all-gather, policy"),
        ("reference_gathers", "all-gather, reference"),
        ("reduce_scatters", "reduce-scatter"),
        ("all_reduces", "all-reduce"),
        ("update_gathers", "all-gather after the update"),
    ):
        if moved["step"][key]:
            table.add_row(name, f"{moved['step'][key] / parameters:.2f} P = {moved['step'][key]:,} elements")
    table.add_row("sent by a rank", f"{moved['bytes_per_step'] / 1e9:.2f} GB")
    for phase in took["phases"]:
        if phase["seconds"]:
            each = ", ".join(f"{r} {phase[r]:.3g}" for r in ("compute", "network", "memory") if phase[r])
            table.add_row(f"seconds, {phase['name']}", f"{phase['seconds']:.3g} ({each})")
    table.add_row("seconds", f"{took['seconds_per_step']:.3g}, bound by {took['bound']}", style="bold")
    table.add_row("comparisons/s", f"{took['comparisons_per_second']:.3g}")
    table.add_row("share of the time that computes", f"{took['efficiency']:.0%}")
    return table


def _extrapolation_table(rows: list[dict[str, Any]]) -> Table:
    columns = ("GPUs x network", "s/step", "comp./s", "computes", "feeds", "wants batch", "faster")
    table = _table("ZeRO-3 on more GPUs, this global batch", *columns)
    for row in rows:
        seconds = {what: other["seconds_per_step"] for what, other in row["better"].items()}
        best = min(seconds, key=lambda what: seconds[what], default=None)
        table.add_row(
            f"{row['gpus']} x {row['network']}{'' if row['fits'] else ' (too small)'}",
            f"{row['seconds_per_step']:.3g}",
            f"{row['comparisons_per_second']:.3g}",
            f"{row['efficiency']:.1%}",
            f"{row['ranks_fed']}",
            f"{row['comparisons_wanted']:,}",
            "" if best is None else f"{best} {seconds[best]:.3g}",
            end_section=row["network"] == STATED[-1],
        )
    return table

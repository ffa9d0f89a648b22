"""What a model may learn in the place of preferences: instructions that win whatever is answered, and length."""

from collections.abc import Mapping
from typing import Any

GIVES_AWAY = 0.75
"""A share of winners that can be told like this, from which on it is said."""
MAY_LEARN = ": a model may learn that alone"


def shortcuts(inspection: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What tells the winner though no response is understood: the instruction alone, and length where it does."""
    lines, alone = [], inspection.get("instruction_only_accuracy")
    if alone and alone["accuracy"] is not None:
        gives_away = alone["accuracy"] - 2 * alone["standard_error"] > GIVES_AWAY
        told = f"{alone['accuracy']:.2f} +- {alone['standard_error']:.2f} (chance 0.50)"
        lines.append(("winner told by the instruction alone", told + (MAY_LEARN if gives_away else "")))
    for name, bias in inspection["length_bias"].items():
        found = bias["longer_of_unequal"]
        if name != "all" and found and max(found[1], 1 - found[2]) > GIVES_AWAY:
            longer = found[0] > 0.5
            which = "longer" if longer else "shorter"
            share_of = found[0] if longer else 1 - found[0]
            lines.append((f"winner told by length alone, {name}", f"{share_of:.2f} are the {which} one{MAY_LEARN}"))
    return lines

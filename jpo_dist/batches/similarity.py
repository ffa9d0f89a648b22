"""How alike the two instructions of a comparison are, as a factor of its loss or margin (RPO, arXiv 2402.10958).

Legend: C comparisons, Q different instructions.
"""

import numpy as np

from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.pairing.embedding import embed, similarity
from jpo_dist.records.comparisons import ComparisonSet, Message
from jpo_dist.records.text import CONTENTS, as_text


def similarity_factors(comparisons: ComparisonSet, objective: ObjectiveConfig) -> np.ndarray | None:
    """tau of each comparison, (C,): exp(-(1 - cosine) / temperature), 1 where the instructions are equal; None where
    the objective has none.

    outside: divided by its weighted mean, so that the weights of the set keep their sum. inside: as it is. RPO has a
    softmax over the items of a batch, with which tau would depend on the batch and fall with its size. Raises
    ModuleNotFoundError or FileNotFoundError where there is no such embedding.
    """
    if objective.similarity == "none":
        return None
    cosine_C = instruction_cosines(comparisons, objective.similarity_embedding)
    tau_C: np.ndarray = np.exp((cosine_C - 1) / objective.similarity_temperature)
    if objective.similarity == "outside" and len(tau_C):
        tau_C = tau_C / np.average(tau_C, weights=comparisons.weights_C)
    return tau_C


def instruction_cosines(comparisons: ComparisonSet, embedding: str) -> np.ndarray:
    """Cosine of the two instructions of each comparison, (C,), from -1 to 1; exactly 1 where they are equal."""
    numbers: dict[tuple[Message, ...], int] = {}
    items = (item for part in comparisons.items_by_chunk() for item in part)
    of_item = np.array([numbers.setdefault(item.instruction, len(numbers)) for item in items], dtype=int)
    vectors_QD = embed([as_text(instruction, CONTENTS) for instruction in numbers], embedding)
    winners_C, losers_C = of_item[comparisons.winners_C], of_item[comparisons.losers_C]
    cosine_C = np.clip(similarity(vectors_QD, winners_C, losers_C).astype(np.float64), -1, 1)
    return np.where(winners_C == losers_C, 1.0, cosine_C)

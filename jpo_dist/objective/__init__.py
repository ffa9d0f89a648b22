"""Scores become margins, losses and gradients: the method itself.

Stations: reference (live, adapter_off, or cached by reference_cache) -> scores (gathered over ranks) -> losses,
comparison_losses and item_losses (one function each) -> preference (what the settings make of them) -> criterion (which
of all these, chosen once) -> step -> metrics, item_metrics; held_out scores comparisons without a step, item_scores
items without a comparison.
May import config, distributed, records, data.config, batches and model. losses and comparison_losses import torch and
nothing of the models.
"""

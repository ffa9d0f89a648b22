"""From two items to a verdict: by a language model, a reward model, a program, or people.

Stations: config -> questions (prompts) -> asking (many at once) -> reading (a reply), or reward_model -> verdict ->
judging (candidates to comparisons) -> report. People: label_studio (tasks out, comparisons back), annotations (of an
export) -> annotated_pairs, annotated_rankings (what they say) -> agreement (how far they agree).
May import endpoint, batches, data, pairing, records, config, fan_out, files and paths.
"""

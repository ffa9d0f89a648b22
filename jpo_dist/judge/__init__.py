"""From two items to a verdict: by a language model, a reward model, a program, or people.

Stations: config -> questions (prompts, and reading a reply) -> asking (many at once) or reward_model -> verdict ->
judging (candidates to comparisons) -> report; label_studio brings people's answers, agreement says how far they agree.
May import endpoint, batches, data, pairing, records, config, fan_out, files and paths.
"""

"""From messages in any of their clothes to turns of an instruction, with nothing of them dropped.

Stations: names (spellings of columns), roles (who speaks), parts (what is said), tools (what is called), written
(messages as text) -> turns (one message, a prompt, a response) -> transcripts (plain texts of several turns) ->
instruction (what is put around one) -> context (what other columns of a row add to it); columns and beside (what a
column may be by its name and value: about the row, or a verdict that no layout reads), notes (what to say of texts).
May import records and row_values.
"""

"""A server that speaks the OpenAI chat API: asked within a budget, its replies kept on disk.

Stations: config -> client (one request, with retries; refused_fields: what the server does not take,
retry_after: how long it asks to wait, bounded: how much of a reply is read) -> completion
(what it said) -> replies (the store, and how each ended) -> budget (what may still be spent) -> many (at a time)
-> left (what may get an answer another time).
May import config, files and redact; knows no judge and no prompt.
"""

"""A server that speaks the OpenAI chat API: asked within a budget, its replies kept on disk.

Stations: config -> client (one request, with retries) -> replies (the store) -> budget (what may still be spent)
-> many (requests at a time).
May import config, files and redact; knows no judge and no prompt.
"""

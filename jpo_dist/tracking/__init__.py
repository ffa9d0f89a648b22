"""Tracking: what a run measures, in its folder first and from there in MLflow, which may be away.

Stations: metrics_file -> outbox -> courier -> reach -> mlflow_server (finds or makes the run) -> mlflow_entries (sends
to it; chat_model: an export as MLflow serves it). page_text: which tags a page hides, and Markdown for it. run_file
says which MLflow run it is. A run calls writer, other work finished_run. gate -> registry: which logged model is
candidate, which champion.
May import config and the single files. Only mlflow_server, mlflow_entries and chat_model import mlflow, when they send.
"""

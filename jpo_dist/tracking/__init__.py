"""Tracking: what a run measures, in its folder first and from there in MLflow, which may be away.

Stations: metrics_file -> outbox -> courier -> reach -> mlflow_server (finds or makes the run) -> mlflow_entries (sends
to it), with run_file to say which MLflow run it is. A run calls writer, other work finished_run.
May import config and the single files. Only the two mlflow modules import mlflow, when they send.
"""

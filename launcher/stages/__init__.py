"""What a command does once its config is read: the driver's part, before, around and after the ranked processes.

Stations: ranked (start the processes) -> train, evaluate, export; asking (what they share) -> generate, judge,
winrate; plan; submit; doctor; inspect, annotate; registry (versions of models in MLflow).
May import cluster, jpo_dist, launcher.config and launcher.show; the commands import it when they run, never before.
"""

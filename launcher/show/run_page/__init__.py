"""What the page of a run in MLflow says of work that is not a training: in words, and which sets it read.

Stations: descriptions (Markdown), inputs (data sets), figures (metrics of a study).
May import tracking's page_text and the names of what it shows; the stages and commands import it.
"""

"""`jpo study`: a grid of pipelines that share whatever is equal, run as far as there is room, measured and compared.

Stations: cells (the grid as pipelines; stages with equal keys are one) -> reuse (what another study has made) -> engine
(several stages at once, what fails fails its cells alone), places (processes of this host, or Ray tasks) -> measured (a
cell's answers as sums, kept), report (all that is done, at any moment) -> tracked (the study and its cells in MLflow)
-> run (tune, cells, report); beforehand (time, disk, power).
The YAML itself: launcher.config.study. What the figures say: jpo_dist.study.
"""

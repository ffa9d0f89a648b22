"""Results for people: plain numbers become tables, pages, a progress bar. Nothing is computed here.

Stations: progress (a run, from its files); plan, evaluation, inspection_tables on a terminal; inspection_page,
html -> judge_page in a browser; winrate in both; plots -> run_figures as files, for MLflow.
May import the names of what it shows from jpo_dist, never torch; the stages and commands import it.
"""

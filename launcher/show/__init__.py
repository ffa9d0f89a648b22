"""Results for people: plain numbers become tables, pages, a progress bar. Nothing is computed here.

Stations: board (what goes on right now: bars and lines) -> progress, answering (a run, from its files); plan,
evaluation on a terminal; inspection, winrate in both; html -> judge_page in a browser; plots -> run_figures as files,
for MLflow; run_page, what its page of a run says.
May import the names of what it shows from jpo_dist, never torch; the stages and commands import it.
"""

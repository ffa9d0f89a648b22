"""Training: a run from its config to its export, resumed wherever a commit left it.

Stations: setup (data, plan, reference, policy) -> identity, resume (is it the same run, and where does it go on) ->
loop (the steps; refresh: the reference follows the policy; nonfinite: what is left out; best: which commit is the best;
exported: which commit an export is of, and whether that is the end) -> run_log (what rank 0 writes), about (what people
read of the run in MLflow). Around the ranks: driver.
May import every room below it: objective, model, batches, records, tracking, checkpoint, distributed, config.
"""

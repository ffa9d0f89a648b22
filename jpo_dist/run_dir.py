"""Names of the files in a run folder. No other module writes one down."""

SPOOL, OUTBOX = "metrics.jsonl", "tracking.jsonl"

"""The fault matrix of docs/reliability.md: a row a fault, with what its test measured.

`make faults` runs the tests and renders; `python -m tests.support.matrix` only renders.
"""

import os
from typing import Any, NamedTuple

from tests.support.measured import ROOT, Measured

KEPT = Measured(
    ROOT / "tests" / "support" / "faults.json",
    ROOT / "docs" / "reliability.md",
    begin="<!-- faults: written by `make faults` -->",
    end="<!-- end of faults -->",
)
HEAD = "| fault | detected after | recovered after | work lost | result |\n| --- | --: | --: | --: | --- |"


class Fault(NamedTuple):
    words: str
    test: str
    """Of tests/multihost/test_faults.py."""


FAULTS = {
    "worker-killed": Fault("`kill -9` of a worker", "test_a_killed_worker_is_replaced"),
    "host-killed": Fault("`kill -9` of everything on a host", "test_a_spare_host_takes_over_from_one_that_is_killed"),
    "link-cut": Fault("link of a host cut", "test_a_host_that_is_cut_off_is_replaced_and_commits_nothing_more"),
    "rank-stopped": Fault("rank frozen (SIGSTOP)", "test_a_frozen_rank_is_replaced"),
    "rank-stuck": Fault("rank stuck in Python", "test_a_rank_that_is_stuck_is_replaced"),
    "killed-while-saving": Fault("`kill -9` while a shard is written", "test_a_worker_killed_while_saving_is_replaced"),
    "shard-truncated": Fault("newest checkpoint: shard truncated", "test_a_damaged_checkpoint_is_passed_over"),
    "shard-missing": Fault("newest checkpoint: shard missing", "test_a_damaged_checkpoint_is_passed_over"),
    "disk-full": Fault("disk full while saving", "test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_room"),
    "mlflow-down": Fault("MLflow down at start, later killed, back", "test_mlflow_comes_and_goes_and_no_step_waits"),
    "head-killed": Fault("head node killed, driver with it", "test_a_lost_head_costs_the_steps_since_the_last_commit"),
    "host-leaves": Fault("notice that a host leaves", "test_a_notice_that_a_host_leaves_costs_no_step"),
    "raises-at-start": Fault("error before the first collective", "test_an_error_on_one_rank_ends_all_and_is_shown"),
    "driver-killed": Fault("`kill -9` of the driver", "test_a_killed_driver_goes_on_by_the_same_command"),
    "not-finite": Fault("infinite loss on one rank", "test_a_step_that_is_not_finite_on_one_rank_is_left_out_on_all"),
    "link-slow": Fault("link slowed to 10 Mbit/s", "test_a_slow_link_changes_times_only"),
}


def record(fault: str, detected_s: float | None, recovered_s: float | None, work_lost: int, result: str) -> None:
    """Keep what a test measured of a row, if JPO_RECORD_FAULTS is set. None: there is nothing to detect or recover."""
    row = {"detected_s": detected_s, "recovered_s": recovered_s, "work_lost": work_lost, "result": result}
    print(f"{fault}: {row}")  # noqa: T201
    assert fault in FAULTS, f"a row for {fault} is missing in tests/support/matrix.py"
    if os.environ.get("JPO_RECORD_FAULTS"):
        KEPT.keep(lambda rows: rows.update({fault: row}))


def table() -> str:
    """In the order of FAULTS; a row that nobody has measured is left out."""
    rows = KEPT.rows()
    return "\n".join([HEAD, *(_line(fault.words, rows[name]) for name, fault in FAULTS.items() if name in rows)])


def _line(words: str, row: dict[str, Any]) -> str:
    lost = f"{row['work_lost']} step{'' if row['work_lost'] == 1 else 's'}"
    return f"| {words} | {_seconds(row['detected_s'])} | {_seconds(row['recovered_s'])} | {lost} | {row['result']} |"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


if __name__ == "__main__":
    KEPT.render(table())

"""How long a server asks to wait, in each form in which servers say it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from jpo_dist.endpoint.retry_after import retry_after


def written(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize("clock_s", [-3600, 0, 3600])
def test_a_date_is_one_of_the_servers_clock(clock_s: int) -> None:
    """However far this host's clock is from it: one that was put back an hour would wait that hour."""
    at = datetime.now(UTC) + timedelta(seconds=clock_s)
    headers = {"date": written(at), "retry-after": written(at + timedelta(seconds=7))}
    assert retry_after(headers) == 7


def test_without_the_servers_time_the_hosts_is_taken() -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    found = retry_after({"retry-after": written(until)})
    assert found is not None
    assert (until - datetime.now(UTC)).total_seconds() <= found <= 3600


@pytest.mark.parametrize("said", ["soon", "nan", "", "-5", "Wed, 99 Oct 2015 07:28:00 GMT"])
def test_what_is_no_time_asks_for_nothing(said: str) -> None:
    assert not retry_after({"retry-after": said})
    assert not retry_after({"retry-after": written(datetime.now(UTC)), "date": said})

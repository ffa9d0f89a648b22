"""How long a server asks to wait before it is asked again."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms` or `Retry-After` (seconds or a date); None where a server says nothing of it.

    A date is compared with the server's own time, in `Date`: the clock of this host may have been put back.

    >>> at = "Wed, 21 Oct 2015 07:28:"
    >>> retry_after({"date": at + "00 GMT", "retry-after": at + "05 GMT"}), retry_after({"retry-after": "1.5"})
    (5.0, 1.5)
    """
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif headers.get("retry-after", "").strip().replace(".", "", 1).isdigit():
            seconds = float(headers["retry-after"])
        elif "retry-after" in headers:
            now = _moment(headers["date"]) if "date" in headers else datetime.now(UTC)
            seconds = (_moment(headers["retry-after"]) - now).total_seconds()
        else:
            return None
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), 1e9) if seconds == seconds else None


def _moment(text: str) -> datetime:
    when = parsedate_to_datetime(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)

"""When an event happened: its own time, else its entry's. Never the clock of a machine."""

from datetime import UTC, datetime
from typing import Final

from integrations.inbound.segment import Common
from integrations.rejection import RejectionError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_YEAR: Final = 9000


def instant(text: str, path: str) -> int:
    """Unix seconds of an ISO 8601 date and time with a zone, fractions dropped.

    Raises  RejectionError on another form, without a zone, before 1970, after the year 9000
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RejectionError("bad_time", path) from None
    if moment.tzinfo is None:
        raise RejectionError("naive_time", path)
    if moment.year > LAST_YEAR:
        raise RejectionError("time_out_of_range", path)
    since = moment - _EPOCH
    at_s = since.days * 86_400 + since.seconds
    if at_s < 0:
        raise RejectionError("time_out_of_range", path)
    return at_s


def event_time(event: Common, entry_s: int, future_s: int) -> tuple[int, bool]:
    """Unix seconds of the event, and whether it brought a time of its own.

    `timestamp`, else `originalTimestamp`, else the entry's time.
    """
    path = "timestamp"
    text = event.get("timestamp")
    if text is None:
        path = "originalTimestamp"
        text = event.get("originalTimestamp")
        if text is None:
            return entry_s, False
    at_s = instant(text, path)
    if at_s > entry_s + future_s:
        raise RejectionError("future_time", path)
    return at_s, True

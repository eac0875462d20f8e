"""How long a receiver asks us to wait: seconds, an HTTP date, or a vendor's milliseconds.

Sources: RFC 9110, section 10.2.3; https://datatracker.ietf.org/doc/html/
draft-ietf-httpapi-ratelimit-headers-06 (RateLimit-Reset).
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_S: Final = 3600.0
"""A hint is followed no longer than this: a receiver must not park us."""

_UNIX_TIME: Final = 1e9
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)


def retry_after_s(
    headers: Mapping[str, str],
    *,
    at_s: int,
    milliseconds: bool = False,
    longest_s: float = LONGEST_S,
) -> float | None:
    """Seconds to wait, in [0, longest_s]; None if the answer has no readable Retry-After.

    headers       names in lower case
    at_s          Unix seconds of the answer: what an HTTP date is counted from
    milliseconds  the vendor counts in milliseconds (HubSpot)

    >>> retry_after_s({"retry-after": "120"}, at_s=0)
    120.0
    >>> retry_after_s({"retry-after": "Thu, 01 Jan 1970 00:01:30 GMT"}, at_s=60)
    30.0
    """
    text = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(text):
        wait_s = float(text) / (1000.0 if milliseconds else 1.0)
    else:
        try:
            wait_s = parsedate_to_datetime(text).timestamp() - at_s
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return min(max(wait_s, 0.0), longest_s)


def rest_s(headers: Mapping[str, str], *, at_s: int) -> float | None:
    """Seconds to wait by Retry-After, else by RateLimit-Reset or X-RateLimit-Reset.

    A reset counts seconds, or is a Unix time.

    >>> rest_s({"ratelimit-reset": "12"}, at_s=0)
    12.0
    >>> rest_s({"x-ratelimit-reset": "1800000030"}, at_s=1_800_000_000)
    30.0
    """
    wait_s = retry_after_s(headers, at_s=at_s)
    for name in ("ratelimit-reset", "x-ratelimit-reset"):
        text = headers.get(name, "").strip()
        if wait_s is None and _NUMBER.fullmatch(text):
            reset = float(text)
            wait_s = reset - at_s if reset > _UNIX_TIME else reset
    return None if wait_s is None else min(max(wait_s, 0.0), LONGEST_S)

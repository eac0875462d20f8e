"""What a status means where the vendor's own words say nothing more."""

from typing import Final

from integrations.outbound.contract import Outcome, Response, Verdict
from integrations.outbound.retry_after import rest_s, retry_after_s

_MEANING: Final[dict[int, Verdict]] = {
    **dict.fromkeys(range(200, 300), Verdict.OK),
    **dict.fromkeys((408, 425, *range(500, 600)), Verdict.RETRY),
    **dict.fromkeys((401, 403), Verdict.AUTH),
    410: Verdict.GONE,
    429: Verdict.THROTTLED,
}
_REFUSED_AS_A_WHOLE: Final = frozenset({400, 413, 422})


def outcome_of_status(response: Response, *, at_s: int, rows: int = 1) -> Outcome:
    """The outcome of each row of a call, read from the status alone.

    2xx ok; 408, 425, 5xx retry; 429, and 503 with a request to wait, throttled; 401, 403 auth; 410
    gone; 400, 413 and 422 of several rows split; redirects, other 4xx and the rest permanent.

    rows  how many rows the call had
    """
    status = response.status
    verdict = _MEANING.get(status, Verdict.PERMANENT)
    if rows > 1 and status in _REFUSED_AS_A_WHOLE:
        verdict = Verdict.SPLIT
    wait_s = None
    if status == 429:
        wait_s = rest_s(response.headers, at_s=at_s)
    elif status == 503:
        wait_s = retry_after_s(response.headers, at_s=at_s)
        if wait_s is not None:
            verdict = Verdict.THROTTLED
    return Outcome(verdict, f"http_{status}", retry_after_s=wait_s)

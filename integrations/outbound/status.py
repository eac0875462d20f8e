"""What a status means where the vendor's own words say nothing more."""

from typing import Final

from integrations.outbound.contract import Outcome, Response, Verdict
from integrations.outbound.retry_after import rest_s

_MEANING: Final[dict[int, Verdict]] = {
    **dict.fromkeys(range(200, 300), Verdict.OK),
    **dict.fromkeys((400, 409, 413, 422), Verdict.PERMANENT),
    **dict.fromkeys((401, 403), Verdict.AUTH),
    410: Verdict.GONE,
    429: Verdict.THROTTLED,
}
"""All others speak of the way there, not of the rows: redirects to a login, 404 in a deployment."""

_BUSY_WITH_A_HINT: Final = frozenset({403, 502, 503, 504})


def outcome_of_status(response: Response, *, at_s: int, rows: int = 1) -> Outcome:
    """The outcome of each row of a call, read from the status alone.

    2xx ok; 400, 409, 413 and 422 speak of what was sent: of several rows split, of one permanent;
    401, 403 auth; 410 gone; 429, and 403, 502, 503, 504 with a request to wait, throttled; all
    others retry. What the answer says of a rest is passed on with any status but success.

    rows  how many rows the call had
    """
    status = response.status
    verdict = _MEANING.get(status, Verdict.RETRY)
    if rows > 1 and verdict is Verdict.PERMANENT:
        verdict = Verdict.SPLIT
    wait_s = None if verdict is Verdict.OK else rest_s(response.headers, at_s=at_s)
    if status in _BUSY_WITH_A_HINT and wait_s is not None:
        verdict = Verdict.THROTTLED
    return Outcome(verdict, f"http_{status}", retry_after_s=wait_s)

"""The contract of an adapter: pure functions around one HTTP call.

An adapter turns rows into a call and an answer into one outcome per row. It does no I/O and
reads no clock; transport, limits, retries and the outbox live outside. Exceptions are for
transport alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from integrations.outbound.retry_after import retry_after_s


class Verdict(StrEnum):
    """What to do with a row now."""

    OK = "ok"  # done
    RETRY = "retry"  # try again on the schedule
    THROTTLED = "throttled"  # the destination is busy: wait, no attempt is used up
    PERMANENT = "permanent"  # dead letter: a human must look
    AUTH = "auth"  # pause the destination: its credentials are refused
    GONE = "gone"  # disable the destination: the receiver wants no more


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one row; code and detail are for people and never hold a secret."""

    verdict: Verdict
    code: str = ""
    detail: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request. Headers and body do not print: they hold credentials and customers."""

    adapter: str
    method: str
    url: str = field(repr=False)  # some receivers put their secret into the path
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@runtime_checkable
class Adapter(Protocol):
    """One kind of destination."""

    name: ClassVar[str]
    max_rows: ClassVar[int]
    """Rows that one call may carry, >= 1."""

    def encode(self, rows: Sequence[bytes], *, delivery_id: str, at_s: int) -> HttpCall:
        """Build the call: pure, so that equal arguments give equal bytes.

        rows         1 to max_rows insights as `integrations.encoding.insight_payload` wrote them
        delivery_id  the same on every attempt with the same rows
        at_s         Unix seconds of this attempt; must not change the body
        """
        ...

    def classify(
        self, status: int, headers: Mapping[str, str], body: bytes, /, *, rows: int, at_s: int
    ) -> tuple[Outcome, ...]:
        """One outcome per row, in their order: a row that the answer does not name is never ok.

        headers  names in lower case
        at_s     Unix seconds of the answer
        """
        ...


def outcome_of_status(status: int, headers: Mapping[str, str], *, at_s: int) -> Outcome:
    """What a status means where the vendor's own words say nothing more.

    2xx ok; 408, 425, 5xx retry; 429, and 503 with Retry-After, throttled; 401, 403 auth;
    410 gone; redirects, other 4xx and anything else permanent.
    """
    code = f"http_{status}"
    wait_s = retry_after_s(headers, at_s=at_s)
    if 200 <= status < 300:
        return Outcome(Verdict.OK, code)
    if status == 429 or (status == 503 and wait_s is not None):
        return Outcome(Verdict.THROTTLED, code, retry_after_s=wait_s)
    if status in {401, 403}:
        return Outcome(Verdict.AUTH, code)
    if status == 410:
        return Outcome(Verdict.GONE, code)
    if status in {408, 425} or 500 <= status < 600:
        return Outcome(Verdict.RETRY, code)
    return Outcome(Verdict.PERMANENT, code)

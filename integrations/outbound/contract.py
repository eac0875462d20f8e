"""The contract of an adapter: what it is given, what it says, what it can do. Values only.

An adapter turns rows into one call, and the answer into one outcome per row. It does no I/O and
reads no clock; transport, limits, retries and the outbox live outside. Exceptions are for
transport alone. What only some vendors need is in `integrations.outbound.abilities`; what a bare
status means in `integrations.outbound.status`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import ClassVar, Final, NamedTuple, Protocol, runtime_checkable

from pydantic import JsonValue

MAX_ANSWER: Final = 65_536
"""Bytes of an answer that are read where the call asks for no more."""


class Verdict(StrEnum):
    """What to do with a row now."""

    OK = "ok"  # the destination has it
    ACCEPTED = "accepted"  # it will work on it: ask about the job (`Polling`) what became of it
    RETRY = "retry"  # try again on the schedule
    THROTTLED = "throttled"  # the destination is busy: wait, no attempt is used up
    PERMANENT = "permanent"  # dead letter: a human must look
    AUTH = "auth"  # renew the token once, then pause: credentials or configuration are refused
    SPLIT = "split"  # something in the call is refused as a whole: send halves of it
    GONE = "gone"  # disable the destination: the receiver wants no more


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one row; code and detail are for people and never hold a secret.

    retry_after_s  the destination wants so long a rest, also where the verdict is ok
    vendor_id      the vendor's own id of the record, where the answer tells it
    job            what `Polling` is asked about; given exactly where the verdict is accepted
    """

    verdict: Verdict
    code: str = ""
    detail: str = ""
    retry_after_s: float | None = None
    vendor_id: str | None = None
    job: str | None = None


class Row(NamedTuple):
    """What one call carries of one customer: a changed state, or one event of a stream.

    key              value of the field by which the vendor matches (external id, email ...)
    fields           target field -> value, only what changed; a field that is to be cleared has the
                     `clear_value` of the capabilities
    insight_version  grows with every change of the customer's insight
    delivery_id      the same on every attempt with the same content
    body             JSON of the whole insight, or of the event; goes out unchanged
    event            name of the event in a stream ("Audience Entered"), "" of a state
    occurred_s       Unix seconds of the event; 0 of a state
    vendor_id        the vendor's id of the record: None not known, "" known to be absent
    """

    customer_id: str
    key: str
    fields: Mapping[str, JsonValue]
    insight_version: int
    delivery_id: str
    body: bytes = b""
    event: str = ""
    occurred_s: int = 0
    vendor_id: str | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a token answer gave; empty for adapters whose secrets are part of their options.

    base_url      the address that the token is for, where the vendor assigns one
    expires_at_s  Unix seconds; None: valid until it is refused
    """

    token: str = field(default="", repr=False)
    base_url: str = ""
    expires_at_s: int | None = None


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request. Headers and body do not print: they hold credentials and customers."""

    adapter: str
    method: str
    url: str = field(repr=False)  # some receivers put their secret into the path
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    max_answer: int = MAX_ANSWER


@dataclass(frozen=True, slots=True)
class Response:
    """What the receiver answered; header names in lower case, the body raw and cut at a limit."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    truncated: bool = False


class Omit(Enum):
    """A value that is left out of the call."""

    OMIT = "omit"


OMIT: Final = Omit.OMIT


class Limit(NamedTuple):
    """At most so many requests in any window of so many seconds."""

    requests: int
    window_s: float


class Matching(StrEnum):
    """How an answer names the rows that it speaks of."""

    POSITION = "position"  # the n-th result is of the n-th row
    KEY = "key"  # each result carries the key or trace id of its row
    ALL_OR_NOTHING = "all_or_nothing"  # the status speaks of the whole call


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a destination takes; the engine fills calls by it. Keys are unique within a call.

    max_rows     rows of one call
    max_bytes    bytes of one body
    max_row      bytes of the body of one row alone
    limits       windows of the vendor, all of which hold at once
    concurrency  calls under way at once
    is_job       2xx means accepted: `Polling` tells what became of the rows
    clear_value  what clears a field: null, "" ...; OMIT where nothing does: they are left out
    takes_whole  the whole insight is sent; where not, a destination of insights needs a mapping
    is_stream    takes events: order per customer, nothing is coalesced
    digest_s     one message over many customers, once in so many seconds: from the first row that
                 waits, rows gather for so long; 0: a row waits for no other
    """

    max_rows: int
    max_bytes: int
    matching: Matching
    max_row: int | None = None
    limits: tuple[Limit, ...] = ()
    concurrency: int = 4
    is_job: bool = False
    clear_value: JsonValue | Omit = None
    takes_whole: bool = False
    is_stream: bool = False
    digest_s: float = 0.0

    @property
    def is_digest(self) -> bool:
        """A call is one message for people."""
        return self.digest_s > 0

    def cleared(self, fields: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Fields of a customer as this destination takes them; None is a field to be cleared.

        >>> Capabilities(1, 4096, Matching.KEY, clear_value="").cleared({"a": 1, "b": None})
        {'a': 1, 'b': ''}
        >>> Capabilities(1, 4096, Matching.KEY, clear_value=OMIT).cleared({"a": 1, "b": None})
        {'a': 1}
        """
        clear = self.clear_value
        return {
            name: clear if value is None and clear is not OMIT else value
            for name, value in fields.items()
            if value is not None or clear is not OMIT
        }


@runtime_checkable
class Adapter(Protocol):
    """One kind of destination, built from its options."""

    name: ClassVar[str]

    @property
    def capabilities(self) -> Capabilities:
        """What it takes; the same at every look."""
        ...

    def encode(self, rows: Sequence[Row], *, credentials: Credentials, at_s: int) -> HttpCall:
        """Build the call: pure, so that equal arguments give equal bytes.

        rows         1 to max_rows, no key twice
        credentials  of the last token answer; adapters without `Authorizing` ignore it
        at_s         Unix seconds of this attempt; must not change what is said of a row
        """
        ...

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """One outcome per row, in their order: a row that the answer does not name is never ok.

        rows  as given to `encode`
        at_s  Unix seconds of the answer
        Raises  nothing, whatever the answer is
        """
        ...

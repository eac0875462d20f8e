"""A vendor on loopback that keeps contacts, does harm on purpose, and remembers all that it saw.

It speaks one of several dialects, so that real adapters talk to it over real connections. Faults
are drawn by a seed; arrival times are taken when the first line of a request has been read, which
is what a vendor counts by.
"""

import contextlib
import json
import random
import socket
import struct
import threading
import time
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol


class Fault(StrEnum):
    """What may go wrong with one request."""

    MIX = "mix"  # some rows are stored, others are refused for now, in one answer
    EMPTY = "empty"  # 2xx that names no row, and nothing was stored
    HINTED_429 = "hinted_429"  # Retry-After: 1
    BARE_429 = "bare_429"
    THROTTLE_403 = "throttle_403"  # only dialects with words for it
    AFTER_COMMIT_500 = "after_commit_500"  # everything was stored, and 500 says otherwise
    DRIP = "drip"  # stored, answered byte by byte, slower than any deadline
    RESET = "reset"  # nothing was stored, the connection is reset
    AFTER_COMMIT_RESET = "after_commit_reset"
    EXPIRED_401 = "expired_401"  # the token is not accepted any more


class Item(NamedTuple):
    """One row as a vendor reads it."""

    key: str
    fields: Mapping[str, Any]
    trace: str = ""


class Answer(NamedTuple):
    """What a vendor says."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Seen(NamedTuple):
    """One request: when it came (monotonic seconds), about whom, and what became of it."""

    at_s: float
    keys: tuple[str, ...]
    status: int
    fault: str


class Dialect(Protocol):
    """How one vendor's requests and answers look."""

    def token(self, path: str, body: bytes) -> Answer | None:
        """The answer to a request for a token; None if this is none."""

    def items(self, path: str, headers: Mapping[str, str], body: bytes) -> list[Item]:
        """The rows of a request."""

    def answer(self, items: Sequence[Item], stored: Sequence[bool]) -> Answer:
        """What is said of rows that were stored, and of those that were refused for now."""

    def throttled(self) -> Answer:
        """The vendor's own words for too many requests."""

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        """Is the token one that was given, and not taken back?"""

    def expire(self) -> None:
        """Take the token back."""


@dataclass
class Webhook:
    """A Standard Webhooks endpoint: the version of a customer's insight is its only field."""

    def token(self, _path: str, _body: bytes) -> Answer | None:
        return None

    def items(self, _path: str, headers: Mapping[str, str], body: bytes) -> list[Item]:
        data = json.loads(body)["data"]
        return [
            Item(data["customer_id"], {"version": data["insight_version"]}, headers["webhook-id"])
        ]

    def answer(self, _items: Sequence[Item], stored: Sequence[bool]) -> Answer:
        return Answer(204 if all(stored) else 503)

    def throttled(self) -> Answer:
        return Answer(429)

    def is_authorized(self, _headers: Mapping[str, str]) -> bool:
        return True

    def expire(self) -> None:
        """It has no token."""


@dataclass
class HubSpot:
    """Contacts by batch upsert: trace ids name the rows, 207 says that not all went well."""

    def token(self, _path: str, _body: bytes) -> Answer | None:
        return None

    def items(self, _path: str, _headers: Mapping[str, str], body: bytes) -> list[Item]:
        return [
            Item(one["id"], one["properties"], one["objectWriteTraceId"])
            for one in json.loads(body)["inputs"]
        ]

    def answer(self, items: Sequence[Item], stored: Sequence[bool]) -> Answer:
        pairs = list(zip(items, stored, strict=True))
        results = [_hubspot_contact(item) for item, ok in pairs if ok]
        errors = [_hubspot_error(item) for item, ok in pairs if not ok]
        times = {"startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:00:01Z"}
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results[::-1], **times}
        if errors:
            answer |= {"numErrors": len(errors), "errors": errors}
        return Answer(207 if errors else 200, _json(answer), JSON)

    def throttled(self) -> Answer:
        said = {
            "status": "error",
            "category": "RATE_LIMITS",
            "errorType": "RATE_LIMIT",
            "policyName": "TEN_SECONDLY_ROLLING",
            "message": "You have reached your ten_secondly_rolling limit.",
            "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
        }
        return Answer(429, _json(said), JSON)

    def is_authorized(self, _headers: Mapping[str, str]) -> bool:
        return True

    def expire(self) -> None:
        """Its token is static."""


@dataclass
class Salesforce:
    """Collections by external id: results in the order of the rows, throttling is a 403."""

    url: str = ""
    tokens: int = 0
    issued: int = 0

    def token(self, path: str, _body: bytes) -> Answer | None:
        if not path.startswith("/services/oauth2/token"):
            return None
        self.tokens += 1
        self.issued += 1
        said = {
            "access_token": f"token-{self.tokens}",
            "instance_url": self.url,
            "id": f"{self.url}/id/00D/005",
            "token_type": "Bearer",
            "issued_at": "1795428892000",
            "signature": "c2ln",
        }
        return Answer(200, _json(said), JSON)

    def items(self, path: str, _headers: Mapping[str, str], body: bytes) -> list[Item]:
        by = path.partition("?")[0].rsplit("/", 1)[1]
        return [
            Item(one[by], {k: v for k, v in one.items() if k not in {by, "attributes"}})
            for one in json.loads(body)["records"]
        ]

    def answer(self, items: Sequence[Item], stored: Sequence[bool]) -> Answer:
        lock = {
            "statusCode": "UNABLE_TO_LOCK_ROW",
            "message": "unable to obtain exclusive access to this record",
            "fields": [],
        }
        said = [
            {"id": f"003{n:015d}", "success": True, "created": False, "errors": []}
            if ok
            else {"success": False, "errors": [lock]}
            for n, ok in enumerate(stored)
        ]
        return Answer(200, _json(said), JSON)

    def throttled(self) -> Answer:
        said = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]
        return Answer(403, _json(said), JSON)

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        return headers.get("authorization") == f"Bearer token-{self.tokens}"

    def expire(self) -> None:
        """The next token has another number."""
        self.tokens += 1


JSON = {"content-type": "application/json"}
_REFUSALS = {
    Fault.EXPIRED_401: Answer(401, b"[]", JSON),
    Fault.HINTED_429: Answer(429, b"", {"retry-after": "1"}),
    Fault.BARE_429: Answer(429),
    Fault.EMPTY: Answer(200),
    "down": Answer(503),
}
DIALECTS = {"webhook": Webhook, "hubspot": HubSpot, "salesforce": Salesforce}


@dataclass
class Vendor:
    """The server.

    dialect   whose words it speaks
    faults    fault -> share of the requests that meet it
    limits    (requests, seconds): more within any such window are answered by a throttle
    version   field whose number grows with every change of a customer; a smaller one regresses
    slow_s    how long it works on a request
    """

    dialect: Any
    faults: Mapping[Fault, float] = field(default_factory=dict)
    limits: Sequence[tuple[int, float]] = ()
    version: str = "version"
    seed: int = 0
    slow_s: float = 0.0

    def __post_init__(self) -> None:
        self.contacts: dict[str, dict[str, Any]] = {}
        self.seen: list[Seen] = []
        self._arrived: list[float] = []
        self.met: Counter[str] = Counter()
        self.regressions = 0
        self.doubled = 0
        self.down = False
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._rng = random.Random(self.seed)
        self._over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        if isinstance(self.dialect, Salesforce):
            self.dialect.url = self.url
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def calm(self) -> None:
        """No more faults: what is left must drain."""
        self.faults = {}

    def arrivals(self) -> list[float]:
        """When data requests came, in order."""
        with self._lock:
            return list(self._arrived)

    # ---- one request ------------------------------------------------------------------------
    def handle(self, request: "_Request") -> None:
        """Read a request, do what the dice say, answer."""
        given = self.dialect.token(request.path, request.body)
        if given is not None:
            request.write(given)
            return
        items = self.dialect.items(request.path, request.headers, request.body)
        keys = tuple(item.key for item in items)
        with self._lock:
            fault = self._draw(request.at_s)
            self.doubled += sum(self._in_flight[key] > 0 for key in keys) + len(keys)
            self.doubled -= len(set(keys))
            self._in_flight.update(keys)
        try:
            status = self._answer(request, items, fault)
        finally:
            with self._lock:
                self._in_flight.subtract(keys)
        with self._lock:
            self.met[fault or "none"] += 1
            self.seen.append(Seen(request.at_s, keys, status, fault))

    def _draw(self, at_s: float) -> str:
        insort(self._arrived, at_s)
        if self.down:
            return "down"
        for count, window_s in self.limits:
            if sum(at_s - one < window_s for one in self._arrived[-count - 1 : -1]) >= count:
                return "over_limit"
        dice = self._rng.random()
        for fault, share in self.faults.items():
            dice -= share
            if dice < 0:
                return fault
        return ""

    def _answer(self, request: "_Request", items: Sequence[Item], fault: str) -> int:
        if self.slow_s:
            self._over.wait(self.slow_s)
        said = self._refusal(request, fault)
        if said is None:
            if fault == Fault.RESET:
                return request.reset()
            stored = self._store(items, self._partial(items) if fault == Fault.MIX else None)
            if fault == Fault.AFTER_COMMIT_RESET:
                return request.reset()
            said = self.dialect.answer(items, stored)
            if fault == Fault.AFTER_COMMIT_500:
                said = Answer(500, b"internal error")
        return request.write(said, drip=self._over if fault == Fault.DRIP else None)

    def _refusal(self, request: "_Request", fault: str) -> Answer | None:
        if not self.dialect.is_authorized(request.headers):
            said = [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]
            return Answer(401, _json(said), JSON)
        if fault == Fault.EXPIRED_401:
            self.dialect.expire()
        if fault in {Fault.THROTTLE_403, "over_limit"}:
            return self.dialect.throttled()
        return _REFUSALS.get(fault)

    def _partial(self, items: Sequence[Item]) -> set[str]:
        with self._lock:
            return {item.key for item in items if self._rng.random() < 0.3}

    def _store(self, items: Sequence[Item], refused: set[str] | None) -> list[bool]:
        stored = []
        with self._lock:
            for item in items:
                ok = refused is None or item.key not in refused
                stored.append(ok)
                if not ok:
                    continue
                held = self.contacts.setdefault(item.key, {})
                new, old = item.fields.get(self.version), held.get(self.version)
                if new is not None and old is not None and int(float(new)) < int(float(old)):
                    self.regressions += 1
                held.update(item.fields)
        return stored


class _Request:
    """One request that was read, and the connection to answer on."""

    def __init__(self, handler: BaseHTTPRequestHandler, at_s: float) -> None:
        self._handler = handler
        self.at_s = at_s
        self.path = handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = handler.rfile.read(int(self.headers.get("content-length") or 0))

    def write(self, answer: Answer, drip: threading.Event | None = None) -> int:
        """Send an answer whole, or a byte in 50 ms until the client or the server gives up."""
        fields = {"content-length": str(len(answer.body)), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} Vendor", *(f"{n}: {v}" for n, v in fields.items())]
        whole = "\r\n".join([*lines, "", ""]).encode() + answer.body
        with contextlib.suppress(OSError):
            if drip is None:
                self._handler.connection.sendall(whole)
                return answer.status
            self._handler.close_connection = True
            for byte in whole:
                self._handler.connection.sendall(bytes([byte]))
                if drip.wait(0.05):
                    break
        return answer.status

    def reset(self) -> int:
        """End the connection without an answer."""
        connection = self._handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            connection.close()
        self._handler.close_connection = True
        return 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is expected."""


def _handler(vendor: Vendor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None:
            """Quiet."""

        def parse_request(self) -> bool:
            self.at_s = time.monotonic()
            return super().parse_request()

        def do_POST(self) -> None:
            vendor.handle(_Request(self, self.at_s))

        do_GET = do_PUT = do_PATCH = do_POST  # noqa: N815  names that http.server looks up

    return Handler


def fullest_window(arrivals: Sequence[float], window_s: float) -> int:
    """Most arrivals within any span of so many seconds.

    >>> fullest_window([0.0, 1.0, 9.99, 10.0, 10.5], 10)
    4
    """
    return max(
        (
            at + 1 - bisect_right(arrivals, one - window_s, 0, at + 1)
            for at, one in enumerate(arrivals)
        ),
        default=0,
    )


@contextlib.contextmanager
def running(dialect: str = "hubspot", **options: Any) -> Iterator[Vendor]:
    """A vendor for the length of a block."""
    vendor = Vendor(DIALECTS[dialect](), **options)
    try:
        yield vendor
    finally:
        vendor.close()


def _hubspot_contact(item: Item) -> dict[str, Any]:
    return {
        "id": str(abs(hash(item.key)) % 10**9),
        "new": False,
        "properties": dict(item.fields),
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "archived": False,
        "objectWriteTraceId": item.trace,
    }


def _hubspot_error(item: Item) -> dict[str, Any]:
    return {
        "status": "error",
        "category": "INTERNAL_ERROR",
        "message": "the record could not be written for now",
        "context": {"objectWriteTraceId": [item.trace]},
        "errors": [],
        "links": {},
    }


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()

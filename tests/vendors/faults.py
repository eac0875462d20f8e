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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from integrations.outbound.suite.vendor import Request
from tests.vendors.bottle import Bottle
from tests.vendors.dialects import (
    JSON,
    Answer,
    Events,
    HubSpot,
    Item,
    Kept,
    Salesforce,
    Webhook,
    emails_of_bottle,
    ids_of_klaviyo,
)
from tests.vendors.klaviyo import Klaviyo


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


class Seen(NamedTuple):
    """One request: when it came (monotonic seconds), about whom, and what became of it."""

    at_s: float
    keys: tuple[str, ...]
    status: int
    fault: str


_REFUSALS = {
    Fault.EXPIRED_401: Answer(401, b"[]", JSON),
    Fault.HINTED_429: Answer(429, b"", {"retry-after": "1"}),
    Fault.BARE_429: Answer(429),
    Fault.EMPTY: Answer(200),
    "down": Answer(503),
}
DIALECTS = {
    "webhook": Webhook,
    "events": Events,
    "hubspot": HubSpot,
    "salesforce": Salesforce,
    "bottlecrm": lambda: Kept(Bottle(version="number"), emails_of_bottle),
    "klaviyo": lambda: Kept(Klaviyo(), ids_of_klaviyo),
}


@dataclass
class Vendor:
    """The server.

    dialect   whose words it speaks
    faults    what befalls requests, in turn
    share     of the requests that meet a fault
    limits    (requests, seconds): more within any such window are answered by a throttle
    version   field whose number grows with every change of a customer; a smaller one regresses
    slow_s    how long it works on a request
    """

    dialect: Any
    faults: Sequence[Fault] = ()
    share: float = 0.3
    limits: Sequence[tuple[int, float]] = ()
    version: str = "version"
    seed: int = 0
    slow_s: float = 0.0

    def __post_init__(self) -> None:
        self.contacts: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[int]] = {}
        if isinstance(self.dialect, Kept):
            self.contacts = self.dialect.vendor.contacts
            self.dialect.vendor.write = self._watched(self.dialect.vendor.write)
        self.seen: list[Seen] = []
        self._arrived: list[float] = []
        self.met: Counter[str] = Counter()
        self.regressions = 0
        self.doubled = 0
        self.down = False
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._rng = random.Random(self.seed)
        self._drawn = 0
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
        self.faults = ()

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
        if isinstance(self.dialect, Kept):
            items = []
            with self._lock:
                keys = tuple(self.dialect.keys(self.dialect.vendor, request.asked))
        else:
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
        if not self.faults or self._rng.random() >= self.share:
            return ""
        self._drawn += 1
        return self.faults[self._drawn % len(self.faults)]

    def _answer(self, request: "_Request", items: Sequence[Item], fault: str) -> int:
        if self.slow_s:
            self._over.wait(self.slow_s)
        said = self._refusal(request, fault)
        if said is None:
            if fault == Fault.RESET:
                return request.reset()
            said = self._act(request, items, fault)
            if fault == Fault.AFTER_COMMIT_RESET:
                return request.reset()
            if fault == Fault.AFTER_COMMIT_500:
                said = Answer(500, b"internal error")
        return request.write(said, drip=self._over if fault == Fault.DRIP else None)

    def _refusal(self, request: "_Request", fault: str) -> Answer | None:
        if not self.dialect.is_authorized(request.headers):
            said = [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]
            return Answer(401, json.dumps(said).encode(), JSON)
        if fault == Fault.EXPIRED_401:
            self.dialect.expire()
        if fault in {Fault.THROTTLE_403, "over_limit"}:
            return self.dialect.throttled()
        return _REFUSALS.get(fault)

    def _act(self, request: "_Request", items: Sequence[Item], fault: str) -> Answer:
        if isinstance(self.dialect, Kept):
            with self._lock:
                return self.dialect.act(request.asked)
        stored = self._store(items, self._partial(items) if fault == Fault.MIX else None)
        return self.dialect.answer(items, stored)

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
                self._look(item.key, item.fields)
                self.contacts.setdefault(item.key, {}).update(item.fields)
        return stored

    def _look(self, key: str, fields: Mapping[str, Any]) -> None:
        """Does a write set the customer back?"""
        if self.version in fields:
            new, before = int(float(fields[self.version])), self.history.setdefault(key, [])
            self.regressions += bool(before) and new < before[-1]
            before.append(new)

    def _watched(self, write: Callable[..., bool]) -> Callable[..., bool]:
        def look_and_write(key: str, fields: Mapping[str, Any], *rest: Any, **more: Any) -> bool:
            self._look(key, fields)
            return write(key, fields, *rest, **more)

        return look_and_write


class _Request:
    """One request that was read, and the connection to answer on."""

    def __init__(self, handler: BaseHTTPRequestHandler, at_s: float) -> None:
        self._handler = handler
        self.at_s = at_s
        self.path = handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = handler.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        self.asked = Request(handler.command, parts.path, query, self.headers, self.body)

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

"""A vendor on loopback: a small real HTTP server with state, strict about what it is sent."""

import json
import sys
import threading
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit


class Request(NamedTuple):
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reply(NamedTuple):
    """One answer; a body that is no bytes becomes JSON."""

    status: int
    body: Any = b""
    headers: Mapping[str, str] = {}

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Exchange(NamedTuple):
    """What was asked and what was answered."""

    request: Request
    reply: Reply


class Vendor:
    """Base of the vendors: subclasses say `answer`, and keep `contacts`.

    contacts   key -> fields as stored
    messages   texts for people, of vendors that take digests
    exchanges  all that happened, in order
    silent     keys that are stored, and passed over in the answer
    wrong      keys that are refused, of vendors that take jobs
    """

    content_type = "application/json"

    def __init__(self) -> None:
        self.contacts: dict[str, dict[str, Any]] = {}
        self.exchanges: list[Exchange] = []
        self.messages: list[str] = []
        self.silent: set[str] = set()
        self.wrong: set[str] = set()
        self._scripted: deque[Reply] = deque()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def requests(self) -> list[Request]:
        return [exchange.request for exchange in self.exchanges]

    def will_answer(self, status: int, body: Any = b"", **headers: str) -> None:
        """Answer one of the next data requests so, without acting; tokens are given as always."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._scripted.append(Reply(status, body, named))

    def answer(self, request: Request) -> Reply:
        """Act on a request: every vendor's own."""
        raise NotImplementedError

    def token(self, _request: Request) -> Reply | None:
        """The answer to a request for a token; None if it is none."""
        return None

    def exchange(self, request: Request) -> Reply:
        with self._lock:
            reply = self.token(request)
            if reply is None:
                scripted = self._scripted.popleft() if self._scripted else None
                reply = scripted or self.answer(request)
            self.exchanges.append(Exchange(request, reply))
            return reply

    def write(self, key: str, fields: Mapping[str, Any], cleared: Any = None) -> bool:
        """Merge fields into a contact; those that equal `cleared` go. Was it new?"""
        is_new = key not in self.contacts
        held = self.contacts.setdefault(key, {})
        for name, value in fields.items():
            if value == cleared and value is not False and value != 0:
                held.pop(name, None)
            else:
                held[name] = value
        return is_new


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves an answer unread is expected, anything else is a mistake."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler(vendor: Vendor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length") or 0))
            reply = vendor.exchange(Request(self.command, parts.path, query, headers, body))
            self.send_response(reply.status)
            self.send_header("content-length", str(len(reply.raw)))
            for name, value in {"content-type": vendor.content_type, **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.raw)

        do_GET = do_PUT = do_PATCH = do_POST  # noqa: N815 - names that http.server looks up

    return Handler

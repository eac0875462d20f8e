"""The demo's CRM: it takes signed webhooks on loopback, and keeps a contact for each customer."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from integrations.outbound import signing
from integrations.outbound.errors import SignatureError

_MOST_BYTES: Final = 1 << 20

#: (customer, event that the insight goes through, monotonic seconds of receipt)
Received = Callable[[str, str, float], None]


@dataclass(slots=True)
class Contacts:
    """What the CRM holds, and what it saw."""

    by_id: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: int = 0
    bad_signatures: int = 0
    repeated: int = 0
    outdated: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    deliveries: set[str] = field(default_factory=set)

    def upsert(self, delivery_id: str, insight: dict[str, Any]) -> None:
        """Keep an insight, unless it is older than the one that is there."""
        with self.lock:
            self.calls += 1
            self.repeated += delivery_id in self.deliveries
            self.deliveries.add(delivery_id)
            held = self.by_id.get(insight["customer_id"])
            if held is not None and held["insight_version"] > insight["insight_version"]:
                self.outdated += 1
            else:
                self.by_id[insight["customer_id"]] = insight


class Crm:
    """The server. `url` and `secret` are what crm-reflex is told."""

    def __init__(self, received: Received) -> None:
        self.secret = signing.PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        self.contacts = Contacts()
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), _handler(self.contacts, signing.key_of(self.secret), received)
        )
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="demo-crm", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/contacts"

    def start(self) -> None:
        """Listen, in threads."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _handler(contacts: Contacts, key: bytes, received: Received) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            came = time.monotonic()
            length = min(int(self.headers.get("content-length") or 0), _MOST_BYTES)
            body = self.rfile.read(length)
            try:
                delivery_id = signing.verify(
                    [key], dict(self.headers.items()), body, now_s=int(time.time())
                )
            except SignatureError:
                with contacts.lock:
                    contacts.bad_signatures += 1
                self._answer(401)
                return
            insight = json.loads(body)["data"]
            contacts.upsert(delivery_id, insight)
            self._answer(204)
            received(insight["customer_id"], insight.get("through_event_id") or "", came)

        def _answer(self, status: int) -> None:
            self.send_response_only(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The demo's own table tells more."""

    return Handler

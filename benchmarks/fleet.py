"""A whole installation on one machine: supervised worker processes, and a CRM that counts."""

from __future__ import annotations

import base64
import json
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from integrations.outbound.errors import SignatureError
from integrations.outbound.signing import keys_of, verify
from worker.store.signals import Reports
from worker.supervise import Supervisor, stage_commands

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


class Receipt(NamedTuple):
    """One accepted call."""

    at: float  # perf_counter
    customer_id: str
    version: int
    through_event_id: str
    insight: dict[str, Any]


class Crm:
    """Verifies signatures, keeps each customer's newest insight, and remembers every receipt."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.contacts: dict[str, Receipt] = {}
        self.refused = 0
        keys = keys_of([SECRET])
        crm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                try:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    verify(keys, headers, body, now_s=int(time.time()))
                except SignatureError:
                    crm.refused += 1
                    self._answer(401)
                    return
                crm.take(json.loads(body)["data"])
                self._answer(204)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, insight: dict[str, Any]) -> None:
        """Keep an insight, unless a newer one is there."""
        receipt = Receipt(
            time.perf_counter(), insight["customer_id"], insight["insight_version"],
            insight["through_event_id"] or "", insight,
        )  # fmt: skip
        self.receipts.append(receipt)
        held = self.contacts.get(receipt.customer_id)
        if held is None or held.version < receipt.version:
            self.contacts[receipt.customer_id] = receipt

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


class Fleet:
    """Running workers; a thread restarts those that end.

    stages  of them; all and beat if none is named
    """

    def __init__(
        self, url: str, crm: Crm, settings: Mapping[str, str], stages: Collection[str] = ()
    ) -> None:
        self.events: list[tuple[str, str]] = []
        self.lines: list[tuple[str, str]] = []
        environment = {
            **os.environ,
            "CRM_REFLEX_REDIS_URL": url,
            "CRM_REFLEX_WEBHOOK_URL": crm.url,
            "CRM_REFLEX_WEBHOOK_SECRET": SECRET,
            "CRM_REFLEX_WEBHOOK_ALLOW_PRIVATE": "true",
            "CRM_REFLEX_LOG_LEVEL": "WARNING",
            **{f"CRM_REFLEX_{name.upper()}": value for name, value in settings.items()},
        }
        self.supervisor = Supervisor(
            {
                name: command
                for name, command in stage_commands(deliver=True).items()
                if not stages or name in stages
            },
            env=environment,
            on_line=lambda name, line: self.lines.append((name, line)),
            on_event=lambda name, text: self.events.append((name, text)),
        )
        self._stop = threading.Event()
        self.supervisor.start()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def wait_ready(self, reports: Reports, timeout_s: float = 180.0) -> None:
        """Wait until every worker has reported; where nobody did before, refresh compiles first."""
        deadline = time.monotonic() + timeout_s
        workers = len(set(self.supervisor.starts()) - {"beat"})  # beat reports nothing
        while len(reports.all()) < workers:
            if time.monotonic() > deadline:
                raise RuntimeError("\n".join(line for _, line in self.lines[-40:]))
            time.sleep(0.1)

    def _keep(self) -> None:
        while not self._stop.wait(0.2):
            self.supervisor.poll()

    def close(self) -> None:
        """Stop all workers; again does nothing."""
        self._stop.set()
        self._thread.join()
        self.supervisor.stop(grace_s=20)


@contextmanager
def fleet(url: str, crm: Crm, stages: Collection[str] = (), **settings: str) -> Iterator[Fleet]:
    """Workers for the length of the block: of some stages, or of every one and beat."""
    running = Fleet(url, crm, settings, stages)
    try:
        yield running
    finally:
        running.close()

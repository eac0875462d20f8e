"""A receiver on loopback that answers as a test programs it, and remembers what it got."""

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """One programmed answer.

    reset      read the request, then reset the connection instead of answering
    hang       read the request, then say nothing until the test ends
    drip_s     seconds between the bytes of the whole answer, status line included
    lie_bytes  promise so many bytes more than are sent, then close
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: bool = False
    hang: bool = False
    drip_s: float = 0.0
    lie_bytes: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A client that hangs up is what these tests are about."""


class Crm:
    """The server: program it with `will_answer`, read `received`."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.connections: set[tuple[str, int]] = set()
        self._answers: deque[Answer] = deque()
        self._over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def will_answer(self, status: int = 200, **how: object) -> None:
        """Queue one answer; without any, the server says 200."""
        self._answers.append(Answer(status, **how))

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length") or 0)
        body = handler.rfile.read(length)
        self.connections.add(handler.client_address)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.received.append(Received(handler.command, handler.path, headers, body))
        answer = self._answers.popleft() if self._answers else Answer()
        if answer.hang:
            self._over.wait()
        if answer.hang or answer.reset:
            self._reset(handler.connection)
            handler.close_connection = True
            return
        self._write(handler, answer)

    def _write(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        length = str(len(answer.body) + answer.lie_bytes)
        fields = {"Content-Length": length, **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} Programmed", *(f"{n}: {v}" for n, v in fields.items())]
        whole = "\r\n".join([*lines, "", ""]).encode() + answer.body
        pieces = [whole] if not answer.drip_s else [bytes([byte]) for byte in whole]
        with contextlib.suppress(OSError):
            for piece in pieces:
                handler.connection.sendall(piece)
                if answer.drip_s and self._over.wait(answer.drip_s):
                    break
        if answer.lie_bytes or answer.drip_s:
            handler.close_connection = True

    @staticmethod
    def _reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            connection.close()


def _handler(crm: Crm) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            crm.answer(self)

        do_GET = do_PUT = do_PATCH = do_POST  # noqa: N815 - names that http.server looks up

    return Handler


@contextlib.contextmanager
def running() -> Iterator[Crm]:
    crm = Crm()
    try:
        yield crm
    finally:
        crm.close()

"""A small proxy in front of a server, that breaks connections in the ways that networks do."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Self
from urllib.parse import unquote, urlsplit

CHUNK = 65_536
NO_LINGER = struct.pack("ii", 1, 0)


class Fault(Enum):
    """What happens to the next bytes that pass."""

    NONE = "everything passes"
    DROP_REPLY = "a request reaches the server; its reply is swallowed and the connection closed"
    BLACKHOLE = "nothing passes in either direction, nothing is closed"
    RESET = "connections are reset (RST) as soon as bytes come"
    REFUSE = "new connections are closed at once, old ones reset"


class Proxy:
    """Listens on a loopback port; every connection is forwarded to `url` (TCP or Unix socket).

    fault      the current `Fault`; set it at any time, or for a while by `with proxy.failing(...)`
    delay_s    seconds that every reply waits
    limit      how many times `fault` strikes before everything passes again; None = without end
    struck     how many times a fault struck
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = unquote(parts.path) if parts.scheme == "unix" else ""
        self._address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._auth = parts.netloc.rpartition("@")[0]
        self.fault = Fault.NONE
        self.delay_s = 0.0
        self.limit: int | None = None
        self.struck = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._doomed: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def url(self) -> str:
        """For redis-py, instead of the server's own."""
        auth = f"{self._auth}@" if self._auth else ""
        return f"redis://{auth}127.0.0.1:{self._listener.getsockname()[1]}/0"

    @contextmanager
    def failing(self, fault: Fault, *, limit: int | None = None) -> Iterator[Self]:
        """Let `fault` strike while the block runs, at most `limit` times."""
        self.limit, self.fault = limit, fault
        try:
            yield self
        finally:
            self.fault, self.limit = Fault.NONE, None

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError):  # wakes the accepting thread
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Close every connection now."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """Connect to the server; one thread for each direction until either end closes."""
        if self._strikes(Fault.REFUSE):
            self._doom(client)
            self._doomed.discard(client)
            client.close()
            return
        try:
            server = self._connect()
        except OSError:
            client.close()
            return
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server, requests=True)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()
        self._doomed.discard(client)

    def _connect(self) -> socket.socket:
        if not self._target:
            return socket.create_connection(self._address, timeout=5)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        return server

    def _pump(self, source: socket.socket, sink: socket.socket, *, requests: bool = False) -> None:
        source.settimeout(None)
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                while self.fault is Fault.BLACKHOLE and not self._closed:
                    time.sleep(0.01)
                if self._strikes(Fault.RESET) or self._strikes(Fault.REFUSE):
                    self._doom(source if requests else sink)
                    break
                if not requests:
                    if self._strikes(Fault.DROP_REPLY):
                        break
                    time.sleep(self.delay_s)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD if end in self._doomed else socket.SHUT_RDWR)

    def _doom(self, client: socket.socket) -> None:
        """Make the close of `client` a reset: it must not be shut down for writing before."""
        self._doomed.add(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)

    def _strikes(self, fault: Fault) -> bool:
        """Whether `fault` is on; counts the stroke and ends it at the limit."""
        with self._lock:
            if self.fault is not fault:
                return False
            self.struck += 1
            if self.limit is not None:
                self.limit -= 1
                if self.limit <= 0:
                    self.fault, self.limit = Fault.NONE, None
            return True

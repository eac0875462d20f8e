"""A total deadline for one call: at the end of it, the sockets of the call are shut down.

The timeouts of sockets count from byte to byte, so a receiver that drips one byte at a time
could hold a call for ever, in the TLS handshake, the headers or the body. Resolving the name is
the one step that no deadline here can end; the resolver's own timeouts bound it.
"""

import socket
from contextlib import suppress
from contextvars import ContextVar
from threading import Lock, Timer
from types import TracebackType
from typing import Any, Final, Self

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class Deadline:
    """Context of one call; `passed` tells afterwards whether the time was up."""

    def __init__(self, total_s: float) -> None:
        self.passed = False
        self._lock = Lock()
        self._sockets: list[socket.socket] = []
        self._timer = Timer(total_s, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._token = _CURRENT.set(self)
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        _CURRENT.reset(self._token)
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    def watch(self, sock: socket.socket) -> None:
        """Shut this connection down when the time is up.

        A duplicate of the descriptor is kept: wrapping a socket in TLS empties the first object.
        """
        twin = socket.fromfd(sock.fileno(), sock.family, sock.type)
        with self._lock:
            self._sockets.append(twin)
            if self.passed:
                _shut(twin)

    def _expire(self) -> None:
        with self._lock:
            self.passed = True
            for each in self._sockets:
                _shut(each)


_CURRENT: Final[ContextVar[Deadline | None]] = ContextVar("deadline", default=None)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _watch(sock: socket.socket | None) -> None:
    deadline = _CURRENT.get()
    if deadline is not None and sock is not None:
        deadline.watch(sock)


class _Watched:
    """Registers its socket when it opens (before TLS) and at each reuse."""

    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        _watch(sock)
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        _watch(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


class _WatchedHTTP(_Watched, HTTPConnection):
    pass


class _WatchedHTTPS(_Watched, HTTPSConnection):
    pass


class WatchedHTTPPool(HTTPConnectionPool):
    """Connections that a `Deadline` can end."""

    ConnectionCls = _WatchedHTTP


class WatchedHTTPSPool(HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = _WatchedHTTPS

"""A total deadline for one call: at the end of it, the sockets of the call are shut down.

The timeouts of sockets count from byte to byte, so a receiver that drips one byte at a time
could hold a call for ever, in the TLS handshake, the headers or the body. Resolving the name is
the one step that no deadline here can end; the resolver's own timeouts bound it.
"""

import math
import os
import socket
import time
from contextlib import suppress
from contextvars import ContextVar
from threading import Condition, Lock, Thread
from types import TracebackType
from typing import Any, Final, Self

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _Alarm:
    """One thread for the deadlines of all calls: a timer each would cost a thread a call."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._ends: dict[Deadline, float] = {}
        self._wakes = math.inf
        self._thread: Thread | None = None

    def begin(self, deadline: "Deadline", at: float) -> None:
        """Let it expire at an instant of the monotonic clock."""
        with self._changed:
            self._ends[deadline] = at
            if self._thread is None:
                self._thread = Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif at < self._wakes:
                self._changed.notify()

    def end(self, deadline: "Deadline") -> None:
        """It does not expire any more."""
        with self._changed:
            self._ends.pop(deadline, None)

    def _run(self) -> None:
        while True:
            for deadline in self._late():
                deadline.expire()

    def _late(self) -> list["Deadline"]:
        with self._changed:
            now = time.monotonic()
            late = [deadline for deadline, at in self._ends.items() if at <= now]
            for deadline in late:
                del self._ends[deadline]
            if not late:
                self._wakes = min(self._ends.values(), default=math.inf)
                self._changed.wait(None if self._wakes == math.inf else self._wakes - now)
            return late


class Deadline:
    """Context of one call; `passed` tells afterwards whether the time was up."""

    def __init__(self, total_s: float) -> None:
        self.passed = False
        self._lock = Lock()
        self._sockets: list[socket.socket] = []
        self._total_s = total_s

    def __enter__(self) -> Self:
        self._token = _CURRENT.set(self)
        _ALARMS[0].begin(self, time.monotonic() + self._total_s)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _ALARMS[0].end(self)
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

    def expire(self) -> None:
        """The time is up."""
        with self._lock:
            self.passed = True
            for each in self._sockets:
                _shut(each)


_ALARMS: Final = [_Alarm()]
# a forked process has none of its parent's threads, and perhaps a lock that one of them held
os.register_at_fork(after_in_child=lambda: _ALARMS.__setitem__(0, _Alarm()))
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

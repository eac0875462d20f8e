"""Run the scripts in `lua/`: by their SHA-1, loaded again when the server has forgotten them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as ReplyTimeoutError

Client = Any  # Redis or RedisCluster in bytes mode; redis-py's own types do not tell replies apart


class Call(NamedTuple):
    """One script call: all keys declared, all of one slot."""

    name: str
    keys: Sequence[str]
    args: Sequence[Any]


@cache
def source(name: str) -> str:
    """The text of `lua/<name>.lua`."""
    return (files("worker.store") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


@cache
def digest(name: str) -> str:
    """The SHA-1 of a script, as EVALSHA wants it."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Every script may be repeated: it compares before it writes, and writes absolute values."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run one script and return its reply; server errors are raised."""
        return self.run_all([Call(name, keys, args)])[0]

    def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run several scripts in one round trip; the first server error is raised at the end."""
        replies = self._send(calls)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            for name in {calls[i].name for i in missing}:
                self._client.script_load(source(name))
            again = self._send([calls[i] for i in missing])
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _send(self, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for name, keys, args in calls:
            pipeline.execute_command("EVALSHA", digest(name), len(keys), *keys, *args)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    @contextmanager
    def ahead(self) -> Iterator[Ahead]:
        """Send script calls without waiting: the server works while the caller prepares the next.

        Leaving the block without `replies` gives the connection up with what is under way on it.
        """
        pool = getattr(self._client, "connection_pool", None)
        connection = pool.get_connection() if pool is not None else None  # a Cluster has no one
        ahead = Ahead(self, connection)
        try:
            yield ahead
        finally:
            if connection is not None and pool is not None:
                if ahead.unread:
                    connection.disconnect()
                pool.release(connection)


class Ahead:
    """Calls whose replies are read later, in their order; made by `Scripts.ahead`."""

    def __init__(self, scripts: Scripts, connection: Any) -> None:
        self._scripts = scripts
        self._connection = connection
        self._calls: list[Call] = []
        self.unread = 0

    def send(self, call: Call) -> None:
        """Send one call. A lost connection is not told here: `replies` repeats the call."""
        self._calls.append(call)
        if self._connection is None:
            return
        name, keys, args = call
        try:
            packed = self._connection.pack_command("EVALSHA", digest(name), len(keys), *keys, *args)
            self._connection.send_packed_command(packed, check_health=self.unread == 0)
            self.unread += 1
        except (LostConnectionError, ReplyTimeoutError):
            self._give_up()

    def replies(self) -> list[Any]:
        """One reply per call. What the connection lost or the server did not know is repeated."""
        found: list[Any] = []
        while self.unread:
            try:
                found.append(self._connection.read_response())
            except (LostConnectionError, ReplyTimeoutError):
                self._give_up()
                break
            except ResponseError as error:
                found.append(error)
            self.unread -= 1
        again = [i for i, _ in enumerate(self._calls) if _is_missing(found, i)]
        repeated = self._scripts.run_all([self._calls[i] for i in again]) if again else []
        found += [None] * (len(self._calls) - len(found))
        for i, reply in zip(again, repeated, strict=True):
            found[i] = reply
        self._calls = []
        for reply in found:
            if isinstance(reply, RedisError):
                raise reply
        return found

    def _give_up(self) -> None:
        self._connection.disconnect()
        self._connection = None
        self.unread = 0


def _is_missing(replies: Sequence[Any], i: int) -> bool:
    return i >= len(replies) or isinstance(replies[i], NoScriptError)

"""Run the scripts in `lua/`: by their SHA-1, loaded again when the server has forgotten them."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import hiredis
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as ReplyTimeoutError

Client = Any  # Redis or RedisCluster in bytes mode; redis-py's own types do not tell replies apart


class Call(NamedTuple):
    """One script call: all keys declared, all of one slot."""

    name: str
    keys: Sequence[str]
    args: Sequence[Any]


class Command(NamedTuple):
    """One plain command that may be repeated."""

    words: Sequence[Any]


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
        """Send calls without waiting: the server works while the caller prepares the next.

        Leaving the block with replies unread gives the connection up with what is under way on it.
        """
        pool = getattr(self._client, "connection_pool", None)
        connection = pool.get_connection() if pool is not None else None  # a Cluster has no one
        ahead = Ahead(self._client, self, connection)
        try:
            yield ahead
        finally:
            if connection is not None and pool is not None:
                if ahead.unread:
                    connection.disconnect()
                pool.release(connection)


class Ahead:
    """Calls whose replies are read later, in their order; made by `Scripts.ahead`.

    All of them may be repeated: what the connection lost is.
    """

    def __init__(self, client: Client, scripts: Scripts, connection: Any) -> None:
        self._client = client
        self._scripts = scripts
        self._connection = connection
        self._calls: deque[Call | Command] = deque()
        self.unread = 0  # replies that the connection still owes, of the oldest calls

    def send(self, call: Call | Command) -> None:
        """Send one call. A lost connection is not told here: `reply` repeats the call."""
        self._calls.append(call)
        if self._connection is None:
            return
        try:
            packed = hiredis.pack_command(tuple(_words(call)))
            self._connection.send_packed_command([packed], check_health=self.unread == 0)
            self.unread += 1
        except (LostConnectionError, ReplyTimeoutError):
            self._give_up()

    def reply(self) -> Any:
        """The reply to the oldest call that has none yet; server errors are raised."""
        call = self._calls.popleft()
        if self.unread:
            try:
                found = self._connection.read_response()
            except (LostConnectionError, ReplyTimeoutError):
                self._give_up()
                return self._again(call)
            except NoScriptError:
                self.unread -= 1
                return self._again(call)
            except ResponseError:
                self.unread -= 1
                raise
            self.unread -= 1
            return found
        return self._again(call)

    def _again(self, call: Call | Command) -> Any:
        if isinstance(call, Call):
            return self._scripts.run(*call)
        return self._client.execute_command(*call.words)

    def _give_up(self) -> None:
        self._connection.disconnect()
        self._connection = None
        self.unread = 0


def _words(call: Call | Command) -> Sequence[Any]:
    if isinstance(call, Call):
        return ("EVALSHA", digest(call.name), len(call.keys), *call.keys, *call.args)
    return call.words

"""Run the scripts in `lua/`: by their SHA-1, loaded again when the server has forgotten them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

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

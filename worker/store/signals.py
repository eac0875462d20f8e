"""How processes find each other's work: locks with a time to live, and bells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker.store.keys import Keys
from worker.store.scripts import Client, Scripts


class Locks:
    """Locks save work; nothing's correctness rests on them."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def take(self, name: str, token: str, ttl_ms: int) -> bool:
        """Take a lock; False while somebody else holds it."""
        return bool(self._client.set(self._keys.lock(name), token, nx=True, px=ttl_ms))

    def renew(self, name: str, token: str, ttl_ms: int) -> bool:
        """Keep a lock that is ours; False if it is not any more."""
        return bool(self._scripts.run("renew", [self._keys.lock(name)], [token, ttl_ms]))

    def release(self, name: str, token: str) -> bool:
        """Give a lock back; False if it was not ours any more."""
        return bool(self._scripts.run("unlock", [self._keys.lock(name)], [token]))

    def held(self, name: str) -> bool:
        """Does anybody hold the lock?"""
        return bool(self._client.exists(self._keys.lock(name)))


class Bells:
    """A stage that has made work for another rings; a waiting pump of that stage wakes at once."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def ring(self, stage: str) -> None:
        """Wake one waiting pump of a stage, now or when it next waits."""
        key = self._keys.bell(stage)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.rpush(key, b"1")
        pipeline.ltrim(key, -1, -1)
        pipeline.execute()

    def wait(self, stage: str, timeout_s: float) -> bool:
        """Wait for a ring; False when none came in time."""
        return self._client.blpop([self._keys.bell(stage)], timeout=timeout_s) is not None


class Reports:
    """What workers tell about themselves, for `status`."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def put(self, node: str, report: Mapping[str, Any]) -> None:
        """Replace the report of a worker."""
        self._client.hset(self._keys.workers(), node, json.dumps(report))

    def drop(self, node: str) -> None:
        """Forget a worker that stopped."""
        self._client.hdel(self._keys.workers(), node)

    def all(self) -> dict[str, dict[str, Any]]:
        """The last report of every worker."""
        rows = self._client.hgetall(self._keys.workers())
        return {node.decode(): json.loads(report) for node, report in sorted(rows.items())}

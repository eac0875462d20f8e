"""The rollout of models: whom the live versions have not scored yet, and at what pace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from worker.store.keys import Keys
from worker.store.refreshing import Mark
from worker.store.scripts import Call, Client, Scripts

_HOUR_MS: Final = 3_600_000


class Permit(NamedTuple):
    """What a process may score now: so many customers of a shard.

    generation  that is rolled out; 0 = of other versions, -1 = nothing is left
    """

    generation: int
    customers: int
    shard: int


class Progress(NamedTuple):
    """How far the newest rollout is.

    generation  of the models that are rolled out; 0 = there was none yet
    versions    live version of each kind        before  of the rollout before it
    total       customers when it began          done    customers of the shards that are done
    finished_s  None while it is under way
    """

    generation: int = 0
    versions: Mapping[str, int] = {}
    before: Mapping[str, int] = {}
    total: int = 0
    done: int = 0
    shard: int = 0
    started_s: int = 0
    finished_s: int | None = None

    @property
    def changed(self) -> tuple[str, ...]:
        """The kinds whose version is another one than before."""
        pairs = self.versions.items()
        return tuple(sorted(kind for kind, one in pairs if self.before.get(kind) != one))


class RolloutStore:
    """Refresh writes it; everybody may read it."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def begin(
        self, generation: int, versions: Mapping[str, int], customers: int, at_s: int
    ) -> bool:
        """Have every customer scored by these versions; False if that is under way or done."""
        told = json.dumps(versions, sort_keys=True)
        args = [generation, told, customers, at_s]
        return bool(self._scripts.run("rollout_begin", [self._keys.rollout()], args))

    def permit(self, versions: str, wanted: int, rate: float) -> Permit:
        """How many customers may be scored now, and in which shard.

        versions  live ones of who asks, as JSON with sorted names
        rate      customers a second, over all processes
        """
        args = [versions, wanted, rate]
        found = self._scripts.run("rollout_permit", [self._keys.rollout()], args)
        return Permit(*(int(number) for number in found))

    def stale(self, permit: Permit, now_s: int) -> list[str]:
        """Customers of a shard that are not scored yet. Without any, the next shard follows."""
        k, (generation, count, shard) = self._keys, permit
        keys = [k.customers(shard), k.stale(shard), k.refresh_stats(shard)]
        left, customers, found = self._scripts.run("stale", keys, [generation, count])
        if not left:
            args = [generation, shard, k.shards, customers, now_s]
            self._scripts.run("rollout_advance", [k.rollout()], args)
        return [customer.decode() for customer in found]

    def unmark(self, marks: Sequence[Mark], generation: int) -> None:
        """Customers that need not be scored, or cannot be."""
        by_shard = groupby(sorted(marks, key=_shard), _shard)
        calls = [
            Call(
                "unstale",
                [self._keys.stale(shard)],
                [generation, *(mark.customer_id for mark in found)],
            )
            for shard, found in by_shard
        ]
        if calls:
            self._scripts.run_all(calls)

    def pushes(self, count: int, most_an_hour: int) -> list[str]:
        """When destinations may be told of so many customers: Unix ms, "" = at once."""
        if not count:
            return []
        args = [count, most_an_hour]
        rows = self._scripts.run("rollout_pushes", [self._keys.rollout_pushes()], args)
        return [row.decode() for row in rows]

    def news(self, customers: Sequence[tuple[int, str]], destinations: Sequence[str]) -> list[bool]:
        """Whose change some destination would be told of: it knows the customer, and no change of
        the customer waits for it yet.
        """
        pipeline = self._client.pipeline(transaction=False)
        for shard, customer in customers:
            for name in destinations:
                pipeline.hexists(self._keys.delivered(shard), f"{name}\x1f{customer}")
                pipeline.zscore(self._keys.outbox(shard, name), customer)
        replies = pipeline.execute() if customers and destinations else []
        each = 2 * len(destinations)
        return [
            any(
                knows and waits is None
                for knows, waits in zip(
                    replies[at * each : (at + 1) * each : 2],
                    replies[at * each + 1 : (at + 1) * each : 2],
                    strict=True,
                )
            )
            for at in range(len(customers))
        ]

    def progress(self) -> Progress:
        """How far the newest rollout is."""
        rows = self._client.hgetall(self._keys.rollout())
        held = {name.decode(): value.decode() for name, value in rows.items()}
        if not held:
            return Progress()
        done, shard = int(held["done"]), int(held["shard"])
        finished = held.get("finished_s")
        if finished is None and shard < self._keys.shards:
            done += self._done_of(shard, int(held["generation"]))
        return Progress(
            int(held["generation"]),
            json.loads(held["versions"]),
            json.loads(held["before"]),
            int(held["total"]),
            done,
            shard,
            int(held["started_s"]),
            None if finished is None else int(finished),
        )

    def _done_of(self, shard: int, generation: int) -> int:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hget(self._keys.refresh_stats(shard), "stale_generation")
        pipeline.scard(self._keys.customers(shard))
        pipeline.zcard(self._keys.stale(shard))
        marked, customers, left = pipeline.execute()
        return max(0, int(customers) - int(left)) if int(marked or 0) >= generation else 0

    def held_back(self, now_ms: int, most_an_hour: int) -> tuple[int, int]:
        """How many pushes wait for a later hour, about, and the Unix s at which the last goes."""
        burst = max(1, most_an_hour // 2)
        each_ms = _HOUR_MS / max(1, most_an_hour - burst)
        arrival_ms = float(self._client.get(self._keys.rollout_pushes()) or 0)
        last_ms = arrival_ms - burst * each_ms
        if last_ms <= now_ms:
            return 0, now_ms // 1000
        return int((last_ms - now_ms) / each_ms), int(last_ms / 1000)


def _shard(mark: Mark) -> int:
    return mark.shard

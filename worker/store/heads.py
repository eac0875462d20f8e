"""What waits in the mailboxes of all shards, by one call: most of them are empty at any time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from redis.cluster import RedisCluster

from worker.store.scripts import Call, Client, Scripts

#: The server's clock, Unix ms.
NOW: Final = "now"


class Head(NamedTuple):
    """A member of one of the ZSETs that were asked for, counted from 0."""

    place: int
    member: str
    score: int


def takes_keys_of_all_shards(client: Client) -> bool:
    """May one command name keys of several shards? A Cluster holds them on several nodes."""
    return not isinstance(client, RedisCluster)


class Heads:
    """Reads the members of lowest score of many ZSETs."""

    def __init__(self, client: Client) -> None:
        self._scripts = Scripts(client)
        self._at_once = takes_keys_of_all_shards(client)

    def read(
        self, keys: Sequence[str], limits: Sequence[int], highest: int | str = "+inf"
    ) -> list[Head]:
        """Members with a score of `highest` at most, the lowest first, of one ZSET after the other.

        limits  of each ZSET: members at most
        """
        step = len(keys) if self._at_once else 1
        calls = [
            Call("heads", keys[at : at + step], [highest, *limits[at : at + step]])
            for at in range(0, len(keys), step or 1)
        ]
        found = []
        for at, reply in enumerate(self._scripts.run_all(calls) if calls else []):
            for number, *row in reply:
                place = at * step + number - 1
                pairs = zip(row[::2], row[1::2], strict=True)
                found += [Head(place, who.decode(), int(float(score))) for who, score in pairs]
        return found

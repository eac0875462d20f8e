"""The figures that say whether models still fit: as `models.watch` last measured them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from worker.store.keys import Keys
from worker.store.scripts import Client


class Figure(NamedTuple):
    """One figure about the live version of a kind.

    threshold  above it the figure asks for a training; None = it is only shown
    sure       the excess is more than chance
    since_s    since when it asks, Unix s; None = it does not
    at_s       when it was measured, Unix s
    """

    kind: str
    name: str
    version: int
    value: float
    threshold: float | None
    sure: bool
    at_s: int
    since_s: int | None = None

    @property
    def asks(self) -> bool:
        """It is above its threshold, and not by chance."""
        return self.threshold is not None and self.sure and self.value > self.threshold


class WatchStore:
    """Figures by kind and name. `models.watch` is the only writer."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._key = keys.watched()

    def put(self, figures: Iterable[Figure]) -> list[Figure]:
        """Replace figures; one that asked before of the same version keeps its beginning."""
        before = {(one.kind, one.name): one for one in self.all()}
        kept = []
        for one in figures:
            held = before.get((one.kind, one.name))
            since_s = None
            if one.asks:
                lasting = held is not None and held.asks and held.version == one.version
                since_s = held.since_s if held is not None and lasting else one.at_s
            kept.append(one._replace(since_s=since_s))
        if kept:
            rows = {f"{one.kind}:{one.name}": json.dumps(one._asdict()) for one in kept}
            self._client.hset(self._key, mapping=rows)
        return kept

    def all(self) -> list[Figure]:
        """The last figures, by kind and name."""
        rows = self._client.hgetall(self._key)
        return [Figure(**json.loads(row)) for _, row in sorted(rows.items())]

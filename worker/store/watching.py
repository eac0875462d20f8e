"""The figures that say whether models still fit: as `models.watch` last measured them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from worker.store.keys import Keys
from worker.store.scripts import Client

#: What an alarm gives as the reason of the training that it asks for.
_ALARM: Final = re.compile(r"(inertia|loss) \d+\.\d{3} > [\d.]+")


class Figure(NamedTuple):
    """One figure about the live version of a kind.

    threshold  above it the figure asks for a training; None = it is only shown
    sure       the excess is more than chance
    since_s    since when it rings, Unix s; None = it does not
    at_s       when it was measured, Unix s
    only_told  it rings, and asks for nothing
    """

    kind: str
    name: str
    version: int
    value: float
    threshold: float | None
    sure: bool
    at_s: int
    since_s: int | None = None
    only_told: bool = False

    def reason(self) -> str:
        """Of the training that it asks for.

        >>> Figure("segments", "inertia", 1, 1.2, 1.1, True, 0).reason()
        'inertia 1.200 > 1.1'
        """
        return f"{self.name} {self.value:.3f} > {self.threshold:g}"

    @property
    def rings(self) -> bool:
        """It is above its threshold, and not by chance."""
        return self.threshold is not None and self.sure and self.value > self.threshold

    @property
    def asks(self) -> bool:
        """A training is called for."""
        return self.rings and not self.only_told


def are_alarms(reasons: Sequence[str]) -> bool:
    """Was a training asked for only because the live version serves badly, and not by time, growth
    or a person? Then what comes of it must be better, not only no worse.

    >>> are_alarms(["loss 1.071 > 1.05"]), are_alarms(["loss 1.071 > 1.05", "age"])
    (True, False)
    """
    return bool(reasons) and all(map(_ALARM.fullmatch, reasons))


class WatchStore:
    """Figures by kind and name. `models.watch` is the only writer."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._key = keys.watched()

    def put(self, figures: Iterable[Figure]) -> list[Figure]:
        """Replace figures; one that rang before of the same version keeps its beginning."""
        before = {(one.kind, one.name): one for one in self.all()}
        kept = []
        for one in figures:
            held = before.get((one.kind, one.name))
            since_s = None
            if one.rings:
                lasting = held is not None and held.rings and held.version == one.version
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

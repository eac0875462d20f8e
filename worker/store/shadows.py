"""What versions in the shadow have shown: how they differ from the live one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from worker.store.keys import Keys
from worker.store.scripts import Client

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Shadowed(NamedTuple):
    """A version in the shadow, beside the version that was live when it began.

    begun_s       Unix s
    begun_events  events that had been applied by then
    seen          last change of each shard that was looked at
    customers     that were scored by both, one who came several times counted as often
    figures       means over them, by name
    at_s          of the last look, Unix s
    """

    kind: str
    version: int
    champion: int
    begun_s: int
    begun_events: int
    seen: Mapping[str, str] = _NOTHING
    customers: int = 0
    figures: Mapping[str, float] = _NOTHING
    at_s: int = 0

    def told(self) -> dict[str, Any]:
        """For people and for JSON."""
        return {
            "beside": self.champion,
            "begun_s": self.begun_s,
            "customers": self.customers,
            **{name: round(value, 4) for name, value in sorted(self.figures.items())},
        }


class ShadowStore:
    """By kind and version. `models.shadow` is the only writer."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._key = keys.model_shadows()

    def get(self, kind: str, version: int) -> Shadowed | None:
        """One version's; None before its first look."""
        value = self._client.hget(self._key, f"{kind}:{version}")
        return None if value is None else Shadowed(**json.loads(value))

    def put(self, one: Shadowed) -> None:
        """Replace one version's."""
        row = {**one._asdict(), "seen": dict(one.seen), "figures": dict(one.figures)}
        self._client.hset(self._key, f"{one.kind}:{one.version}", json.dumps(row))

"""The catalog: what is known of items, the newest statement of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from integrations.inbound.products import Product
from worker.store.keys import Keys
from worker.store.scripts import Call, Client, Scripts

_CHUNK: Final = 500
_SCAN: Final = 1_000


class Stated(NamedTuple):
    """A product, and when it was said.

    at_s  Unix s, >= 0
    tie   decides between statements of the same second: the greater wins
    """

    product: Product
    at_s: int
    tie: str = ""


class CatalogStore:
    """Items of the whole installation. Anybody may state; equal sets of statements end equal."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._keys = [keys.catalog(), keys.catalog_version()]

    def put(self, stated: Iterable[Stated]) -> int:
        """State items; how many changed what is known."""
        changed, rows = 0, iter(stated)
        while chunk := list(islice(rows, _CHUNK)):
            args = [part for one in chunk for part in _encoded(one)]
            changed += int(self._scripts.run_all([Call("catalog", self._keys, args)])[0])
        return changed

    def version(self) -> int:
        """Grows with every change; 0 while there is no catalog."""
        return int(self._client.get(self._keys[1]) or 0)

    def count(self) -> int:
        """Number of items, deleted ones too."""
        return int(self._client.hlen(self._keys[0]))

    def products(self) -> Iterator[Product]:
        """Every item, in any sequence; deleted ones too."""
        seen: set[bytes] = set()
        for item, value in self._client.hscan_iter(self._keys[0], count=_SCAN):
            if item not in seen:
                seen.add(item)
                yield _decoded(item, value)

    def find(self, item_id: str) -> Product | None:
        """One item, None if the catalog does not know it."""
        value = self._client.hget(self._keys[0], item_id)
        return None if value is None else _decoded(item_id.encode(), value)


def _encoded(one: Stated) -> tuple[str, str, str]:
    fields: dict[str, Any] = {
        name: value
        for name, value in one.product._asdict().items()
        if value != Product._field_defaults.get(name) and name != "item_id"
    }
    stamp = f"{one.at_s:011d}{one.tie}".replace(" ", "_")
    return one.product.item_id, stamp, json.dumps(fields, separators=(",", ":"), sort_keys=True)


def _decoded(item: bytes, value: bytes) -> Product:
    _, _, fields = value.partition(b" ")
    return Product(item.decode(), **json.loads(fields))

"""The catalog as refresh and training see it, and how rows of a file get into it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from integrations.inbound.products import Product, product_of
from integrations.rejection import RejectionError
from models.recommend.filters import Attributes, Rules
from worker.failures import RefusedError
from worker.insights.shelf import Shelf
from worker.store.catalog import CatalogStore, Stated

LOOK_EVERY_S: Final = 2.0


class BadRow(NamedTuple):
    """A row that was not taken: its number, counted from 1, and why."""

    number: int
    reason: str


def attributes(products: Iterable[Product]) -> dict[str, Attributes]:
    """The catalog by item id."""
    return {
        one.item_id: Attributes(
            one.name,
            one.category,
            one.brand,
            one.price_minor,
            one.cost_minor,
            one.available,
            one.deleted,
        )
        for one in products
    }


class Stock:
    """Keeps a shelf in step with the stored catalog: looks every two seconds."""

    def __init__(self, store: CatalogStore, rules: Rules) -> None:
        self.shelf = Shelf(rules=rules)
        self._store = store
        self._version = 0
        self._looked = float("-inf")

    def look(self, now: float) -> Shelf:
        """The shelf as the catalog is now. `now` is in seconds of any steady clock."""
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            version = self._store.version()
            if version != self._version:
                self.shelf.restock(attributes(self._store.products()))
                self._version = version
        return self.shelf


def rows_of(path: Path) -> Iterator[Any]:
    """The rows of a CSV, JSON Lines or Parquet file.

    Raises RefusedError where the file cannot be read as what its name says.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            from pyarrow import parquet  # noqa: PLC0415  slow to load

            for batch in parquet.ParquetFile(path).iter_batches(1_000):
                yield from batch.to_pylist()
        elif kind in {".jsonl", ".ndjson", ".json"}:
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        else:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                yield from csv.DictReader(lines)
    except (OSError, ValueError, csv.Error) as error:
        problem = getattr(error, "strerror", None) or "it is not what its name says"
        raise RefusedError(f"{path}: cannot be read: {problem}") from None


def read_rows(rows: Iterable[Any], currency: str, at_s: int, bad: list[BadRow]) -> Iterator[Stated]:
    """Read rows as statements of one instant; those that cannot be taken go to `bad`."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            bad.append(BadRow(number, "not_an_object"))
            continue
        try:
            yield Stated(product_of(row, currency), at_s)
        except RejectionError as error:
            place = error.rejected.path
            bad.append(BadRow(number, error.rejected.reason + (f" ({place})" if place else "")))

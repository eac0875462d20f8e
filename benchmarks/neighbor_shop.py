"""A made-up shop of any size for `benchmarks.neighbors`, and a stream of events in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.recommend.interactions import inverse_document_frequency
from models.recommend.neighbors import MOST_ITEMS

CATALOG = 50_000
HALF_LIFE = 60


class Shop(NamedTuple):
    """Customers, items, raw rows and idf."""

    customers: list[str]
    items: list[str]
    rows: csr_array
    idf: NDArray[np.float64]


class Event(NamedTuple):
    """One customer's whole new row; empty when the customer is erased."""

    customer: str
    row: dict[str, float]


def shop(customers: int, seed: int = 0) -> Shop:
    """Make a shop up."""
    rng = np.random.default_rng(seed)
    each = np.clip(
        rng.lognormal(np.log(30) - 0.405, 0.9, customers).astype(int), 1, MOST_ITEMS // 2
    )
    who = np.repeat(np.arange(customers, dtype=np.int32), each)
    share = np.arange(1, CATALOG + 1) ** -0.8
    what = np.searchsorted(np.cumsum(share / share.sum()), rng.random(len(who)))
    taste = rng.permutation(100)[rng.integers(0, 100, customers)][who] * 499 + 7
    tasted = rng.random(len(who)) < 0.5
    what = np.where(tasted, (what + taste) % CATALOG, what % CATALOG).astype(np.int32)
    weight = np.exp2(-rng.integers(0, 3 * HALF_LIFE, len(who)) / HALF_LIFE)
    rows = csr_array((weight, (who, what)), shape=(customers, CATALOG))
    rows.sum_duplicates()
    names = [f"customer-{n:08d}" for n in range(customers)]
    return Shop(names, [f"i{n}" for n in range(CATALOG)], rows, inverse_document_frequency(rows))


def stream(
    made: Shop, count: int, seed: int = 1
) -> tuple[list[Event], dict[str, dict[str, float]]]:
    """Events, and the rows as they are at their end of those whom they changed."""
    rng = np.random.default_rng(seed)
    busy = rng.integers(0, made.rows.nnz, count)
    owners = np.searchsorted(made.rows.indptr, busy, side="right") - 1
    bought = made.rows.indices[rng.integers(0, made.rows.nnz, count)]
    held: dict[str, dict[str, float]] = {}
    events = []
    for n, (owner, item, kind) in enumerate(zip(owners, bought, rng.random(count), strict=True)):
        customer = f"new-{n:06d}" if kind > 0.98 else made.customers[owner]
        if customer not in held:
            span = slice(made.rows.indptr[owner], made.rows.indptr[owner + 1])
            ids = (made.items[i] for i in made.rows.indices[span])
            row = dict(zip(ids, made.rows.data[span].tolist(), strict=True)) if kind <= 0.98 else {}
            held[customer] = row
        row = dict(held[customer])
        if kind < 0.06 and row:  # a refund; every other one of the whole item
            which = sorted(row)[n % len(row)]
            row[which] /= 2
            if n % 2:
                del row[which]
        elif kind < 0.07:
            row = {}
        elif kind > 0.15:  # the rest are events that come twice: the row stays
            name = f"fresh-{n % 40}" if kind < 0.17 else made.items[item]
            row[name] = row.get(name, 0.0) + 1.0
        held[customer] = row
        events.append(Event(customer, row))
    return events, held

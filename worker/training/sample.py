"""A uniform sample of all customers, at a price that does not grow with how many there are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from worker.profile.codec import CodecError
from worker.store.population import Population, Resident
from worker.views import View, view


def sample(population: Population, size: int, at_s: int, rng: np.random.Generator) -> list[View]:
    """About `size` customers as they were before an instant; all of them where there are fewer."""
    return cut_at(drawn(population, size, rng), at_s)


def cut_at(residents: Iterable[Resident], at_s: int) -> list[View]:
    """Customers as they were before an instant; who cannot be read is left out."""
    found = []
    for one in residents:
        try:
            found.append(view(one.customer_id, one.hot, one.cold, at_s))
        except CodecError:
            continue
    return found


def drawn(population: Population, size: int, rng: np.random.Generator) -> list[Resident]:
    """The profiles of about `size` customers, drawn uniformly; of all where there are fewer.

    A customer's shard is a hash of the id: whole shards, chosen by `rng`, are a uniform sample, so
    only as many are looked at as hold enough customers.
    """
    names: list[tuple[int, str]] = []
    for shard in rng.permutation(population.shards).tolist():
        names += [(shard, customer) for customer in population.customer_ids(shard)]
        if len(names) >= size:
            break
    if len(names) > size:
        chosen = np.sort(rng.choice(len(names), size, replace=False)).tolist()
        names = [names[at] for at in chosen]
    by_shard: dict[int, list[str]] = {}
    for shard, customer in names:
        by_shard.setdefault(shard, []).append(customer)
    return [
        one for shard, customers in by_shard.items() for one in population.read(shard, customers)
    ]

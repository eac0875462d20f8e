"""Would the lists have been right? Those from before the replay against what was then bought."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

PLACES: Final = 10


class Listed(NamedTuple):
    """The two lists of a customer: item ids, the best first."""

    buy_again: Sequence[str]
    new_for_you: Sequence[str]


class Score(NamedTuple):
    """How lists fared, at their first 10 places.

    hit_rate   share of the customers who bought something of their list
    precision  mean share of the 10 places that was bought; places that are empty were not
    recall     mean share of what a customer bought that was on the list
    """

    hit_rate: float
    precision: float
    recall: float


def lists_of(active: Runtime) -> dict[str, Listed]:
    """The stored lists of all customers who have any; those of the holdout have none."""
    found: dict[str, Listed] = {}
    for shard in range(active.keys.shards):
        ids = active.population.customer_ids(shard)
        for one, known in zip(
            ids, active.refresh_store.load([(shard, one) for one in ids]), strict=True
        ):
            insight = json.loads(known.held.json or b"{}")
            again, new = (
                [row["item_id"] for row in insight.get(name) or ()] for name in Listed._fields
            )
            if again or new:
                found[one] = Listed(again, new)
    return found


def score(
    listed: Mapping[str, Listed],
    history: Mapping[str, Mapping[str, int]],
    bought: Mapping[str, Collection[str]],
) -> dict[str, Any]:
    """Score both lists, and beside them two baselines that know the history alone.

    listed   the lists of each customer
    history  baskets with each item, of each customer, before the replay
    bought   what each customer bought in the replayed weeks

    `buy_again` is held against the items a customer had bought before and bought once more,
    `new_for_you` against those bought for the first time; customers without such an item say
    nothing about that list. `most_frequent` is the customer's own items by their baskets,
    `popular` everybody's by all baskets, less what the customer has bought where items are new.
    Equal counts go by item id.
    """
    totals: Counter[str] = Counter()
    for baskets in history.values():
        totals.update(baskets)
    popular = _by_count(totals)
    again, new = _Tally(), _Tally()
    for customer, lists in listed.items():
        own, truth = history.get(customer, {}), set(bought.get(customer, ()))
        again.add(
            truth & own.keys(),
            ours=lists.buy_again,
            most_frequent=_by_count(own),
            popular=popular,
        )
        new.add(
            truth - own.keys(),
            ours=lists.new_for_you,
            popular=islice((item for item in popular if item not in own), PLACES),
        )
    return {"places": PLACES, "buy_again": again.told(), "new_for_you": new.told()}


def _by_count(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda item: (-counts[item], item))


class _Tally:
    """Sums over customers, by whose list it is."""

    def __init__(self) -> None:
        self._customers = 0
        self._sums: dict[str, Score] = {}

    def add(self, truth: Collection[str], **lists: Iterable[str]) -> None:
        """One customer; nothing if there is no truth."""
        if not truth:
            return
        self._customers += 1
        for name, listed in lists.items():
            hits = sum(item in truth for item in islice(listed, PLACES))
            before = self._sums.get(name, Score(0.0, 0.0, 0.0))
            self._sums[name] = Score(
                before.hit_rate + (hits > 0),
                before.precision + hits / PLACES,
                before.recall + hits / len(truth),
            )

    def told(self) -> dict[str, Any]:
        """The means, beside the number of customers that they are of."""
        means = {
            name: {
                part: round(value / self._customers, 4) for part, value in sums._asdict().items()
            }
            for name, sums in self._sums.items()
        }
        return {"customers": self._customers, **means}

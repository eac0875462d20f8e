"""Whose lists hold which items, as far as this process wrote them: for when an item is gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from models.recommend.filters import Attributes, Rules, passes

#: Customers whose lists are remembered; of others the clock's daily look takes care.
MOST_REMEMBERED: Final = 50_000


class Listed:
    """Remembers the lists of the customers that were written last.

    >>> listed = Listed()
    >>> listed.note("c-1", ["tea", "cup"])
    >>> listed.holding({"tea"}), listed.holding({"pot"})
    (['c-1'], [])
    """

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        """Begin empty."""
        self._most = most
        self._items: dict[str, tuple[str, ...]] = {}

    def note(self, customer_id: str, items: Iterable[str]) -> None:
        """Remember what is on a customer's lists now."""
        self._items.pop(customer_id, None)
        self._items[customer_id] = tuple(items)
        if len(self._items) > self._most:
            del self._items[next(iter(self._items))]

    def holding(self, items: Collection[str]) -> list[str]:
        """The customers on whose lists one of the items is, those written last first."""
        found = (who for who, held in self._items.items() if any(one in items for one in held))
        return list(found)[::-1]


def barred(
    before: Mapping[str, Attributes], now: Mapping[str, Attributes], rules: Rules
) -> set[str]:
    """The items that another state of the catalog lets nobody have any more.

    >>> barred({}, {"tea": Attributes(available=False), "cup": Attributes()}, Rules())
    {'tea'}
    """
    return {
        item
        for item, known in now.items()
        if before.get(item) != known and not passes(known, rules)
    }

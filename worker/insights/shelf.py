"""The shelf: what may be recommended now, and what is known of it. One a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.recommend.content import NO_CONTENT, Content, fit_content
from models.recommend.filters import Attributes, Rules, allowed_items
from models.recommend.hybrid import Collector, Shop
from models.recommend.model import Recommender
from models.recommend.neighbors import NeighborIndex

_NOTHING: Final[Mapping[str, Attributes]] = MappingProxyType({})
_SPARE: Final = 1_000  # columns for items that come later


class Shelf:
    """A catalog under a shop's rules; hands out a collector that fits the index as it grows."""

    def __init__(
        self, catalog: Mapping[str, Attributes] = _NOTHING, rules: Rules | None = None
    ) -> None:
        """Stock the shelf; without a catalog everything that was bought is on it."""
        self.rules = rules or Rules()
        self.restock(catalog)

    def restock(self, catalog: Mapping[str, Attributes]) -> None:
        """Take another state of the catalog."""
        self.catalog = catalog
        self._collector: Collector | None = None
        self._recommender: Recommender | None = None
        self._index: NeighborIndex | None = None
        self._seen = 0
        self._allowed: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._categories: list[str] = []

    def collector(self, recommender: Recommender, index: NeighborIndex) -> Collector:
        """A collector of everything that the index and the catalog know.

        index  what only the catalog knows joins its items
        """
        items, known = index.items, self._collector is not None and self._index is index
        if not known or self._recommender is not recommender or len(items) > len(self._allowed):
            self._build(recommender, index)
        elif len(items) > self._seen:
            self._admit(items.ids)
        assert self._collector is not None  # noqa: S101  built above
        return self._collector

    def categories(self) -> Sequence[str]:
        """Category by column, "" = unknown; filled where a rule asks for it."""
        return self._categories

    def _build(self, recommender: Recommender, index: NeighborIndex) -> None:
        items = index.items
        items.add_all([item for item, known in self.catalog.items() if not known.deleted])
        width = len(items) + max(_SPARE, len(items) // 10)
        self._allowed = np.zeros(width, dtype=np.bool_)
        self._categories = []
        self._seen, self._index, self._recommender = 0, index, recommender
        self._admit(items.ids)
        shop = Shop(index.popularity, index.companions, recommender.habits, self.content(items.ids))
        self._collector = Collector(shop, width, self._allowed)

    def content(self, item_ids: Sequence[str]) -> Content:
        """The terms of the items, by column."""
        if not self.catalog:
            return NO_CONTENT
        return fit_content([text_of(self.catalog.get(item)) for item in item_ids])

    def _admit(self, item_ids: Sequence[str]) -> None:
        """Judge the items that came since."""
        new = item_ids[self._seen :]
        self._allowed[self._seen : len(item_ids)] = allowed_items(new, self.catalog, self.rules)
        if self.rules.most_per_category:
            nothing = Attributes()
            self._categories += [self.catalog.get(item, nothing).category for item in new]
        self._seen = len(item_ids)


def text_of(item: Attributes | None) -> str:
    """The words that content compares: of the name, the brand, and each level of the category.

    >>> text_of(Attributes(name="Red tea", category="drink/tea", brand="Acme Ltd"))
    'Red tea brand=Acme_Ltd category=drink category=drink/tea'
    """
    if item is None:
        return ""
    words = [item.name]
    if item.brand:
        words.append("brand=" + item.brand.replace(" ", "_"))
    levels = item.category.replace(" ", "_").split("/") if item.category else []
    words += ["category=" + "/".join(levels[: i + 1]) for i in range(len(levels))]
    return " ".join(words)

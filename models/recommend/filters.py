"""What may be recommended at all, and how many of a kind: decided before anything is ranked."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Final, NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.checks import require

Mask: TypeAlias = NDArray[np.bool_]


class Attributes(NamedTuple):
    """What a catalog says of an item; None = it does not say.

    price, cost  minor units of the shop's currency, >= 0
    """

    name: str = ""
    category: str = ""
    brand: str = ""
    price: int | None = None
    cost: int | None = None
    available: bool = True
    deleted: bool = False


@dataclass(frozen=True)
class Rules:
    """A shop's rules. An item of unknown price or margin passes only where no bound is set.

    allow_categories   only these, and what is below them; () = all. "a/b" is below "a"
    deny_categories    none of these, nor what is below them
    least_price, most_price  minor units
    least_margin       (price - cost) / price, below 1
    exclude            item ids, such as what is not to be advertised
    service_items      postage, fees, discounts: never products; ids or patterns, see `ServiceItems`
    item_share         each item goes to at most this share of the customers, (0, 1]
    most_per_category  items of one category in a list, 0 = no bound
    """

    allow_categories: tuple[str, ...] = ()
    deny_categories: tuple[str, ...] = ()
    least_price: int | None = None
    most_price: int | None = None
    least_margin: float | None = None
    exclude: frozenset[str] = frozenset()
    service_items: tuple[str, ...] = ()
    item_share: float = 1.0
    most_per_category: int = 0

    def __post_init__(self) -> None:
        """Raise DomainError on a bound that nothing could meet."""
        require(0 < self.item_share <= 1, "0 < item_share <= 1")
        require(self.most_per_category >= 0, "most_per_category >= 0")
        if self.least_margin is not None:
            require(self.least_margin < 1, "least_margin < 1")
        if self.least_price is not None and self.most_price is not None:
            require(self.least_price <= self.most_price, "least_price <= most_price")


NO_RULES: Final = Rules()


class ServiceItems:
    """Ids of what is sold with products but is none, as ids or shell patterns; case matters.

    >>> services = ServiceItems(["POST", "fee-*"])
    >>> "POST" in services, "fee-7" in services, "POSTER" in services
    (True, True, False)
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Compile the patterns: `*`, `?` and `[...]` as in file names."""
        self._ids = frozenset(one for one in patterns if not set(one) & set("*?["))
        wild = [translate(one) for one in patterns if one not in self._ids]
        self._wild = re.compile("|".join(wild)) if wild else None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._ids) or self._wild is not None

    def __contains__(self, item: str) -> bool:
        """Whether an item is one."""
        return item in self._ids or (self._wild is not None and bool(self._wild.match(item)))


def allowed_items(item_ids: Sequence[str], catalog: Mapping[str, Attributes], rules: Rules) -> Mask:
    """Which items may be recommended; one that the catalog does not know is judged by id alone.

    >>> shop = {"tea": Attributes(price=300), "cup": Attributes(available=False)}
    >>> allowed_items(["tea", "cup", "fee"], shop, Rules(service_items=("fee",)))
    array([ True, False, False])
    """
    services = ServiceItems(rules.service_items)
    unknown = passes(Attributes(), rules)
    return np.array(
        [
            item not in rules.exclude
            and item not in services
            and (passes(catalog[item], rules) if item in catalog else unknown)
            for item in item_ids
        ],
        dtype=np.bool_,
    )


def passes(item: Attributes, rules: Rules) -> bool:
    """Whether an item's attributes meet the rules."""
    if item.deleted or not item.available or _below(item.category, rules.deny_categories):
        return False
    if rules.allow_categories and not _below(item.category, rules.allow_categories):
        return False
    return _price_passes(item, rules) and _margin_passes(item, rules)


def _price_passes(item: Attributes, rules: Rules) -> bool:
    if item.price is None:
        return rules.least_price is None and rules.most_price is None
    return (rules.least_price is None or item.price >= rules.least_price) and (
        rules.most_price is None or item.price <= rules.most_price
    )


def _margin_passes(item: Attributes, rules: Rules) -> bool:
    if rules.least_margin is None:
        return True
    if not item.price or item.cost is None:
        return False
    return (item.price - item.cost) / item.price >= rules.least_margin


def _below(category: str, wanted: Iterable[str]) -> bool:
    path = category.casefold()
    return any(path == one.casefold() or path.startswith(one.casefold() + "/") for one in wanted)


def within_share(customer_id: str, item_id: str, share: float) -> bool:
    """Whether an item may go to a customer, where it may go to a share of them.

    A hash of both decides, so that no counter is needed and the answer stays the same.

    >>> within_share("c-1", "tea", 1.0)
    True
    """
    return share >= 1 or crc32(f"{customer_id}\x1f{item_id}".encode()) < share * 2**32


def diverse(ranked: Sequence[int], categories: Sequence[str], most: int, count: int) -> list[int]:
    """The first `count` of a ranking with at most `most` of a category; "" has no bound.

    >>> diverse([0, 1, 2], ["tea", "tea", "cup"], 1, 2)
    [0, 2]
    """
    if not most:
        return list(ranked[:count])
    taken: dict[str, int] = {}
    chosen: list[int] = []
    for place in ranked:
        if len(chosen) == count:
            break
        category = categories[place]
        if category and taken.get(category, 0) >= most:
            continue
        taken[category] = taken.get(category, 0) + 1
        chosen.append(place)
    return chosen

"""Own repeats: what a customer bought before, how often, how lately, and if it is due again."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import require, same_shape
from models.recommend.interactions import Interactions
from models.recommend.repeat_kernels import IMPOSSIBLE, UNORDERED, gather, repeats

Floats: TypeAlias = NDArray[np.float64]
Days: TypeAlias = NDArray[np.int64]

MOST_OWN = 1_000  # items of a customer that count: the latest; bounds what one customer can cost
_PER_PURCHASE_DAY = 0.85  # an item's weight shrinks by this with every later purchase day
_REPEAT_WEIGHT = 10.0  # purchases of the whole shop that count beside the item's own


class RepeatHabits(NamedTuple):
    """How items are bought again, over all customers.

    repeat_share  (m,) share of the item's purchase days that repeat an earlier one, in (0, 1)
    gap_days      (m,) median days between two purchase days of one customer, >= 1
    shop_repeat   that share over all items; for items that came later
    shop_gap      those days over all items
    """

    repeat_share: Floats
    gap_days: Floats
    shop_repeat: float
    shop_gap: float


class OwnItems(NamedTuple):
    """The items of one customer, each once, rising by column.

    columns    (w,) int64
    times      (w,) purchase days, 0 = only looked at
    first_day  (w,) of them, days since 1970-01-01; 0 where never bought
    last_day   (w,)
    weight     (w,) decayed weight of the purchase days, relative to the customer's last one
    fast       (w,) the same by later purchase days instead of days
    looked     (w,) weight of other signals (views, carts ...), decayed alike
    events     days of purchases, and other signals: one an item and day that they are told of
    """

    columns: Days
    times: Days
    first_day: Days
    last_day: Days
    weight: Floats
    fast: Floats
    looked: Floats
    events: int = 0


def fit_habits(interactions: Interactions, items: int) -> RepeatHabits:
    """Learn repeat shares and intervals from purchase days.

    interactions  one a customer, item and day; only those of weight >= 1 are purchases
    Raises        ShapeError, DomainError

    >>> two = Interactions(*np.array([[0, 0], [0, 0], [10, 31]]), np.ones(2))
    >>> fit_habits(two, 1).gap_days
    array([21.])
    """
    customer, item, day, weight = interactions
    same_shape(customer=customer, item=item, day=day, weight=weight)
    require((item >= 0) & (item < items), f"0 <= item < {items}")
    bought = weight >= 1
    customer, item, day = customer[bought], item[bought], day[bought]
    order = np.lexsort((day, item, customer))
    customer, item, day = customer[order], item[order], day[order].astype(np.float64)
    again = (customer[1:] == customer[:-1]) & (item[1:] == item[:-1])
    gaps, whose = np.diff(day)[again], item[1:][again]
    total = np.bincount(item, minlength=items).astype(np.float64)
    repeats = np.bincount(whose, minlength=items).astype(np.float64)
    shop = float(np.clip(repeats.sum() / max(total.sum(), 1.0), 0.01, 0.99))
    shop_gap = max(float(np.median(gaps)), 1.0) if len(gaps) else 30.0
    return RepeatHabits(
        (repeats + _REPEAT_WEIGHT * shop) / (total + _REPEAT_WEIGHT),
        _medians(gaps, whose, items, shop_gap),
        shop,
        shop_gap,
    )


def _medians(gaps: Floats, whose: NDArray[np.integer], items: int, default: float) -> Floats:
    """Median gap of each item, at least a day."""
    found = np.full(items, default)
    order = np.lexsort((gaps, whose))
    gaps, whose = gaps[order], whose[order]
    present, starts, counts = np.unique(whose, return_index=True, return_counts=True)
    low, high = gaps[starts + (counts - 1) // 2], gaps[starts + counts // 2]
    found[present] = np.maximum((low + high) / 2, 1.0)
    return found


def own_items(
    columns: NDArray[np.integer],
    days: NDArray[np.integer],
    weights: Floats,
    *,
    half_life_days: float,
) -> OwnItems:
    """Gather one customer's interactions by item.

    columns, days  (e,) in any sequence; weight 1 = bought on that day, less = a weaker signal
    Returns        at most `MOST_OWN` items, the latest ones
    Raises         ShapeError, DomainError

    >>> tea = own_items(np.array([7, 7]), np.array([10, 100]), np.ones(2), half_life_days=90.0)
    >>> tea.times, tea.weight, tea.fast
    (array([2]), array([1.5]), array([1.85]))
    """
    if not len(columns) == len(days) == len(weights):
        same_shape(columns=columns, days=days, weights=weights)
    column, day = columns.astype(np.int64, copy=False), days.astype(np.int64, copy=False)
    weight = weights.astype(np.float64, copy=False)
    found = OwnItems._make(gather(column, day, weight, half_life_days, _PER_PURCHASE_DAY))
    if found.events == UNORDERED:
        order = np.lexsort((day, column))
        column, day, weight = column[order], day[order], weight[order]
        found = OwnItems._make(gather(column, day, weight, half_life_days, _PER_PURCHASE_DAY))
    if found.events == IMPOSSIBLE:
        require(np.isfinite(weight) & (weight >= 0), "event weights are finite and >= 0")
    if len(found.columns) <= MOST_OWN:
        return found
    starts = np.searchsorted(column, found.columns)
    latest = np.maximum.reduceat(day, starts)
    kept = np.sort(np.argsort(-latest, kind="stable")[:MOST_OWN])
    return OwnItems._make([*(part[kept] for part in found[:-1]), found.events])


def due_items(own: OwnItems, habits: RepeatHabits, today: int) -> NDArray[np.bool_]:
    """Whether an item's time to be bought again has come, `EARLIEST` of its interval.

    Returns  (w,); True where it was never bought
    """
    return _said(own, habits, today)[1]


def repeat_features(own: OwnItems, habits: RepeatHabits, today: int) -> Floats:
    """What the member says of each own item.

    Returns  (w, 7) float64 >= 0: decayed weight, by purchase days, count, recency within the
             customer's trips, repeat share of the item, nearness to its due day, rate; 0 where it
             was never bought
    """
    return _said(own, habits, today)[0]


def _said(own: OwnItems, habits: RepeatHabits, today: int) -> tuple[Floats, NDArray[np.bool_]]:
    said, due = np.zeros((len(own.columns), 7)), np.ones(len(own.columns), dtype=np.bool_)
    repeats(own[:-1], *habits, today, said, due)
    return said, due

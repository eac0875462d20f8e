"""Why a forecast is what it is, in words: per customer, and per model.

Features are told by theme: what a winner makes of the silence, say, it takes from several of them.
The themes of a customer are ranked by how far they move the log odds of P(buy), in the winner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from models.forecast.btyd import purchase_probability
from models.forecast.facts import THEMES, Facts
from models.forecast.families.base import Matrix
from models.forecast.level1 import Floor, expect
from models.forecast.sheets import EXPECTATION, expectation_columns
from models.forecast.snapshot import NAMES, features
from models.history import Histories, PurchaseStats, cut, purchase_stats, select

if TYPE_CHECKING:
    from models.forecast.backtest import Member
    from models.forecast.heads import Bundle, Head

Rows: TypeAlias = NDArray[np.float64]

_HORIZON_DAYS: Final = 90  # of the P(buy) that is explained
_MOST_WORDS: Final = 3
_LEAST_SPREAD: Final = 0.05  # of p (1 - p), where a probability is turned into log odds
_WORDS: Final = {  # theme, and the feature in words
    "silence": ("silence", "days since the last purchase"),
    "age": ("tenure", "days since the first purchase"),
    "purchase_days": ("rhythm", "how many purchase days"),
    "recency": ("tenure", "days from the first to the last purchase"),
    "mean_gap": ("rhythm", "the usual gap between purchases"),
    "gap_variation": ("rhythm", "how regular the gaps are"),
    "silence_in_gaps": ("silence", "silence beside the usual gap"),
    "last_gap": ("rhythm", "the last gap between purchases"),
    "rate": ("rhythm", "purchase days a day"),
    "total": ("money", "money spent so far"),
    "mean_day": ("money", "money of a purchase day"),
    "last_amount": ("money", "money of the last purchase"),
    "first_amount": ("money", "money of the first purchase"),
    "largest_amount": ("money", "money of the largest purchase"),
    "amount_variation": ("money", "how much amounts vary"),
    "orders_per_day": ("basket", "orders of a purchase day"),
    "items_per_day": ("basket", "items of a purchase day"),
    "refunds": ("refunds", "how many refunds"),
    "refund_share": ("refunds", "share given back"),
    "expected_chance": ("rhythm", "P(buy) of level 1"),
    "expected_orders": ("rhythm", "orders that level 1 expects"),
    "expected_alive": ("silence", "P(alive) of level 1"),
    "expected_value": ("money", "money of an order that level 1 expects"),
    "expected_spend": ("money", "spend that level 1 expects"),
}
_WINDOWED: Final = {
    "orders": ("lately", "purchase days in the last {}"),
    "spend": ("money", "spend in the last {}"),
    "pace": ("lately", "purchase days, half as much worth each {}"),
    "spend_pace": ("money", "spend, half as much worth each {}"),
}
#: What moves level 1, which has no features.
OF_LEVEL_1: Final = ("days since the last purchase", "how many purchase days", "tenure")


def in_words(name: str) -> tuple[str, str]:
    """Return the theme of a feature, and what it is in words.

    >>> in_words("silence_in_gaps"), in_words("orders_90d")
    (('silence', 'silence beside the usual gap'), ('lately', 'purchase days in the last 90 days'))
    """
    if name in _WORDS:
        return _WORDS[name]
    what, _, days = name.rpartition("_")
    theme, words = _WINDOWED[what]
    return theme, words.format(days.removesuffix("d") + " days")


def member_drivers(member: Member, seen: Matrix, expectation: Matrix) -> dict[str, float]:
    """Return what moves a candidate most, in words: mean size of what each adds, largest first.

    seen  (n, len(NAMES));  expectation  (n, len(EXPECTATION))
    """
    size = np.abs(_added(member, seen, expectation)).mean(axis=0)
    names = _columns(member)
    order = np.argsort(-size, kind="stable")[:5]
    return {in_words(names[i])[1]: round(float(size[i]), 4) for i in order}


def describe(bundle: Bundle, histories: Histories, as_of_day: int) -> list[tuple[str, ...]]:
    """Return for each customer up to three reasons in words, the strongest first; none for who has
    not bought.

    >>> from models.forecast.bundle import prior_bundle
    >>> from models.history import from_orders
    >>> days = np.array([0, 10, 20])
    >>> describe(prior_bundle("EUR"), from_orders(1, 0 * days, days, 100 + days), 50)
    [('buys about every 10 days', 'silent 3.0x longer than usual', 'a customer for 50 days')]
    """
    known = cut(histories, as_of_day + 1)
    row = np.flatnonzero(np.diff(known.starts) > 0)
    if len(row) < len(known.starts) - 1:
        known = select(known, row)
    stats = purchase_stats(known, as_of_day)
    head = next(
        (h for h in bundle.heads if (h.target, h.horizon_days) == ("buy", _HORIZON_DAYS)), None
    )
    moved = _of_level_1(bundle, stats)
    if head is not None and head.members:
        moved = head.recipe.floor * moved
        moved += (1.0 - head.recipe.floor) * _of_members(bundle, head, known, stats, as_of_day)
    order = np.argsort(-np.abs(moved), axis=1, kind="stable")
    facts = Facts(bundle.level1.value, known, stats, as_of_day)
    found: list[tuple[str, ...]] = [()] * (len(histories.starts) - 1)
    for i, at in enumerate(row.tolist()):
        ranked = (THEMES[theme] for theme in order[i].tolist() if moved[i, theme])
        words = (facts.words(theme, i) for theme in ranked)
        found[at] = tuple([word for word in words if word][:_MOST_WORDS])
    return found


def _of_level_1(bundle: Bundle, stats: PurchaseStats) -> Matrix:
    """Return (n, themes) by how much the log odds are other than those of a customer who is as
    silent as usual, buys as often as most, or is new.
    """
    model = bundle.level1.btyd

    def log_odds(x: Rows, t_x: Rows, age: Rows) -> Rows:
        chance = purchase_probability(model, float(_HORIZON_DAYS), x, t_x, age)
        return np.asarray(logit(np.clip(chance, 1e-6, 1.0 - 1e-6)))

    x, t_x, age = stats.frequency, stats.recency, stats.age
    own = log_odds(x, t_x, age)
    gap = np.where(x > 0, t_x / np.maximum(x, 1.0), 0.0)
    heard = np.where(x > 0, np.clip(age - gap, 0.0, age), 0.0)
    usual = model.r / model.alpha * age / model.unit_days
    moved = np.zeros((len(x), len(THEMES)))
    moved[:, 0] = own - log_odds(x, np.where(x > 0, heard, t_x), np.where(x > 0, age, 0.0))
    moved[:, 1] = np.where(x > 0, own - log_odds(usual, t_x, age), 0.0)
    moved[:, 4] = 1e-6  # a plain fact, where nothing else is to be told
    return moved


def _of_members(
    bundle: Bundle, head: Head, known: Histories, stats: PurchaseStats, as_of_day: int
) -> Matrix:
    """Return (n, themes) what the members of the winner add to the log odds, in the mean."""
    level1 = bundle.level1
    floor = Floor(level1.btyd, level1.value, level1.orders_per_day)
    expectation = expectation_columns(expect(floor, stats, float(head.horizon_days)))
    seen = features(known, stats, as_of_day + 1)
    moved = np.zeros((len(stats.orders), len(THEMES)))
    for member in head.members:
        added = _added(member, seen, expectation)
        if member.family.name == "forest":  # its scale is the probability
            chance = member.predict(seen, expectation)
            added = added / np.maximum(chance * (1.0 - chance), _LEAST_SPREAD)[:, None]
        for column, name in enumerate(_columns(member)):
            moved[:, THEMES.index(in_words(name)[0])] += added[:, column]
    return moved / len(head.members)


def _added(member: Member, seen: Matrix, expectation: Matrix) -> Matrix:
    plain = seen[:, member.columns]
    return member.family.describe(
        member.state, np.hstack((plain, expectation)) if member.stacked else plain
    )


def _columns(member: Member) -> list[str]:
    return [NAMES[i] for i in member.columns] + list(EXPECTATION) * member.stacked

"""Level 1 as of one day: MBG/NBD for when and how often, Gamma-Gamma for how much."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.forecast.btyd import (
    MBGNBD,
    PRIOR,
    Prior,
    expected_purchases,
    fit_mbg_nbd,
    p_alive,
    purchase_probability,
)
from models.forecast.gamma_gamma import GammaGamma, expected_value, fit_gamma_gamma
from models.history import PurchaseStats

Rows: TypeAlias = NDArray[np.float64]

LEAST_PAID_ORDERS: Final = 10  # in the whole shop: below, money abstains


class Season(NamedTuple):
    """Logarithms of what a window is worth beside an ordinary one; 0 = ordinary.

    buy, orders  of the days that it counts, for P(buy) and for orders
    value        of the money of an order
    """

    buy: float = 0.0
    orders: float = 0.0
    value: float = 0.0


ORDINARY: Final = Season()


class Floor(NamedTuple):
    """Level 1 as of one day.

    btyd            purchase days
    value           money per order; None = too few paid orders
    orders_per_day  orders per purchase day, >= 1
    """

    btyd: MBGNBD
    value: GammaGamma | None
    orders_per_day: float = 1.0


class Expected(NamedTuple):
    """What level 1 expects in one horizon; all (n,)."""

    buy: Rows
    orders: Rows
    spend: Rows
    alive: Rows
    value: Rows


def fit_floor(stats: PurchaseStats, prior: Prior | None = PRIOR) -> Floor:
    """Fit level 1 on everyone who has bought.

    Raises  ShapeError, DomainError, NumericError
    """
    bought = stats.orders > 0
    history = (stats.frequency[bought], stats.recency[bought], stats.age[bought])
    value = None
    if int(stats.paid_orders.sum()) >= LEAST_PAID_ORDERS:
        value = fit_gamma_gamma(stats.paid_orders.astype(np.float64), stats.mean_paid_minor)
    days = float(stats.frequency[bought].sum() + bought.sum())
    per_day = float(stats.orders.sum()) / days if days else 1.0
    return Floor(fit_mbg_nbd(*history, prior=prior), value, per_day)


def expect(
    floor: Floor, stats: PurchaseStats, horizon_days: float, season: Season = ORDINARY
) -> Expected:
    """Return level 1's expectation; purchase days, not orders.

    season  stretches the horizon and the money of an order

    >>> floor = Floor(MBGNBD(r=0.5248, alpha=6.183, a=0.8914, b=1.614), None)
    >>> one = np.array([2.0]), np.array([213.0]), np.array([272.0])
    >>> paid = np.array([3]), np.array([3]), np.array([2235.0]), np.array([6705])
    >>> stats = PurchaseStats(*one, *paid)
    >>> longer = expect(floor, stats, 90.0, Season(np.log(2.0), np.log(2.0), 0.0))
    >>> bool(longer.orders == expect(floor, stats, 180.0).orders)
    True
    """
    history = (stats.frequency, stats.recency, stats.age)
    orders = expected_purchases(floor.btyd, horizon_days * np.exp(season.orders), *history)
    value = np.zeros(len(orders))
    if floor.value is not None:
        paid = stats.paid_orders.astype(np.float64)
        per_order = expected_value(floor.value, paid, stats.mean_paid_minor)
        value = per_order * floor.orders_per_day * np.exp(season.value)
    return Expected(
        buy=purchase_probability(floor.btyd, horizon_days * np.exp(season.buy), *history),
        orders=orders,
        spend=orders * value,
        alive=p_alive(floor.btyd, *history),
        value=value,
    )

"""The forecaster of one shop: MBG/NBD for when and how often, Gamma-Gamma for how much."""

from dataclasses import dataclass
from math import ceil
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, Meta, integer, number, text, vector
from models.checks import ShapeError, require
from models.forecast.alive import purchases_if_alive
from models.forecast.btyd import (
    MBGNBD,
    PRIOR,
    Prior,
    fit_mbg_nbd,
    next_purchase_quantile,
    p_alive,
    purchase_probability,
)
from models.forecast.gamma_gamma import GammaGamma, expected_value, fit_gamma_gamma
from models.history import Histories, PurchaseStats, cut, median_gap_days, purchase_stats

Rows: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
DayRows: TypeAlias = NDArray[np.int64]

LEAST_PAID_ORDERS = 10  # in the whole shop: below, money abstains
PRIOR_BELOW = 30  # repeat buyers: below, a forecast is marked "prior"
LOW_BELOW = 100  # and below this, "low"
LOW_HISTORY_DAYS = 60  # with less, levels were off by 20 to 130 % on three shops, with more by 20
LEAST_CHURN_HORIZON_DAYS = 90
NEXT_ORDER_WITHIN_DAYS = 365
CLV_DAYS = 365
CLV_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Forecaster:
    """All that a forecast of one shop needs; it holds no customer.

    btyd                purchase days; parameters in weeks
    value               money per order in minor units of `currency`; None = too few paid orders
    orders_per_day      orders per purchase day, >= 1
    repeat_buyers       customers with two or more purchase days that it was fitted on
    paid_orders         paid orders that it was fitted on
    history_days        from the shop's first purchase day to the as-of day
    churn_horizon_days  silence for so long is called churn, >= 90
    discount_rate_year  yearly discount rate of customer lifetime value, >= 0
    """

    btyd: MBGNBD
    value: GammaGamma | None
    currency: str
    orders_per_day: float
    repeat_buyers: int
    paid_orders: int
    history_days: int
    churn_horizon_days: int
    discount_rate_year: float

    def __post_init__(self) -> None:
        """Raise DomainError for a value outside its range."""
        require(1 <= self.orders_per_day < np.inf, "1 <= orders_per_day < infinity")
        require(min(self.repeat_buyers, self.paid_orders, self.history_days) >= 0, "counts >= 0")
        require(self.churn_horizon_days >= 1, "churn_horizon_days >= 1")
        require(0 <= self.discount_rate_year < np.inf, "0 <= discount_rate_year < infinity")


class Forecasts(NamedTuple):
    """Forecasts of n customers as of one day; every number is finite.

    known                     (n,) the customer has bought; else the row is 0 and means nothing
    p_alive                   (n,) in [0, 1]
    probability_30d           (n,) of an order in the next 30 days
    probability_90d           (n,) >= probability_30d
    expected_orders_90d       (n,) orders, >= 0
    expected_spend_90d_minor  (n,) minor units, 0 where not spend_known
    spend_known               (n,)
    next_day_p10, _p50, _p90  (n,) days since 1970-01-01: the day by which 10, 50, 90 % of the next
                              orders have come, given that one comes within 365 days
    next_known                (n,)
    churn_probability         (n,) of no order within the forecaster's churn horizon
    clv_365d_minor            (n,) discounted spend of 12 months, minor units
    clv_known                 (n,)
    expected_orders_365d      (n,) orders in 12 months, not discounted
    year_known                (n,) the shop's history is long enough to tell of 12 months
    """

    known: Mask
    p_alive: Rows
    probability_30d: Rows
    probability_90d: Rows
    expected_orders_90d: Rows
    expected_spend_90d_minor: Rows
    spend_known: Mask
    next_day_p10: DayRows
    next_day_p50: DayRows
    next_day_p90: DayRows
    next_known: Mask
    churn_probability: Rows
    clv_365d_minor: Rows
    clv_known: Mask
    expected_orders_365d: Rows
    year_known: Mask


def is_short(history_days: int, horizon_days: int) -> bool:
    """Tell whether a history is too short to tell of a horizon: less than half of it.

    >>> is_short(182, 365), is_short(183, 365)
    (True, False)
    """
    return 2 * history_days < horizon_days


def reliability(forecaster: Forecaster) -> Literal["prior", "low", "normal"]:
    """How much a shop's forecasts rest on its own customers.

    Returns  "prior" below 30 repeat buyers (the cross-shop prior speaks), "low" below 100 or with
             less than 60 days of history
    """
    if forecaster.repeat_buyers < PRIOR_BELOW:
        return "prior"
    is_young = forecaster.history_days < LOW_HISTORY_DAYS
    return "low" if is_young or forecaster.repeat_buyers < LOW_BELOW else "normal"


def fit_forecaster(
    histories: Histories,
    as_of_day: int,
    *,
    currency: str,
    discount_rate_year: float = 0.1,
    prior: Prior = PRIOR,
) -> Forecaster:
    """Fit on all that happened up to and with `as_of_day`.

    histories           any number of customers; without a purchase the prior alone speaks
    currency            ISO 4217 code of the reporting currency of `amount_minor`
    discount_rate_year  >= 0
    Raises              ShapeError, DomainError, NumericError
    """
    stats = purchase_stats(histories, as_of_day)
    bought = stats.orders > 0
    past = cut(histories, as_of_day + 1)
    paid_orders = int(stats.paid_orders.sum())
    gap = median_gap_days(past)
    value = None
    if paid_orders >= LEAST_PAID_ORDERS:
        value = fit_gamma_gamma(stats.paid_orders.astype(np.float64), stats.mean_paid_minor)
    return Forecaster(
        btyd=fit_mbg_nbd(
            stats.frequency[bought], stats.recency[bought], stats.age[bought], prior=prior
        ),
        value=value,
        currency=currency,
        orders_per_day=float(past.orders.sum() / len(past.day)) if len(past.day) else 1.0,
        repeat_buyers=int((stats.frequency > 0).sum()),
        paid_orders=paid_orders,
        history_days=as_of_day + 1 - int(past.day.min()) if len(past.day) else 0,
        churn_horizon_days=max(LEAST_CHURN_HORIZON_DAYS, ceil(2 * (gap or 0.0))),
        discount_rate_year=discount_rate_year,
    )


def predict(forecaster: Forecaster, histories: Histories, as_of_day: int) -> Forecasts:
    """Forecast every customer as of the end of `as_of_day`; rows as in `histories`.

    Raises  ShapeError, DomainError, NumericError

    >>> from models.history import from_orders
    >>> shop = Forecaster(
    ...     btyd=MBGNBD(r=0.5248, alpha=6.183, a=0.8914, b=1.614),  # CDNOW
    ...     value=GammaGamma(p=6.25, q=3.74, v=1544.0),
    ...     currency="USD", orders_per_day=1.0, repeat_buyers=946, paid_orders=4952,
    ...     history_days=273, churn_horizon_days=90, discount_rate_year=0.1,
    ... )
    >>> days, money = np.array([0, 100, 213]), np.array([2000, 2200, 2505])
    >>> forecasts = predict(shop, from_orders(1, 0 * days, days, money), 272)
    >>> forecasts.p_alive.round(3), forecasts.expected_orders_90d.round(3)
    (array([0.706]), array([0.472]))
    """
    stats = purchase_stats(histories, as_of_day)
    known = stats.orders > 0
    x = (stats.frequency, stats.recency, stats.age)
    model, live = forecaster.btyd, known.astype(np.float64)
    alive = p_alive(model, *x) * live
    orders_90d, orders_months = _expected_orders(forecaster, stats, alive)
    month_ends = np.arange(1, CLV_MONTHS + 1) / CLV_MONTHS
    discount = (1.0 + forecaster.discount_rate_year) ** -month_ends
    money, priced = _money_per_order(forecaster, stats, known)
    year = known & (not is_short(forecaster.history_days, CLV_DAYS))
    churn = 1.0 - purchase_probability(model, forecaster.churn_horizon_days, *x)
    day_10, day_50, day_90 = (_next_day(model, share, x, as_of_day) for share in (0.1, 0.5, 0.9))
    return Forecasts(
        known=known,
        p_alive=alive,
        probability_30d=purchase_probability(model, 30.0, *x) * live,
        probability_90d=purchase_probability(model, 90.0, *x) * live,
        expected_orders_90d=orders_90d,
        expected_spend_90d_minor=orders_90d * money,
        spend_known=priced,
        next_day_p10=np.where(known, day_10, 0),
        next_day_p50=np.where(known, day_50, 0),
        next_day_p90=np.where(known, day_90, 0),
        next_known=known.copy(),
        churn_probability=churn * live,
        clv_365d_minor=orders_months @ discount * money,
        clv_known=priced & year,
        expected_orders_365d=orders_months.sum(axis=1),
        year_known=year,
    )


def to_state(forecaster: Forecaster) -> tuple[Arrays, Meta]:
    """Return arrays and JSON from which `from_state` builds an equal forecaster."""
    btyd, value = forecaster.btyd, forecaster.value
    arrays: Arrays = {"btyd": np.array([btyd.r, btyd.alpha, btyd.a, btyd.b, btyd.unit_days])}
    if value is not None:
        arrays["value"] = np.array([value.p, value.q, value.v])
    meta: Meta = {
        "currency": forecaster.currency,
        "orders_per_day": forecaster.orders_per_day,
        "repeat_buyers": forecaster.repeat_buyers,
        "paid_orders": forecaster.paid_orders,
        "history_days": forecaster.history_days,
        "churn_horizon_days": forecaster.churn_horizon_days,
        "discount_rate_year": forecaster.discount_rate_year,
    }
    return arrays, meta


def from_state(arrays: Arrays, meta: Meta) -> Forecaster:
    """Return the forecaster that `to_state` described; raise ShapeError or DomainError."""
    if not set(arrays) <= {"btyd", "value"}:
        raise ShapeError(f"state has unknown arrays: {sorted(set(arrays) - {'btyd', 'value'})}")
    value = GammaGamma(*vector(arrays, "value", 3).tolist()) if "value" in arrays else None
    return Forecaster(
        btyd=MBGNBD(*vector(arrays, "btyd", 5).tolist()),
        value=value,
        currency=text(meta, "currency"),
        orders_per_day=number(meta, "orders_per_day"),
        repeat_buyers=integer(meta, "repeat_buyers"),
        paid_orders=integer(meta, "paid_orders"),
        history_days=integer(meta, "history_days"),
        churn_horizon_days=integer(meta, "churn_horizon_days"),
        discount_rate_year=number(meta, "discount_rate_year"),
    )


def _expected_orders(
    forecaster: Forecaster, stats: PurchaseStats, alive: Rows
) -> tuple[Rows, Rows]:
    """Return expected orders in 90 days (n,) and in each of 12 months (n, 12).

    Given alive they depend on frequency and age alone, so each pair is computed once.
    """
    model = forecaster.btyd
    ends = np.append(np.arange(1, CLV_MONTHS + 1) * (CLV_DAYS / CLV_MONTHS), 90.0)
    width = stats.age.max(initial=0.0) + 1.0  # whole days and counts: the key is exact
    pairs, row = np.unique(stats.frequency * width + stats.age, return_inverse=True)
    frequency, age = np.divmod(pairs, width)
    reach = ends / (model.unit_days * model.alpha + age[:, None])
    shape = np.repeat(model.r + frequency, len(ends))
    beta_b = np.repeat(model.b + frequency + 1.0, len(ends))
    until = purchases_if_alive(shape, reach.ravel(), model.a, beta_b).reshape(reach.shape)
    months = np.diff(np.maximum.accumulate(until[:, :CLV_MONTHS], axis=1), axis=1, prepend=0.0)
    orders = alive * forecaster.orders_per_day
    return until[row, CLV_MONTHS] * orders, months[row] * orders[:, None]


def _money_per_order(
    forecaster: Forecaster, stats: PurchaseStats, known: Mask
) -> tuple[Rows, Mask]:
    """Return expected minor units per order, 0 where not known, and where it is known."""
    if forecaster.value is None:
        return np.zeros(len(known)), np.zeros(len(known), dtype=np.bool_)
    paid = stats.paid_orders.astype(np.float64)
    return expected_value(forecaster.value, paid, stats.mean_paid_minor) * known, known.copy()


def _next_day(
    model: MBGNBD, share: float, history: tuple[Rows, Rows, Rows], as_of_day: int
) -> DayRows:
    """Return the first whole day by which this share of the next orders has come."""
    wait = next_purchase_quantile(model, share, *history, within_days=NEXT_ORDER_WITHIN_DAYS)
    return as_of_day + np.maximum(np.ceil(wait), 1.0).astype(np.int64)

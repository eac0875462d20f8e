"""What a bundle says of customers: outlooks per horizon, and the defined fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from models.checks import DomainError
from models.forecast import forecast
from models.forecast.backtest import FLOOR
from models.forecast.coherence import project
from models.forecast.forecast import Forecaster, Forecasts
from models.forecast.heads import Bundle, Head
from models.forecast.level1 import ORDINARY, Floor, expect
from models.forecast.recipe import apply
from models.forecast.sheets import expectation_columns
from models.forecast.snapshot import features
from models.forecast.spread import GRID, Spread, chance_of_none, quantile
from models.history import Histories, cut, purchase_stats, select

Rows: TypeAlias = NDArray[np.float64]

INTERVAL: Final = (0.1, 0.9)
_SLACK: Final = 1e-9


class Outlook(NamedTuple):
    """Forecasts of n customers for one horizon; rows of customers without a purchase are 0.

    buy                    (n,) in [0, 1]
    orders, low, high      (n,) orders and their 80 % interval
    spend, least, most     (n,) minor units and their 80 % interval; 0 where money abstains
    """

    buy: Rows
    orders: Rows
    orders_low: Rows
    orders_high: Rows
    spend_minor: Rows
    spend_low_minor: Rows
    spend_high_minor: Rows


class Prediction(NamedTuple):
    """What a bundle says of n customers.

    forecasts   the defined fields, from the winners where one speaks
    outlooks    by horizon in days
    projected   share of customers whose figures had to be made coherent
    """

    forecasts: Forecasts
    outlooks: dict[int, Outlook]
    projected: float


def predict_bundle(bundle: Bundle, histories: Histories, as_of_day: int) -> Prediction:
    """Forecast every customer as of the end of `as_of_day`; rows as in `histories`.

    Raises  ShapeError, DomainError, NumericError

    >>> from models.history import from_orders
    >>> days = np.array([0, 100, 213])
    >>> shop = from_orders(1, 0 * days, days, np.array([2000, 2200, 2505]))
    >>> from models.forecast.fitting import fit_bundle
    >>> predict_bundle(fit_bundle(shop, 272, currency="EUR"), shop, 272).outlooks[90].buy > 0.2
    array([ True])
    """
    base = forecast.predict(bundle.level1, histories, as_of_day)
    row = np.flatnonzero(base.known)
    known = cut(histories, as_of_day + 1)
    if len(row) < len(base.known):
        known = select(known, row)
    outlooks, capped = _outlooks(bundle, known, as_of_day)
    outlooks, moved = project(outlooks)
    wide = {days: _widened(one, row, len(base.known)) for days, one in outlooks.items()}
    moved = capped | moved if len(moved) else capped
    projected = float(moved.mean()) if len(moved) else 0.0
    return Prediction(_merged(bundle.level1, base, wide), wide, projected)


class Distribution(NamedTuple):
    """The spend of n customers in one horizon.

    levels     the grid
    quantiles  (n, levels) minor units, rising
    none       (n,) P(spend = 0)
    """

    levels: Rows
    quantiles: NDArray[np.float64]
    none: Rows


def spend_distribution(
    bundle: Bundle,
    histories: Histories,
    as_of_day: int,
    horizon_days: int,
    *,
    levels: Rows = GRID,
    raw: bool = False,
) -> Distribution:
    """Return the forecast distribution of spend of customers who all have bought.

    raw     the posterior simulation before its correction
    Raises  DomainError (no such horizon, or money abstains), ShapeError, NumericError
    """
    outlook = _outlooks(bundle, cut(histories, as_of_day + 1), as_of_day)[0].get(horizon_days)
    spreads = [
        h.spread for h in bundle.heads if (h.target, h.horizon_days) == ("spend", horizon_days)
    ]
    if outlook is None or not spreads or spreads[0] is None:
        raise DomainError(f"no spend is forecast over {horizon_days} days")
    chance, mean, spread = outlook.buy, outlook.spend_minor, spreads[0]
    rows = [quantile(spread, float(level), chance, mean, raw=raw) for level in levels]
    none = 1.0 - chance if raw else chance_of_none(spread, chance, mean)
    return Distribution(levels, np.column_stack(rows), none)


def _merged(level1: Forecaster, base: Forecasts, outlooks: Mapping[int, Outlook]) -> Forecasts:
    """Return the defined fields, from the outlooks of 30 and 90 days where there are such.

    What reaches beyond 90 days is level 1's, moved so that it agrees: churn by as many log odds as
    P(buy) of 90 days; CLV and orders of a year begin with the 90 days of the outlook.
    """
    month, quarter = outlooks.get(30), outlooks.get(90)
    if month is not None:
        base = base._replace(probability_30d=month.buy)
    if quarter is None:
        return base
    live = base.known.astype(np.float64)
    chance = np.maximum(quarter.buy, base.probability_30d)
    shift = _log_odds(chance) - _log_odds(base.probability_90d)
    returns = expit(_log_odds(1.0 - base.churn_probability) + shift)
    churn = level1.churn_horizon_days
    for days in sorted(outlooks, reverse=True):  # not above a longer horizon, nor below a shorter
        buy = outlooks[days].buy
        returns = np.minimum(returns, buy) if days >= churn else np.maximum(returns, buy)
    if churn in outlooks:
        returns = outlooks[churn].buy
    returns = np.maximum(returns, chance) * live
    orders, spend = quarter.orders, np.where(base.spend_known, quarter.spend_minor, 0.0)
    discount = (1.0 + level1.discount_rate_year) ** (-1.0 / 6.0)  # of the middle of three months
    gained = discount * (spend - base.expected_spend_90d_minor)
    later = base.expected_orders_365d + orders - base.expected_orders_90d
    year = outlooks[max(days for days in outlooks if days <= forecast.CLV_DAYS)]
    later = year.orders if forecast.CLV_DAYS in outlooks else np.maximum(later, year.orders)
    least = year.spend_minor / (1.0 + level1.discount_rate_year) * base.spend_known
    longest = outlooks[max(outlooks)].buy
    return base._replace(
        p_alive=np.maximum(base.p_alive, np.maximum(returns, longest)),
        probability_90d=chance,
        churn_probability=live - returns,
        expected_orders_90d=orders,
        expected_spend_90d_minor=spend,
        expected_orders_365d=np.maximum(later, orders),
        clv_365d_minor=np.maximum(
            base.clv_365d_minor + gained, np.maximum(discount * spend, least)
        ),
    )


def _log_odds(chance: Rows) -> Rows:
    return np.asarray(logit(np.clip(chance, 1e-9, 1.0 - 1e-9)))


def _outlooks(
    bundle: Bundle, known: Histories, as_of_day: int
) -> tuple[dict[int, Outlook], NDArray[np.bool_]]:
    """Return the outlooks of customers who all have bought, and of whom P(buy) was above orders."""
    stats = purchase_stats(known, as_of_day)
    level1 = bundle.level1
    floor = Floor(level1.btyd, level1.value, level1.orders_per_day)
    needs = any(head.members for head in bundle.heads)
    seen = features(known, stats, as_of_day + 1) if needs else np.zeros((0, 0))
    capped = np.zeros(len(stats.orders), dtype=np.bool_)
    found = {}
    for horizon in bundle.horizons_days:
        heads = {head.target: head for head in bundle.heads if head.horizon_days == horizon}
        season = next(iter(heads.values())).season.at(as_of_day + 1)
        expected = expect(floor, stats, float(horizon), season)
        plain = expected
        if needs and season != ORDINARY:
            plain = expect(floor, stats, float(horizon))
        said = {"buy": expected.buy, "orders": expected.orders, "spend": expected.spend}
        columns = expectation_columns(plain) if needs else seen
        means = {t: _say(heads[t], said[t], seen, columns) if t in heads else said[t] for t in said}
        capped |= means["buy"] > means["orders"] + _SLACK
        means["buy"] = np.minimum(means["buy"], means["orders"])
        band = {
            t: _band(heads[t].spread if t in heads else None, means["buy"], means[t])
            for t in ("orders", "spend")
        }
        per_day = level1.orders_per_day
        found[horizon] = Outlook(
            buy=means["buy"],
            orders=means["orders"] * per_day,
            orders_low=np.round(band["orders"][0] * per_day),
            orders_high=np.round(band["orders"][1] * per_day),
            spend_minor=means["spend"],
            spend_low_minor=band["spend"][0],
            spend_high_minor=band["spend"][1],
        )
    return found, capped


def _say(head: Head, floor: Rows, seen: NDArray[np.float64], columns: NDArray[np.float64]) -> Rows:
    said = {FLOOR: floor, **{one.name: one.predict(seen, columns) for one in head.members}}
    return apply(head.recipe, head.target, said, head.shift)


def _band(spread: Spread | None, chance: Rows, mean: Rows) -> tuple[Rows, Rows]:
    if spread is None:
        return np.zeros(len(mean)), np.zeros(len(mean))
    low, high = (quantile(spread, level, chance, mean) for level in INTERVAL)
    return low, high


def _widened(outlook: Outlook, row: NDArray[np.int64], customers: int) -> Outlook:
    """Return the outlook with a row of zeros for everyone who has not bought."""
    if len(row) == customers:
        return outlook

    def wide(values: Rows) -> Rows:
        full = np.zeros(customers)
        full[row] = values
        return full

    return Outlook._make(wide(column) for column in outlook)

"""The forecasts of one shop as they are published: level 1, and a winner per target and horizon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, Meta
from models.checks import DomainError, ShapeError
from models.forecast import forecast
from models.forecast.backtest import FLOOR, Member, Scored, fit_member, names_of, score
from models.forecast.btyd import PRIOR, Prior
from models.forecast.coherence import project
from models.forecast.drivers import member_drivers
from models.forecast.families.base import TARGETS, Target
from models.forecast.families.registry import FAMILIES
from models.forecast.forecast import Forecaster, Forecasts
from models.forecast.gate import Choice, choose, eligible
from models.forecast.metrics import calibration
from models.forecast.recipe import FLOOR_ONLY, Recipe, anchor_shift, apply, mixed
from models.forecast.sheets import Floor, Sheet, Sheets, expect, expectation_columns
from models.forecast.snapshot import NAMES, features
from models.forecast.spread import (
    GRID,
    Spread,
    calibrate,
    chance_of_none,
    fit_spread,
    pit,
    quantile,
    sample_rows,
    simulate,
    spread_from,
    spread_state,
)
from models.history import Histories, PurchaseStats, cut, purchase_stats, select

Rows: TypeAlias = NDArray[np.float64]

HORIZONS_DAYS: Final = (30, 90)
INTERVAL: Final = (0.1, 0.9)
MOST_STEPS: Final = 6_000  # tree levels walked per customer: what 150 microseconds allow
_WINDOWS: Final = 5


class Head(NamedTuple):
    """What speaks for one target and horizon.

    shift   of the anchor, on the blend's scale, as of the fit
    spread  intervals (orders and spend); None for buy, or where money abstains
    """

    target: Target
    horizon_days: int
    recipe: Recipe
    shift: float
    members: tuple[Member, ...]
    spread: Spread | None


class Bundle(NamedTuple):
    """All winners of one shop, promoted together.

    level1  the forecaster that always speaks where no winner does
    heads   by horizon, then target
    report  why: per head the windows, the table of candidates and the reason (JSON)
    """

    level1: Forecaster
    heads: tuple[Head, ...] = ()
    report: tuple[Meta, ...] = ()

    @property
    def horizons_days(self) -> list[int]:
        """The horizons, rising."""
        return sorted({head.horizon_days for head in self.heads})


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


def fit_bundle(
    histories: Histories,
    as_of_day: int,
    *,
    currency: str,
    discount_rate_year: float = 0.1,
    horizons_days: Sequence[int] = HORIZONS_DAYS,
    key: NDArray[np.uint64] | None = None,
    prior: Prior = PRIOR,
    windows: int = _WINDOWS,
    without: frozenset[str] = frozenset(),
    seed: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> Bundle:
    """Fit everything on what happened up to and with `as_of_day`.

    key       (customers,) hash of each customer's id: who is sampled does not depend on the order
              of the rows; None = the row's number
    windows   closed windows to backtest on, at most; 0 = level 1 only
    without   candidates that are not tried, by name
    progress  called with the part done, 0 to 1
    Raises    ShapeError, DomainError, NumericError
    """
    past = cut(histories, as_of_day + 1)
    level1 = forecast.fit_forecaster(
        past, as_of_day, currency=currency, discount_rate_year=discount_rate_year, prior=prior
    )
    customers = len(past.starts) - 1
    key = np.arange(customers, dtype=np.uint64) if key is None else key
    heads: list[Head] = []
    report: list[Meta] = []
    for index, horizon in enumerate(sorted(set(horizons_days))):
        if len(past.day):
            part = _Part(progress, index / len(horizons_days), 1 / len(horizons_days))
            sheets = Sheets(past, horizon, key, prior)
            found, told = _fit_horizon(sheets, as_of_day + 1, (windows, without), seed, part)
            heads += found
            report += told
    return Bundle(level1, tuple(heads), tuple(report))


def predict_bundle(bundle: Bundle, histories: Histories, as_of_day: int) -> Prediction:
    """Forecast every customer as of the end of `as_of_day`; rows as in `histories`.

    Raises  ShapeError, DomainError, NumericError

    >>> from models.history import from_orders
    >>> days = np.array([0, 100, 213])
    >>> shop = from_orders(1, 0 * days, days, np.array([2000, 2200, 2505]))
    >>> predict_bundle(fit_bundle(shop, 272, currency="EUR"), shop, 272).outlooks[90].buy > 0.2
    array([ True])
    """
    base = forecast.predict(bundle.level1, histories, as_of_day)
    row = np.flatnonzero(base.known)
    known = cut(histories, as_of_day + 1)
    if len(row) < len(base.known):
        known = select(known, row)
    outlooks = _outlooks(bundle, known, as_of_day)
    outlooks, projected = project(outlooks)
    wide = {days: _widened(one, row, len(base.known)) for days, one in outlooks.items()}
    return Prediction(_merged(base, wide), wide, projected)


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
    outlook = _outlooks(bundle, cut(histories, as_of_day + 1), as_of_day).get(horizon_days)
    spreads = [
        h.spread for h in bundle.heads if (h.target, h.horizon_days) == ("spend", horizon_days)
    ]
    if outlook is None or not spreads or spreads[0] is None:
        raise DomainError(f"no spend is forecast over {horizon_days} days")
    chance, mean, spread = outlook.buy, outlook.spend_minor, spreads[0]
    rows = [quantile(spread, float(level), chance, mean, raw=raw) for level in levels]
    none = 1.0 - chance if raw else chance_of_none(spread, chance, mean)
    return Distribution(levels, np.column_stack(rows), none)


def _merged(base: Forecasts, outlooks: Mapping[int, Outlook]) -> Forecasts:
    """Return the defined fields, from the outlooks of 30 and 90 days where there are such."""
    month, quarter = outlooks.get(30), outlooks.get(90)
    if month is not None:
        base = base._replace(probability_30d=month.buy)
    if quarter is None:
        return base
    orders, spend = quarter.orders, np.where(base.spend_known, quarter.spend_minor, 0.0)
    return base._replace(
        probability_90d=np.maximum(quarter.buy, base.probability_30d),
        expected_orders_90d=orders,
        expected_spend_90d_minor=spend,
        expected_orders_365d=np.maximum(base.expected_orders_365d, orders),
    )


def _outlooks(bundle: Bundle, known: Histories, as_of_day: int) -> dict[int, Outlook]:
    """Return the outlooks of customers who all have bought."""
    stats = purchase_stats(known, as_of_day)
    level1 = bundle.level1
    floor = Floor(level1.btyd, level1.value, level1.orders_per_day)
    needs = any(head.members for head in bundle.heads)
    seen = features(known, stats, as_of_day + 1) if needs else np.zeros((0, 0))
    found = {}
    for horizon in bundle.horizons_days:
        expected = expect(floor, stats, float(horizon))
        said = {"buy": expected.buy, "orders": expected.orders, "spend": expected.spend}
        columns = expectation_columns(expected) if needs else seen
        heads = {head.target: head for head in bundle.heads if head.horizon_days == horizon}
        means = {t: _say(heads[t], said[t], seen, columns) if t in heads else said[t] for t in said}
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
    return found


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


class _Part:
    """Tells progress within one horizon."""

    def __init__(self, tell: Callable[[float], None], start: float, share: float) -> None:
        self._tell, self._start, self._share = tell, start, share

    def __call__(self, done: float) -> None:
        self._tell(self._start + self._share * done)


def _fit_horizon(
    sheets: Sheets, day: int, effort: tuple[int, frozenset[str]], seed: int, tell: _Part
) -> tuple[list[Head], list[Meta]]:
    """Return a head per target, and the reasons."""
    most, without = effort
    days = sheets.windows(day, most)
    scored = [score(sheets, one, (), seed) for one in days]
    why = eligible(scored, sheets.horizon_days)
    wanted = [(t, name) for t in TARGETS for name in names_of(t) if name not in without]
    if why is None:
        for i, one in enumerate(days):
            tell(i / (len(days) + 1))
            scored[i] = score(sheets, one, wanted, seed)
    heads, report = [], []
    sheet = sheets.at(day)
    chosen = {t: _choice(scored, t, sheets.horizon_days, why) for t in TARGETS}
    for target, first in list(chosen.items()):
        choice, members = _affordable(sheets, first, target, day, seed)
        chosen[target] = choice
        heads.append(_head(sheets, sheet, choice, target, members))
        told = _told(choice, target, sheets.horizon_days)
        told["drivers"] = _drivers(sheet, members)
        if target == "buy" and scored:
            told["reliability"] = _reliability(scored, choice.recipe)
        report.append(told)
    spreads = {
        t: _fit_spread(sheets, sheet, scored, chosen, heads, t, seed) for t in ("orders", "spend")
    }
    for i, head in enumerate(heads):
        heads[i] = head._replace(spread=spreads.get(head.target))
    return heads, report


def _choice(scored: Sequence[Scored], target: Target, horizon: int, why: str | None) -> Choice:
    if why is None:
        return choose(scored, target, horizon)
    return Choice(FLOOR_ONLY, why, tuple(one.day for one in scored), [])


def _affordable(
    sheets: Sheets, choice: Choice, target: Target, day: int, seed: int
) -> tuple[Choice, tuple[Member, ...]]:
    """Fit the winner's members; one that is too slow to refresh gives way to level 1."""
    members = tuple(fit_member(sheets, name, target, day, seed) for name in choice.recipe.members)
    if sum(_steps(member) for member in members) <= MOST_STEPS:
        return choice, members
    return choice._replace(recipe=FLOOR_ONLY, reason="the winner is too slow to refresh"), ()


def _head(
    sheets: Sheets, sheet: Sheet, choice: Choice, target: Target, members: tuple[Member, ...]
) -> Head:
    said = _said(sheet, target, members)
    shift = 0.0
    if choice.recipe.members:
        shift = anchor_shift(choice.recipe, target, mixed(choice.recipe, target, said), said[FLOOR])
    return Head(target, sheets.horizon_days, choice.recipe, shift, members, None)


def _said(sheet: Sheet, target: Target, members: tuple[Member, ...]) -> dict[str, Rows]:
    columns = expectation_columns(sheet.expected) if members else np.zeros((0, 0))
    seen = sheet.snapshot.features
    floor: Rows = getattr(sheet.expected, target)
    return {FLOOR: floor, **{one.name: one.predict(seen, columns) for one in members}}


def _fit_spread(
    sheets: Sheets,
    sheet: Sheet,
    scored: Sequence[Scored],
    chosen: Mapping[Target, Choice],
    heads: Sequence[Head],
    target: Target,
    seed: int,
) -> Spread | None:
    """Return the intervals of orders or spend, corrected by the closed windows."""
    if target == "spend" and sheet.floor.value is None:
        return None
    rng = np.random.default_rng(seed)
    by_target = {head.target: head for head in heads}
    head = by_target[target]
    means = apply(head.recipe, target, _said(sheet, target, head.members), head.shift)
    raw = _raw_spread(sheet, target, sheets.horizon_days, means, rng)
    levels, expected = [np.zeros(0)], [np.zeros(0)]
    for one in scored:
        then = sheets.at(one.day)
        if target == "spend" and then.floor.value is None:
            continue
        mean = apply(chosen[target].recipe, target, one.forecasts[target], None)
        chance = np.minimum(apply(chosen["buy"].recipe, "buy", one.forecasts["buy"], None), 1.0)
        shape = _raw_spread(then, target, sheets.horizon_days, mean, rng)
        levels.append(pit(shape, chance, mean, one.labels[target], rng))
        expected.append(mean)
    return calibrate(raw, np.concatenate(levels), np.concatenate(expected))


def _raw_spread(
    sheet: Sheet, target: Target, horizon: int, means: Rows, rng: np.random.Generator
) -> Spread:
    stats = sheet.snapshot.stats
    rows = sample_rows(len(stats.orders))
    few = PurchaseStats._make(column[rows] for column in stats)
    draws = simulate(sheet.floor.btyd, sheet.floor.value, few, horizon, rng)
    if target == "spend":
        return fit_spread(draws.spend, 0.0, means)
    return fit_spread(draws.orders, 1.0, means)


def _steps(member: Member) -> int:
    """Tree levels that a customer walks in this member; a dot product counts as none."""
    return (
        len(member.state["roots"]) * int(member.state["depth"][0]) if "roots" in member.state else 0
    )


def _reliability(scored: Sequence[Scored], recipe: Recipe) -> list[list[float]]:
    """Return mean forecast and mean outcome of 15 bins over all closed windows."""
    said = np.concatenate([apply(recipe, "buy", one.forecasts["buy"], None) for one in scored])
    _, means, came = calibration(np.concatenate([one.labels["buy"] for one in scored]), said)
    return [means.round(4).tolist(), came.round(4).tolist()]


def _drivers(sheet: Sheet, members: tuple[Member, ...]) -> Meta:
    """Return what moves each member most, on customers evenly taken."""
    rows = sample_rows(len(sheet.snapshot.row))[::10]
    seen, expected = sheet.snapshot.features[rows], expectation_columns(sheet.expected)[rows]
    return {one.name: member_drivers(one, seen, expected) for one in members}


def _told(choice: Choice, target: Target, horizon: int) -> Meta:
    return {
        "target": target,
        "horizon_days": horizon,
        "chosen": choice.recipe.label,
        "reason": choice.reason,
        "windows": list(choice.windows),
        "candidates": choice.table,
    }


def to_state(bundle: Bundle) -> tuple[Arrays, Meta]:
    """Return arrays and JSON from which `from_state` builds an equal bundle."""
    arrays, meta = forecast.to_state(bundle.level1)
    heads: list[Meta] = []
    for i, head in enumerate(bundle.heads):
        for j, member in enumerate(head.members):
            arrays[f"{i}.{j}.columns"] = member.columns
            arrays |= {f"{i}.{j}.state.{name}": value for name, value in member.state.items()}
        if head.spread is not None:
            arrays |= {f"{i}.spread.{k}": v for k, v in spread_state(head.spread).items()}
        heads.append(
            {
                "target": head.target,
                "horizon_days": head.horizon_days,
                "members": [[member.name, member.lift] for member in head.members],
                "floor": head.recipe.floor,
                "anchor": head.recipe.anchor,
                "shift": head.shift,
            }
        )
    return arrays, {**meta, "features": list(NAMES), "heads": heads, "report": list(bundle.report)}


def from_state(arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Bundle:
    """Return the bundle that `to_state` described; raise ShapeError or DomainError."""
    own = {name: value for name, value in arrays.items() if "." not in name}
    level1 = forecast.from_state(own, dict(meta))
    if "heads" not in meta:
        return Bundle(level1)
    if list(meta.get("features", ())) != list(NAMES):
        raise ShapeError("the features are those of another release")
    try:
        heads = tuple(_head_from(arrays, i, one) for i, one in enumerate(meta["heads"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ShapeError(f"a head lacks {error}") from None
    return Bundle(level1, heads, tuple(meta.get("report", ())))


def _head_from(arrays: Mapping[str, NDArray[Any]], i: int, told: Mapping[str, Any]) -> Head:
    members = []
    for j, (name, lift) in enumerate(told["members"]):
        if name.partition("+")[0] not in FAMILIES or told["target"] not in TARGETS:
            raise DomainError(f"unknown model {name}")
        state = _under(arrays, f"{i}.{j}.state.")
        if not state or not all(np.isfinite(v).all() or k == "threshold" for k, v in state.items()):
            raise DomainError(f"the state of {name} is empty or not finite")
        columns = arrays[f"{i}.{j}.columns"].astype(np.int64)
        members.append(Member(name, told["target"], columns, state, float(lift)))
    spread = _under(arrays, f"{i}.spread.")
    recipe = Recipe(tuple(one.name for one in members), float(told["floor"]), float(told["anchor"]))
    return Head(
        told["target"],
        int(told["horizon_days"]),
        recipe,
        float(told["shift"]),
        tuple(members),
        spread_from(spread) if spread else None,
    )


def _under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

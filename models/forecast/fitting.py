"""Fit a bundle: backtest the candidates on closed windows, choose, and calibrate intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Meta
from models.forecast import forecast
from models.forecast.backtest import FLOOR, Member, Scored, fit_member, names_of, score
from models.forecast.btyd import PRIOR, Prior
from models.forecast.drivers import member_drivers
from models.forecast.families.base import TARGETS, Target
from models.forecast.gate import Choice, choose, eligible
from models.forecast.heads import HORIZONS_DAYS, MOST_STEPS, Bundle, Head, steps
from models.forecast.intervals import add_coverage, fit_spreads, say
from models.forecast.level1 import Expected
from models.forecast.metrics import calibration
from models.forecast.recipe import FLOOR_ONLY, Recipe, anchor_shift, apply, mixed
from models.forecast.season import Calendar, measure
from models.forecast.sheets import Sheet, Sheets, expectation_columns
from models.forecast.spread import sample_rows
from models.forecast.weighing import season_weight
from models.history import Histories, cut

Rows: TypeAlias = NDArray[np.float64]

TOO_SHORT: Final = "history shorter than the horizon"
_WINDOWS: Final = 5


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

    horizons_days  any; one beside 30 and 90 that is longer than the history gets no head
    key       (customers,) hash of each customer's id: who is sampled does not depend on the order
              of the rows; None = the row's number
    windows   closed windows to backtest on, at most; 0 = level 1 only
    without   candidates that are not tried, by name
    progress  called with the part done, 0 to 1
    Raises    ShapeError, DomainError, NumericError

    >>> from models.history import from_orders
    >>> days = np.array([100, 200])
    >>> fit_bundle(from_orders(1, 0 * days, days, days), 210, currency="EUR").report[0]["reason"]
    'history has fewer than 2 separate closed windows'
    """
    past = cut(histories, as_of_day + 1)
    level1 = forecast.fit_forecaster(
        past, as_of_day, currency=currency, discount_rate_year=discount_rate_year, prior=prior
    )
    customers = len(past.starts) - 1
    key = np.arange(customers, dtype=np.uint64) if key is None else key
    heads: list[Head] = []
    report: list[Meta] = []
    wanted = sorted(set(horizons_days))
    for index, horizon in enumerate(wanted if len(past.day) else ()):
        sheets = Sheets(past, horizon, key, prior)
        if horizon not in HORIZONS_DAYS and sheets.first_day > as_of_day + 1 - horizon:
            report += [_abstained(target, horizon) for target in TARGETS]
            continue
        part = _Part(progress, index / len(wanted), 1 / len(wanted))
        part(0.0)
        found, told = _fit_horizon(sheets, as_of_day + 1, (windows, without), seed, part)
        heads += found
        report += told
    return Bundle(level1, tuple(heads), tuple(report))


def _abstained(target: Target, horizon: int) -> Meta:
    told: Meta = {"target": target, "horizon_days": horizon, "chosen": "abstains"}
    return {**told, "reason": TOO_SHORT, "windows": [], "candidates": []}


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
    horizon = sheets.horizon_days
    days = sheets.windows(day, most)
    weight, proven = season_weight(sheets, days)
    season = measure(sheets.histories, day, horizon, sheets.prior, weight)
    scored = [score(sheets, one, (), seed, weight=weight) for one in days]
    why = eligible(scored, horizon)
    wanted = [(t, name) for t in TARGETS for name in names_of(t) if name not in without]
    if why is None:
        for i, one in enumerate(days):
            tell(i / (len(days) + 1))
            scored[i] = score(sheets, one, wanted, seed, weight=weight)
    expected = sheets.leveled(day, weight)
    known = proven and bool(season.days)
    heads: list[Head] = []
    chosen: dict[Target, Choice] = {}
    for target in TARGETS:
        first = _choice(scored, target, horizon, why, level_known=known)
        chosen[target], members = _affordable(sheets, first, target, day, seed)
        heads.append(_head(sheets, day, expected, chosen[target], members, season))
    recipes = {target: choice.recipe for target, choice in chosen.items()}
    spreads = fit_spreads(sheets, day, expected, heads, scored, seed)
    add_coverage(sheets, scored, recipes, {t: c.table for t, c in chosen.items()}, seed)
    heads = [head._replace(spread=spreads.get(head.target)) for head in heads]
    report = [_told(sheets, day, chosen[head.target], head, scored) for head in heads]
    return heads, report


def _choice(
    scored: Sequence[Scored], target: Target, horizon: int, why: str | None, *, level_known: bool
) -> Choice:
    if why is None:
        return choose(scored, target, horizon, level_known=level_known)
    return Choice(target, FLOOR_ONLY, why, tuple(one.day for one in scored), [])


def _affordable(
    sheets: Sheets, choice: Choice, target: Target, day: int, seed: int
) -> tuple[Choice, tuple[Member, ...]]:
    """Fit the winner's members; one that is too slow to refresh gives way to level 1."""
    members = tuple(fit_member(sheets, name, target, day, seed) for name in choice.recipe.members)
    if sum(steps(member) for member in members) <= MOST_STEPS:
        return choice, members
    return choice._replace(recipe=FLOOR_ONLY, reason="the winner is too slow to refresh"), ()


def _head(
    sheets: Sheets,
    day: int,
    expected: Expected,
    choice: Choice,
    members: tuple[Member, ...],
    season: Calendar,
) -> Head:
    target = choice.target
    head = Head(target, sheets.horizon_days, choice.recipe, 0.0, members, None, season)
    if not members:
        return head
    said = say(sheets.at(day), expected, head)
    inner = mixed(choice.recipe, target, said)
    return head._replace(shift=anchor_shift(choice.recipe, target, inner, said[FLOOR]))


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


def _told(sheets: Sheets, day: int, choice: Choice, head: Head, scored: Sequence[Scored]) -> Meta:
    told: Meta = {
        "target": head.target,
        "horizon_days": head.horizon_days,
        "chosen": choice.recipe.label,
        "reason": choice.reason,
        "windows": list(choice.windows),
        "candidates": choice.table,
        "season": {**head.season.at(day)._asdict(), "weight": head.season.weight},
        "drivers": _drivers(sheets.at(day), head.members),
    }
    if head.target == "buy" and scored:
        told["reliability"] = _reliability(scored, choice.recipe)
    return told

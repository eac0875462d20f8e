"""Fit a bundle: backtest the candidates on closed windows, choose, and calibrate intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Meta
from models.forecast import forecast
from models.forecast.backtest import FLOOR, Member, Scored, fit_member, names_of, score
from models.forecast.btyd import PRIOR, Prior
from models.forecast.drivers import OF_LEVEL_1, member_drivers
from models.forecast.families.base import TARGETS, Target
from models.forecast.gate import Choice, choose, eligible
from models.forecast.heads import HORIZONS_DAYS, MOST_STEPS, Bundle, Head, steps
from models.forecast.intervals import add_coverage, fit_spreads, say
from models.forecast.level1 import Expected
from models.forecast.metrics import calibration
from models.forecast.outlook import predict_bundle
from models.forecast.racing import leading
from models.forecast.recipe import FLOOR_ONLY, Recipe, anchor_shift, apply, mixed
from models.forecast.season import Calendar, measure
from models.forecast.sheets import Sheets, expectation_columns
from models.forecast.snapshot import sample
from models.forecast.weighing import season_weight
from models.history import Histories, cut, from_orders, select

Rows: TypeAlias = NDArray[np.float64]

TOO_SHORT: Final = "history shorter than the horizon"
FIRST: Final = "the first version is level 1; the next training tries the candidates"
WINDOWS: Final = 5  # closed windows that candidates are tried on
#: Customers that heads are fitted and tried on. A window scores 20,000 of them and a snapshot gives
#: a fit some 8,000, so more would only be read; what a training takes is bounded by them.
MOST_TRIED: Final = 30_000
_PROJECTED: Final = 3_000  # customers of whom is told how many had to be made coherent
_EXPLAINED: Final = 300  # customers whose drivers are averaged


def fit_bundle(
    histories: Histories,
    as_of_day: int,
    *,
    currency: str,
    discount_rate_year: float = 0.1,
    horizons_days: Sequence[int] = HORIZONS_DAYS,
    key: NDArray[np.uint64] | None = None,
    prior: Prior = PRIOR,
    windows: int = WINDOWS,
    finished_day: int | None = None,
    without: frozenset[str] = frozenset(),
    seed: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> Bundle:
    """Fit everything on what happened up to and with `as_of_day`.

    horizons_days  any; one beside 30 and 90 gets no head while the history is short of half of it
    key       (customers,) hash of each customer's id: who is sampled does not depend on the order
              of the rows; None = the row's number. Level 1 is fitted on everyone, all else on the
              `MOST_TRIED` buyers of the lowest hashes; where there are more, only the candidates
              that lead on the newer windows are tried on the older ones
    windows   closed windows to backtest on, at most; 0 = level 1 only
    finished_day  the last day that is over, <= as_of_day; None = as_of_day. The newest window ends
              with it: what a day still brings is missing in a label. Level 1 reads on to the end
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
    day = as_of_day + 1 if finished_day is None else finished_day + 1
    if len(past.day) and int(past.day.min()) >= day:
        day = as_of_day + 1  # the shop's first day: no window is closed yet
    some = tried(past, key)
    few, few_key = (past, key) if some is None else (select(past, some), key[some])
    heads: list[Head] = []
    report: list[Meta] = []
    wanted = sorted(set(horizons_days))
    left = MOST_STEPS
    for index, horizon in enumerate(wanted if len(past.day) else ()):
        sheets = Sheets(few, horizon, few_key, prior)
        if horizon not in HORIZONS_DAYS and forecast.is_short(level1.history_days, horizon):
            report += [_abstained(target, horizon) for target in TARGETS]
            continue
        part = _Part(progress, index / len(wanted), 1 / len(wanted))
        part(0.0)
        effort = _Effort(windows, without, left // (len(wanted) - index), some is not None)
        found, told = _fit_horizon(sheets, day, effort, seed, part)
        left -= sum(steps(member) for head in found for member in head.members)
        heads += found
        report += told
    bundle = Bundle(level1, tuple(heads), tuple(report))
    asked = select(past, sample(key, _PROJECTED))
    return bundle._replace(projected=predict_bundle(bundle, asked, as_of_day).projected)


def tried(past: Histories, key: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    """Return the rows that heads are fitted and tried on; None = all, there are few enough.

    >>> tried(from_orders(1, *(np.zeros(1, dtype=np.int64),) * 3), np.zeros(1, np.uint64)) is None
    True
    """
    buyers = np.flatnonzero(np.diff(past.starts) > 0)
    if len(buyers) <= MOST_TRIED:
        return None
    return np.sort(buyers[sample(key[buyers], MOST_TRIED)])


def prior_bundle(currency: str, discount_rate_year: float = 0.1) -> Bundle:
    """Return what speaks for a shop without any data: the cross-shop prior, without money.

    >>> prior_bundle("EUR").level1.repeat_buyers
    0
    """
    nobody = from_orders(0, *(np.zeros(0, dtype=np.int64),) * 3)
    return fit_bundle(nobody, 0, currency=currency, discount_rate_year=discount_rate_year)


def _abstained(target: Target, horizon: int) -> Meta:
    told: Meta = {"target": target, "horizon_days": horizon, "chosen": "abstains"}
    return {**told, "reason": TOO_SHORT, "windows": [], "candidates": []}


class _Effort(NamedTuple):
    """What a fit may take: windows and candidates of the backtest, and steps of what it ships.

    race  only candidates that lead on the newer windows are tried on the older ones
    """

    windows: int
    without: frozenset[str]
    steps: int
    race: bool


class _Part:
    """Tells progress within one horizon."""

    def __init__(self, tell: Callable[[float], None], start: float, share: float) -> None:
        self._tell, self._start, self._share = tell, start, share

    def __call__(self, done: float) -> None:
        self._tell(self._start + self._share * done)


def _fit_horizon(
    sheets: Sheets, day: int, effort: _Effort, seed: int, tell: _Part
) -> tuple[list[Head], list[Meta]]:
    """Return a head per target, and the reasons."""
    horizon, left = sheets.horizon_days, effort.steps
    days = sheets.windows(day, effort.windows) if effort.windows else []
    weight, proven = season_weight(sheets, days)
    season = measure(sheets.histories, day, horizon, sheets.prior, weight, sheets.key)
    scored = [score(sheets, one, (), seed, weight=weight) for one in days]
    why = eligible(scored, horizon) if effort.windows else FIRST
    wanted = [(t, name) for t in TARGETS for name in names_of(t) if name not in effort.without]
    if why is None:
        for i, one in enumerate(days):
            tell(i / (len(days) + 1))
            scored[i] = score(sheets, one, wanted, seed, weight=weight)
            if effort.race:
                wanted = [(t, name) for t in TARGETS for name in leading(scored[: i + 1], t)]
    expected = sheets.leveled(day, weight)
    known = proven and bool(season.days)
    heads: list[Head] = []
    chosen: dict[Target, Choice] = {}
    for target in TARGETS:
        first = _choice(scored, target, horizon, why, level_known=known)
        chosen[target], members = _affordable(sheets, first, day, seed, left)
        left -= sum(map(steps, members))
        heads.append(_head(sheets, day, expected, chosen[target], members, season))
    recipes = {target: choice.recipe for target, choice in chosen.items()}
    spreads = fit_spreads(sheets, day, expected, heads, scored, seed)
    add_coverage(sheets, scored, recipes, {t: c.table for t, c in chosen.items()}, seed)
    report = []
    for i, head in enumerate(heads):
        corrected = spreads.get(head.target)
        heads[i] = head._replace(spread=corrected and corrected.spread)
        told = _told(sheets, day, chosen[head.target], heads[i], scored)
        if corrected is not None:
            told |= {"correction": corrected.weight, "coverage80": corrected.coverage80}
        report.append(told)
    return heads, report


def _choice(
    scored: Sequence[Scored], target: Target, horizon: int, why: str | None, *, level_known: bool
) -> Choice:
    if not scored:
        return Choice(target, FLOOR_ONLY, why or FIRST, (), [])
    choice = choose(scored, target, horizon, level_known=level_known)
    return choice if why is None else choice.taken(FLOOR_ONLY, why)


def _affordable(
    sheets: Sheets, choice: Choice, day: int, seed: int, most_steps: int
) -> tuple[Choice, tuple[Member, ...]]:
    """Fit the best blend that is quick enough to refresh; level 1 always is."""
    fitted: dict[str, Member] = {}
    slow: list[str] = []
    for recipe, reason in choice.passed if choice.recipe.members else ():
        for name in recipe.members:
            if name not in fitted:
                fitted[name] = fit_member(sheets, name, choice.target, day, seed)
        members = tuple(fitted[name] for name in recipe.members)
        if sum(map(steps, members)) <= most_steps:
            note = f"; better but too slow to refresh: {slow[0]}" if slow else ""
            return choice.taken(recipe, reason + note), members
        slow.append(recipe.label)
    if slow:
        return choice.taken(FLOOR_ONLY, f"what passed is too slow to refresh: {slow[0]}"), ()
    return choice, ()


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


def _drivers(sheets: Sheets, day: int, members: tuple[Member, ...]) -> Meta:
    """Return what moves each member most, in words, on some customers."""
    if not members:
        return {FLOOR: dict.fromkeys(OF_LEVEL_1)}
    sheet = sheets.at(day)
    rows = sample(sheets.key[sheet.snapshot.row], _EXPLAINED)
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
        "drivers": _drivers(sheets, day, head.members),
    }
    if head.target == "buy" and scored:
        told["reliability"] = _reliability(scored, choice.recipe)
    return told

"""Intervals of orders and spend from the posterior, corrected by what closed windows reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Meta
from models.forecast.backtest import FLOOR, Scored
from models.forecast.conformal import Calibrated, Window, calibrate
from models.forecast.families.base import Target
from models.forecast.heads import Head
from models.forecast.level1 import Expected
from models.forecast.recipe import Recipe, apply, recipes_of
from models.forecast.sheets import Sheet, Sheets, expectation_columns
from models.forecast.snapshot import sample
from models.forecast.spread import Spread, fit_spread, pit, simulate
from models.history import PurchaseStats

Rows: TypeAlias = NDArray[np.float64]

_TARGETS: tuple[Target, ...] = ("orders", "spend")
_COVERAGE_ROWS = 4_000
_SIMULATED = 3_000  # customers whose futures are drawn


def say(sheet: Sheet, expected: Expected, head: Head) -> dict[str, Rows]:
    """Return what level 1 (with its season) and the members of a head say at a snapshot."""
    columns = expectation_columns(sheet.expected) if head.members else np.zeros((0, 0))
    seen = sheet.snapshot.features
    floor: Rows = getattr(expected, head.target)
    return {FLOOR: floor, **{one.name: one.predict(seen, columns) for one in head.members}}


def fit_spreads(
    sheets: Sheets,
    day: int,
    expected: Expected,
    heads: Sequence[Head],
    scored: Sequence[Scored],
    seed: int,
) -> dict[Target, Calibrated]:
    """Return the intervals of the heads of one horizon; spend is missing where money abstains."""
    recipes = {head.target: head.recipe for head in heads}
    found: dict[Target, Calibrated] = {}
    for head in heads:
        sheet, target = sheets.at(day), head.target
        if target == "buy" or (target == "spend" and sheet.floor.value is None):
            continue
        rng = np.random.default_rng(seed)
        means = apply(head.recipe, target, say(sheet, expected, head), head.shift)
        raw = _raw(sheets, day, target, means, rng)
        windows: list[Window] = []
        for one in scored:
            then = sheets.at(one.day)
            if target == "spend" and then.floor.value is None:
                continue
            mean = apply(recipes[target], target, one.forecasts[target], None)
            chance = np.minimum(apply(recipes["buy"], "buy", one.forecasts["buy"], None), 1.0)
            shape = _raw(sheets, one.day, target, mean, rng)
            came = one.labels[target]
            levels = pit(shape, chance, mean, came, rng)
            windows.append(Window(shape, chance, mean, came, levels))
        found[target] = calibrate(raw, windows)
    return found


def add_coverage(
    sheets: Sheets,
    scored: Sequence[Scored],
    recipes: Mapping[Target, Recipe],
    tables: Mapping[Target, list[Meta]],
    seed: int,
) -> None:
    """Add to each row of the tables how often the 80 % interval, not corrected, was right.

    >>> tables: dict[Target, list[Meta]] = {"orders": [], "spend": []}
    >>> add_coverage(Sheets(None, 30, np.zeros(0, np.uint64)), [], {}, tables, 0)
    >>> tables
    {'orders': [], 'spend': []}
    """
    for target in _TARGETS:
        table = tables[target]
        if not table or any(sheets.at(s.day).floor.value is None for s in scored):
            continue
        names = [name for name in scored[0].forecasts[target] if name != FLOOR]
        by_label = {one.label: one for one in recipes_of(target, names)}
        shapes = []
        for one in scored:
            rng = np.random.default_rng(seed)
            means = one.forecasts[target][FLOOR]
            shapes.append(_raw(sheets, one.day, target, means, rng))
        for row in table:
            inside, recipe = [], by_label[str(row["name"])]
            for one, shape in zip(scored, shapes, strict=True):
                if not set(recipe.members) <= set(one.forecasts[target]):
                    continue  # given up after newer windows
                some = slice(0, _COVERAGE_ROWS)
                mean = apply(recipe, target, one.forecasts[target], None)[some]
                chance = apply(recipes["buy"], "buy", one.forecasts["buy"], None)[some]
                rng = np.random.default_rng(seed)
                level = pit(shape, np.minimum(chance, 1.0), mean, one.labels[target][some], rng)
                inside.append(float((abs(level - 0.5) <= 0.4).mean()))
            row["coverage80"] = float(np.mean(inside))


def _raw(sheets: Sheets, day: int, target: Target, means: Rows, rng: np.random.Generator) -> Spread:
    sheet, horizon = sheets.at(day), sheets.horizon_days
    stats = sheet.snapshot.stats
    rows = sample(sheets.key[sheet.snapshot.row], _SIMULATED)
    few = PurchaseStats._make(column[rows] for column in stats)
    draws = simulate(sheet.floor.btyd, sheet.floor.value, few, horizon, rng)
    if target == "spend":
        return fit_spread(draws.spend, 0.0, means)
    return fit_spread(draws.orders, 1.0, means)

"""Which blend speaks: promoted over level 1 only when it won on closed windows, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Meta
from models.forecast.backtest import FLOOR, Scored
from models.forecast.families.base import Target
from models.forecast.metrics import (
    auc,
    bias,
    clustered_error,
    ece,
    gini_share,
    log_losses,
    poisson_deviances,
    tweedie_deviances,
)
from models.forecast.recipe import FLOOR_ONLY, Recipe, apply, recipes_of

Rows: TypeAlias = NDArray[np.float64]

LEAST_CUSTOMERS: Final = 1_000
LEAST_PER_CLASS: Final = 100
LEAST_WINDOWS: Final = 2
MOST_ECE: Final = 0.05
MOST_BIAS: Final = 0.15
_SEASON_DAYS: Final = 365
_SHORT_HORIZON_DAYS: Final = 30
_SLACK: Final = 0.01

LOSSES: Final[dict[Target, Callable[[Rows, Rows], Rows]]] = {
    "buy": log_losses,
    "orders": poisson_deviances,
    "spend": tweedie_deviances,
}
LOSS_NAMES: Final[dict[Target, str]] = {
    "buy": "log loss",
    "orders": "Poisson deviance",
    "spend": "Tweedie deviance",
}


class Choice(NamedTuple):
    """The winner of one (target, horizon) and why.

    target   of what
    recipe   what speaks
    reason   in words
    windows  first days of the closed windows, newest first
    table    one row per candidate: figures over the windows, gain over level 1, verdict
    passed   every blend that passed with the reason for it, best first
    """

    target: Target
    recipe: Recipe
    reason: str
    windows: tuple[int, ...]
    table: list[Meta]
    passed: tuple[tuple[Recipe, str], ...] = ()

    def taken(self, recipe: Recipe, reason: str) -> Choice:
        """Return the choice with another winner, marked in the table."""
        for row in self.table:
            row["chosen"] = row["name"] == recipe.label
        return self._replace(recipe=recipe, reason=reason)


def eligible(scored: Sequence[Scored], horizon_days: int) -> str | None:
    """Return why no supervised model may be tried; None if one may."""
    if sum(_disjoint([one.day for one in scored], horizon_days)) < LEAST_WINDOWS:
        return f"history has fewer than {LEAST_WINDOWS} separate closed windows"
    newest = scored[0]
    if len(newest.customer) < LEAST_CUSTOMERS:
        return f"{len(newest.customer)} customers; {LEAST_CUSTOMERS} are needed"
    bought = int(sum(one.labels["buy"].sum() for one in scored))
    others = sum(len(one.customer) for one in scored) - bought
    if min(bought, others) < LEAST_PER_CLASS:
        return f"{bought} bought and {others} did not; {LEAST_PER_CLASS} of each are needed"
    return None


def choose(
    scored: Sequence[Scored], target: Target, horizon_days: int, *, level_known: bool = False
) -> Choice:
    """Return the blend that gained most over level 1, among those that pass every rule.

    The rules: the mean gain over all closed windows exceeds one standard error (clustered by
    customer); no window is lost by more than one; calibration error and bias are within bounds,
    or no worse than level 1's. Where the horizon is longer than 30 days and the windows, from the
    first day of the oldest to the last of the newest, do not cover a year, level 1 keeps half the
    say: one season tells nothing of the next. The level is then level 1's where its season proved
    itself (`level_known`), and at least halfway to it otherwise.

    scored  newest first; what the oldest does not tell of was given up before (`racing.py`)
    Source  docs/models/forecaster.md

    >>> none = np.zeros(4)
    >>> window = Scored(0, np.arange(4), {"buy": none}, {"buy": {FLOOR: none + 0.5}})
    >>> choose([window], "buy", 30).reason
    'no candidate passed'
    """
    days = tuple(one.day for one in scored)
    names = [name for name in scored[-1].forecasts[target] if name != FLOOR]
    base = [LOSSES[target](one.labels[target], one.forecasts[target][FLOOR]) for one in scored]
    limits = _limits(scored, target)
    covered = days[0] + horizon_days - days[-1]
    follow = horizon_days > _SHORT_HORIZON_DAYS and covered < _SEASON_DAYS
    anchor = 1.0 if level_known else 0.5
    table: list[Meta] = []
    passed: list[tuple[float, Recipe, str]] = []
    for recipe in recipes_of(target, names):
        row, gain = _judge(scored, target, recipe, base, limits)
        if follow and row["verdict"] == "passed" and not _follows(recipe, anchor):
            need = f"0.5 {FLOOR}, anchor >= {anchor:g}"
            row["verdict"] = f"windows cover {covered} days, not a year: needs {need}"
        if row["verdict"] == "passed":
            told = f"gains {gain:.4f} (SE {row['se']:.4f}) in {LOSS_NAMES[target]}"
            passed.append((gain, recipe, told))
        table.append(row)
    for name in scored[0].forecasts[target]:
        on = sum(name in one.forecasts[target] for one in scored)
        if on < len(scored):
            row, _ = _judge(scored[:on], target, Recipe((name,)), base[:on], limits)
            verdict = f"others lead: tried on the newest {on} of {len(scored)} windows"
            table.append({**row, "verdict": verdict, "given_up": True})
    passed.sort(key=lambda one: -one[0])
    ranked = tuple((recipe, told) for _, recipe, told in passed)
    best = ranked[0] if ranked else (FLOOR_ONLY, "no candidate passed")
    return Choice(target, *best, days, table, ranked).taken(*best)


def _follows(recipe: Recipe, anchor: float) -> bool:
    """Tell whether level 1 has half the say and its share of the level."""
    return recipe.floor >= 0.5 and recipe.anchor >= anchor


def _limits(scored: Sequence[Scored], target: Target) -> tuple[float, float]:
    """Return the largest calibration error and bias allowed: level 1's, where that is more.

    A little is added: a blend that is anchored to level 1 has its bias up to rounding.
    """
    said = [one.forecasts[target][FLOOR] for one in scored]
    came = [one.labels[target] for one in scored]
    error = max(map(ece, came, said)) if target == "buy" else np.inf
    off = [abs(bias(*two)) for two in zip(came, said, strict=True)]
    return max(MOST_ECE, error + _SLACK), max(MOST_BIAS, max(off) + _SLACK)


def _judge(
    scored: Sequence[Scored],
    target: Target,
    recipe: Recipe,
    base: Sequence[Rows],
    limits: tuple[float, float],
) -> tuple[Meta, float]:
    """Return the row of the table, and the mean gain over level 1."""
    said = [apply(recipe, target, one.forecasts[target], None) for one in scored]
    came = [one.labels[target] for one in scored]
    gains = [b - LOSSES[target](c, s) for b, c, s in zip(base, came, said, strict=True)]
    gain = float(np.mean([one.mean() for one in gains]))
    who = np.concatenate([s.customer for s in scored])
    error = clustered_error(np.concatenate(gains), who)
    losses = np.concatenate([b - g for b, g in zip(base, gains, strict=True)])
    off = [bias(c, s) for c, s in zip(came, said, strict=True)]
    lost = sum(one.mean() < -one.std() / np.sqrt(len(one)) for one in gains)
    row: Meta = {
        "name": recipe.label,
        "loss": float(np.mean([b.mean() - g.mean() for b, g in zip(base, gains, strict=True)])),
        "loss_se": clustered_error(losses, who),
        "gain": gain,
        "se": error,
        "bias": float(np.mean(off)),
        "windows_lost": int(lost),
    }
    calibration = 0.0
    if target == "buy":
        errors = [ece(c, s) for c, s in zip(came, said, strict=True)]
        calibration = max(errors)
        row["ece"] = float(np.mean(errors))
        row["auc"] = float(np.mean([auc(c, s) for c, s in zip(came, said, strict=True)]))
    if target == "spend":
        row["gini"] = float(np.mean([gini_share(c, s) for c, s in zip(came, said, strict=True)]))
    row["verdict"] = _verdict(
        recipe, gain, error, int(lost), calibration, max(map(abs, off)), limits
    )
    return row, gain


def _verdict(
    recipe: Recipe,
    gain: float,
    error: float,
    lost: int,
    calibration: float,
    off: float,
    limits: tuple[float, float],
) -> str:
    if not recipe.members:
        return "level 1"
    if gain <= error:
        return "gains less than one standard error"
    if lost:
        return f"loses {lost} of the windows by more than one standard error"
    if calibration > limits[0]:
        return f"calibration error {calibration:.3f}"
    if off > limits[1]:
        return f"bias {off:.0%}"
    return "passed"


def _disjoint(days: Sequence[int], horizon_days: int) -> list[bool]:
    """Tell which windows, newest first, do not overlap with an earlier chosen one."""
    kept: list[bool] = []
    last = None
    for day in days:
        apart = last is None or last - day >= horizon_days
        kept.append(apart)
        last = day if apart else last
    return kept

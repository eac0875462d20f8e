"""Intervals: posterior simulation of the positive part; `conformal.py` corrects their levels.

The forecast distribution of a customer is an atom at zero of 1 - P(buy) and a positive part. The
positive part keeps the shape that simulation from the posterior of level 1 gives to customers of
that expectation, scaled to the customer's own mean.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import DomainError, ShapeError
from models.forecast.beta_geometric import MBGNBD
from models.forecast.btyd import p_alive
from models.forecast.gamma_gamma import GammaGamma
from models.history import PurchaseStats

Rows: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]

LEVELS: Final = np.concatenate(([0.0], np.arange(0.025, 1.0, 0.025), [0.99, 0.999]))
GRID: Final = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
_SHAPES: Final = 12  # shapes by expectation given an order
_BINS: Final = (0.2, 0.4, 0.6, 0.8, 0.9)  # conformal bins: quantiles of the mean forecast
_DRAWS: Final = 200


class Draws(NamedTuple):
    """Simulated futures: (n, draws) purchase days and (n, draws) minor units (0 without values)."""

    orders: Matrix
    spend: Matrix


class Spread(NamedTuple):
    """Shapes of the positive part, and corrected levels.

    least     smallest positive outcome: 1 for orders, 0 for spend
    edges     (shapes - 1,) of the mean given an order, rising
    shape     (shapes, len(LEVELS)) quantiles of (outcome - least) / (its mean)
    bin_edges (bins - 1,) of the mean forecast
    reached   (bins, len(LEVELS)) level of the raw forecast that stands for each nominal level;
              None without enough closed labels
    """

    least: float
    edges: Rows
    shape: Matrix
    bin_edges: Rows
    reached: Matrix | None = None


def simulate(
    btyd: MBGNBD,
    value: GammaGamma | None,
    stats: PurchaseStats,
    horizon_days: float,
    rng: np.random.Generator,
) -> Draws:
    """Draw futures from the posterior of each customer.

    Source  Fader, Hardie & Lee (2005); Batislam et al. (2007); Fader & Hardie (2013), eq. (5)
    """
    x, n, size = stats.frequency, len(stats.frequency), (len(stats.frequency), _DRAWS)
    age, horizon = stats.age / btyd.unit_days, horizon_days / btyd.unit_days
    rate = rng.gamma((btyd.r + x)[:, None], 1.0 / (btyd.alpha + age)[:, None], size)
    leaves = rng.beta(btyd.a, (btyd.b + x + 1.0)[:, None], size)
    bought = rng.poisson(np.minimum(rate * horizon, 1e6))
    last = rng.geometric(np.clip(leaves, 1e-9, 1.0))
    alive = rng.random(size) < p_alive(btyd, x, stats.recency, stats.age)[:, None]
    orders = np.minimum(bought, last) * alive * 1.0
    if value is None:
        return Draws(orders, np.zeros((n, _DRAWS)))
    paid = stats.paid_orders.astype(np.float64)
    shape = value.q + value.p * paid
    scale = rng.gamma(shape[:, None], 1.0, size) / (value.v + paid * stats.mean_paid_minor)[:, None]
    spend = rng.gamma(np.maximum(value.p * orders, 1e-6)) / np.maximum(scale, 1e-12)
    return Draws(orders, np.where(orders > 0, spend, 0.0))


def fit_spread(draws: Matrix, least: float, means: Rows) -> Spread:
    """Return the shapes of simulated outcomes, without correction.

    draws  (n, draws) outcomes, 0 = no order
    means  (n,) mean forecasts of everyone who is to be binned
    """
    positive = draws > 0
    some = positive.any(axis=1)
    draws, positive = draws[some], positive[some]
    mean = draws.sum(axis=1) / np.maximum(positive.sum(axis=1), 1)
    edges = np.unique(np.quantile(mean, np.arange(1, _SHAPES) / _SHAPES)) if len(mean) else mean
    which = np.searchsorted(edges, mean)
    shape = np.tile(-np.log1p(-np.minimum(LEVELS, 0.999)), (len(edges) + 1, 1))  # exponential
    for k in range(len(edges) + 1):
        own = which == k
        ratio = (draws[own] - least) / np.maximum(mean[own] - least, 1e-9)[:, None]
        held = ratio[positive[own]]
        if len(held) and held.mean() > 0:
            shape[k] = np.quantile(held / held.mean(), LEVELS)
    bins = np.unique(np.quantile(means, _BINS)) if len(means) else np.zeros(0)
    return Spread(least, edges, shape, bins)


def pit(spread: Spread, chance: Rows, mean: Rows, came: Rows, rng: np.random.Generator) -> Rows:
    """Return the level of what came in the raw forecast, the atom at zero spread at random.

    Source  Czado, Gneiting & Held (2009), "Predictive Model Assessment for Count Data"
    """
    if spread.least:  # counts are steps: spread their own atoms too
        low = np.where(came > spread.least, _reached(spread, chance, mean, came - 0.5), 0.0)
        within = low + (_reached(spread, chance, mean, came + 0.5) - low) * rng.random(len(came))
    else:
        within = _reached(spread, chance, mean, came)
    zero = 1.0 - chance
    return np.where(came > 0, zero + chance * within, zero * rng.random(len(came)))


def _reached(spread: Spread, chance: Rows, mean: Rows, came: Rows) -> Rows:
    """Return the level of an outcome within the positive part."""
    given = np.maximum(mean / np.maximum(chance, 1e-9), spread.least)
    ratio = (came - spread.least) / np.maximum(given - spread.least, 1e-9)
    which = np.searchsorted(spread.edges, given)
    found = np.empty(len(came))
    for k, row in enumerate(spread.shape):
        own = which == k
        found[own] = np.interp(ratio[own], row, LEVELS)
    return found


def quantile(spread: Spread, level: float, chance: Rows, mean: Rows, *, raw: bool = False) -> Rows:
    """Return (n,) the outcome that a share `level` of such customers stays at or below.

    chance  (n,) P(buy);  mean  (n,) mean forecast;  raw  without the correction

    >>> shape = fit_spread(np.array([[10.0, 20.0, 30.0]]), 0.0, np.array([20.0]))
    >>> quantile(shape, 0.5, np.array([1.0, 0.4]), np.array([20.0, 8.0])).round(3)
    array([20.,  0.])
    """
    wanted: Rows = np.full(len(mean), level)
    if spread.reached is not None and not raw:
        by_bin = np.array([np.interp(level, LEVELS, row) for row in spread.reached])
        wanted = by_bin[np.searchsorted(spread.bin_edges, mean)]
    within = (wanted - (1.0 - chance)) / np.maximum(chance, 1e-9)
    given = np.maximum(mean / np.maximum(chance, 1e-9), spread.least)
    shape = np.searchsorted(spread.edges, given)
    at = np.clip(within, 0.0, LEVELS[-1])
    right = np.clip(np.searchsorted(LEVELS, at, side="right"), 1, len(LEVELS) - 1)
    low, high = LEVELS[right - 1], LEVELS[right]
    part = (at - low) / (high - low)
    ratio = spread.shape[shape, right - 1] * (1.0 - part) + spread.shape[shape, right] * part
    found = spread.least + ratio * (given - spread.least)
    if spread.least:
        found = np.floor(found + 0.5)
    return np.where(within > 0.0, found, 0.0)


def chance_of_none(spread: Spread, chance: Rows, mean: Rows) -> Rows:
    """Return (n,) the corrected probability of an outcome of zero."""
    zero = 1.0 - chance
    if spread.reached is None:
        return zero
    which = np.searchsorted(spread.bin_edges, mean)
    found = np.empty(len(mean))
    for k, row in enumerate(spread.reached):
        own = which == k
        found[own] = np.interp(zero[own], row, LEVELS)
    return found


def spread_state(spread: Spread) -> dict[str, NDArray[Any]]:
    """Return the arrays of a spread."""
    arrays: dict[str, NDArray[Any]] = {
        "least": np.array([spread.least]),
        "edges": spread.edges,
        "shape": spread.shape,
        "bin_edges": spread.bin_edges,
    }
    return arrays if spread.reached is None else {**arrays, "reached": spread.reached}


def spread_from(arrays: dict[str, NDArray[Any]]) -> Spread:
    """Return the spread of its arrays; raise ShapeError or DomainError."""
    try:
        spread = Spread(
            float(arrays["least"][0]),
            arrays["edges"],
            arrays["shape"],
            arrays["bin_edges"],
            arrays.get("reached"),
        )
    except (KeyError, IndexError) as error:
        raise ShapeError(f"a spread lacks {error}") from None
    if spread.shape.shape != (len(spread.edges) + 1, len(LEVELS)):
        raise ShapeError(f"shapes are {spread.shape.shape}")
    if spread.reached is not None and spread.reached.shape != (
        len(spread.bin_edges) + 1,
        len(LEVELS),
    ):
        raise ShapeError(f"corrected levels are {spread.reached.shape}")
    if not all(np.isfinite(one).all() for one in arrays.values()):
        raise DomainError("a spread is not finite")
    return spread

"""Levels of an interval, corrected by binned conformal calibration on closed windows.

Closed windows tell which levels of the raw forecast were really reached: their quantiles replace
the nominal levels, by forecast bin. How much of that counts is tried as it will be used, forward:
each window is corrected by the older ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.forecast.spread import LEVELS, Spread, quantile

Rows: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]

LEAST_LABELS: Final = 500  # closed labels before a correction
WEIGHTS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)  # parts of a correction that are tried


class Window(NamedTuple):
    """A closed window of m customers.

    shape   of the raw forecast as of its first day
    chance  (m,) P(buy);  mean  (m,) mean forecast;  came  (m,) what came
    levels  (m,) of what came in the raw forecast, as `pit` tells
    """

    shape: Spread
    chance: Rows
    mean: Rows
    came: Rows
    levels: Rows


class Calibrated(NamedTuple):
    """A spread with corrected levels.

    weight      part of the correction that counts, of WEIGHTS
    coverage80  share of closed outcomes within 10-90 %, each window by the correction of the
                older ones; None where none has older ones with labels enough
    """

    spread: Spread
    weight: float = 0.0
    coverage80: float | None = None


def calibrate(spread: Spread, windows: Sequence[Window]) -> Calibrated:
    """Correct the levels by what closed windows reached, per bin of the mean forecast.

    windows  newest first
    The part of the correction that counts is what would have given the windows, each corrected by
    the older ones, the least interval score beside that without correction: where levels move with
    the season, the past corrects little. What no window can tell counts wholly.
    Source  Chernozhukov, Wuthrich & Zhu (2021), "Distributional conformal prediction"; bins as in
            Vovk et al. (2003), "Mondrian confidence machine"; score of Gneiting & Raftery (2007)

    >>> from models.forecast.spread import fit_spread
    >>> raw = fit_spread(np.array([[10.0, 20.0, 30.0]]), 0.0, np.array([20.0]))
    >>> ones = np.ones(500)
    >>> as_expected = Window(raw, ones, 20 * ones, 20 * ones, 0.5 * ones)
    >>> calibrate(raw, [as_expected, as_expected]).weight
    1.0
    """
    known = [one for one in windows if len(one.levels)]
    if _labels(known) < LEAST_LABELS:
        return Calibrated(spread)
    reached = _reached_levels(spread.bin_edges, known)
    scores: list[Rows] = []
    inside: list[list[float]] = []
    for i, one in enumerate(known):
        if _labels(known[i + 1 :]) < LEAST_LABELS:
            break
        older = _reached_levels(spread.bin_edges, known[i + 1 :])
        tried = [_partly(older, weight) for weight in WEIGHTS]
        found = np.array([_score(spread.bin_edges, each, one) for each in tried])
        scores.append(found / max(found[0], 1e-9))
        inside.append([_inside(spread.bin_edges, each, one) for each in tried])
    if not scores:
        return Calibrated(spread._replace(reached=reached), 1.0)
    best = int(np.argmin(np.mean(scores, axis=0)))
    coverage = float(np.mean(inside, axis=0)[best])
    if not WEIGHTS[best]:
        return Calibrated(spread, 0.0, coverage)
    return Calibrated(
        spread._replace(reached=_partly(reached, WEIGHTS[best])), WEIGHTS[best], coverage
    )


def _labels(windows: Sequence[Window]) -> int:
    return sum(len(one.levels) for one in windows)


def _reached_levels(bin_edges: Rows, windows: Sequence[Window]) -> Matrix:
    """Return (bins, len(LEVELS)) the levels that outcomes reached; nominal ones of a thin bin."""
    levels = np.concatenate([one.levels for one in windows])
    which = np.searchsorted(bin_edges, np.concatenate([one.mean for one in windows]))
    reached = np.tile(LEVELS, (len(bin_edges) + 1, 1))
    for k in range(len(reached)):
        own = levels[which == k]
        if len(own) >= LEAST_LABELS // 10:
            reached[k] = np.quantile(own, LEVELS)
            reached[k, 0], reached[k, -1] = 0.0, max(reached[k, -1], LEVELS[-1])
    return np.maximum.accumulate(reached, axis=1)


def _partly(reached: Matrix, weight: float) -> Matrix:
    moved: Matrix = weight * reached + (1.0 - weight) * LEVELS
    return moved


def _score(bin_edges: Rows, reached: Matrix, window: Window) -> float:
    """Return the mean score of the window's 80 % intervals, in the unit of the outcome."""
    shape = window.shape._replace(bin_edges=bin_edges, reached=reached)
    low, high = (quantile(shape, level, window.chance, window.mean) for level in (0.1, 0.9))
    miss = np.maximum(low - window.came, 0.0) + np.maximum(window.came - high, 0.0)
    return float((high - low + 10.0 * miss).mean())


def _inside(bin_edges: Rows, reached: Matrix, window: Window) -> float:
    """Return the share of outcomes within what stands for 10-90 %."""
    which = np.searchsorted(bin_edges, window.mean)
    low, high = (np.array([np.interp(at, LEVELS, row) for row in reached]) for at in (0.1, 0.9))
    return float(((low[which] <= window.levels) & (window.levels <= high[which])).mean())

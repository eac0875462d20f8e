"""Features as a linear model wants them: logarithms, standardized, within the range of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.forecast.families.base import Matrix, Rows, State


def fit_scaling(features: Matrix) -> dict[str, NDArray[Any]]:
    """Return low, high, center and scale of each feature's signed logarithm; constants scale to 0.

    features  (n, d), n >= 1
    """
    z = signed_log(features)
    spread = z.std(axis=0)
    scale = np.where(spread > 1e-9, spread, np.inf)
    return {"low": z.min(0), "high": z.max(0), "center": z.mean(0), "scale": 1.0 / scale}


def scaled(state: State, features: Matrix) -> Matrix:
    """Return (n, d) standardized features; a value beyond the range seen in fit counts as its end.

    Without the limits a calendar-driven feature, say age, would carry a model off its data.
    """
    z = np.clip(signed_log(features), state["low"], state["high"])
    result: Matrix = (z - state["center"]) * state["scale"]
    return result


def signed_log(features: Matrix) -> Matrix:
    """Return sign(x) log(1 + |x|).

    >>> signed_log(np.array([[-1.0, 0.0]])).round(3)
    array([[-0.693,  0.   ]])
    """
    result: Matrix = np.copysign(np.log1p(np.abs(features)), features)
    return result


def line(state: State, features: Matrix) -> Rows:
    """Return the linear predictor (n,): one product."""
    result: Rows = scaled(state, features) @ state["weights"] + state["intercept"][0]
    return result


def drivers(state: State, features: Matrix) -> Matrix:
    """Return what each feature adds to the linear predictor, against the average customer."""
    result: Matrix = scaled(state, features) * state["weights"]
    return result

"""Linear regression of the outcome itself, least squares with a light ridge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.forecast.families.base import Family, Matrix, Rows, State, Target
from models.forecast.families.scaling import drivers, fit_scaling, line, scaled

_RIDGE = 10.0


def fit(features: Matrix, outcome: Rows, target: Target, seed: int) -> dict[str, NDArray[Any]]:
    """Fit by the normal equations; they have a solution for constant and equal features too.

    Source  Hoerl & Kennard (1970), "Ridge Regression", Technometrics 12(1)

    >>> state = fit(np.array([[0.0], [1.0]]), np.array([1.0, 1.0]), "orders", 0)
    >>> predict(state, np.array([[5.0]]), "orders")
    array([1.])
    """
    del target, seed  # the same for every target, and exact
    state = fit_scaling(features)
    z, mean = scaled(state, features), outcome.mean()
    gram = z.T @ z + _RIDGE * np.eye(z.shape[1])
    weights = np.linalg.solve(gram, z.T @ (outcome - mean))
    return {**state, "weights": weights, "intercept": np.array([mean])}


def predict(state: State, features: Matrix, target: Target) -> Rows:
    """Return the fitted line, cut to the range of the target."""
    found = np.maximum(line(state, features), 0.0)
    return np.minimum(found, 1.0) if target == "buy" else found


FAMILY = Family("linear", frozenset({"orders", "spend"}), 50_000, fit, predict, drivers)

"""Generalized linear models with a log link: Poisson for orders, Tweedie for spend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.checks import NumericError
from models.forecast.families.base import Family, Matrix, Rows, State, Target
from models.forecast.families.scaling import drivers, fit_scaling, line, scaled

_ALPHA = 0.01  # strength of the L2 penalty on the weights, per row
_STEEPEST = 30.0  # of the linear predictor during the search


def fitted(power: float) -> Callable[[Matrix, Rows, Target, int], dict[str, NDArray[Any]]]:
    """Return the fit of a Tweedie GLM of this variance power: 1 = Poisson, 1 < power < 2 = Tweedie.

    Source  Jorgensen (1987), "Exponential Dispersion Models"; McCullagh & Nelder (1989)

    >>> state = fitted(1.0)(np.zeros((2, 1)), np.array([1.0, 3.0]), "orders", 0)
    >>> predict(state, np.zeros((1, 1)), "orders").round(3)
    array([2.])
    """

    def fit(features: Matrix, outcome: Rows, target: Target, seed: int) -> dict[str, NDArray[Any]]:
        del target, seed  # one target only, and exact
        state = fit_scaling(features)
        z = np.column_stack((scaled(state, features), np.ones(len(outcome))))
        unit = max(float(outcome.mean()), 1e-9)  # so that the penalty knows no currency
        y, start = outcome / unit, np.zeros(z.shape[1])
        penalty = np.full(len(start), _ALPHA)
        penalty[-1] = 1e-6  # no outcome at all would send the intercept to minus infinity

        def loss(beta: Rows) -> tuple[float, Rows]:
            eta = np.clip(z @ beta, -_STEEPEST, _STEEPEST)
            mean = np.exp(eta)
            spread = mean ** (1.0 - power)
            fit_term = y * (eta if power == 1.0 else spread / (1.0 - power))
            value = float((mean * spread / (2.0 - power) - fit_term).mean())
            slope = z.T @ (spread * (mean - y)) / len(y)
            return value + 0.5 * float(penalty @ beta**2), slope + penalty * beta

        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
        if not np.isfinite(found.x).all():
            raise NumericError("the GLM's likelihood is not finite")
        intercept = found.x[-1:] + np.log(unit)
        most = np.array([3.0 * outcome.max(initial=0.0)])
        return {**state, "weights": found.x[:-1], "intercept": intercept, "most": most}

    return fit


def predict(state: State, features: Matrix, target: Target) -> Rows:
    """Return means, at most three times the largest outcome seen in the fit."""
    del target
    eta = np.clip(line(state, features), -700.0, 700.0)
    result: Rows = np.minimum(np.exp(eta), state["most"][0])
    return result


POISSON = Family("poisson", frozenset({"orders"}), 50_000, fitted(1.0), predict, drivers)
TWEEDIE = Family("tweedie", frozenset({"spend"}), 50_000, fitted(1.5), predict, drivers)

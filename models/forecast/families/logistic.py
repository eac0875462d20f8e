"""Logistic regression of "buys within the horizon"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from models.checks import NumericError
from models.forecast.families.base import Family, Matrix, Rows, State, Target
from models.forecast.families.scaling import drivers, fit_scaling, line, scaled

_C = 0.1  # inverse strength of the L2 penalty on the weights, as in scikit-learn


def fit(features: Matrix, outcome: Rows, target: Target, seed: int) -> dict[str, NDArray[Any]]:
    """Fit by penalized maximum likelihood; separable data and a single class stay finite.

    Source  le Cessie & van Houwelingen (1992), "Ridge Estimators in Logistic Regression"
    Raises  NumericError

    >>> state = fit(np.array([[0.0], [9.0]]), np.array([0.0, 1.0]), "buy", 0)
    >>> predict(state, np.array([[0.0], [9.0]]), "buy") > 0.5
    array([False,  True])
    """
    del target, seed  # one target only, and exact
    state = fit_scaling(features)
    z = np.column_stack((scaled(state, features), np.ones(len(outcome))))
    rate = (outcome.sum() + 0.5) / (len(outcome) + 1.0)
    start = np.zeros(z.shape[1])
    start[-1] = np.log(rate / (1.0 - rate))
    penalty = np.full(len(start), 1.0 / _C)
    penalty[-1] = 1e-3  # a single class would send the intercept to infinity

    def loss(beta: Rows) -> tuple[float, Rows]:
        eta = z @ beta
        off = penalty * (beta - start * (np.arange(len(beta)) == len(beta) - 1))
        value = np.logaddexp(0.0, eta).sum() - outcome @ eta + 0.5 * float(off @ (beta - start))
        return value / len(outcome), (z.T @ (expit(eta) - outcome) + off) / len(outcome)

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    if not np.isfinite(found.x).all():
        raise NumericError("the logistic likelihood is not finite")
    return {**state, "weights": found.x[:-1], "intercept": found.x[-1:]}


def predict(state: State, features: Matrix, target: Target) -> Rows:
    """Return probabilities."""
    del target
    result: Rows = expit(line(state, features))
    return result


FAMILY = Family("logistic", frozenset({"buy"}), 50_000, fit, predict, drivers)

"""Histogram gradient boosting: shallow trees, each mending what the sum before it missed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.forecast.families.base import TARGETS, Family, Matrix, Rows, State, Target
from models.forecast.families.trees import Tree, drivers, forest_state, walk

_LEAF = 50
_OPTIONS: Final[dict[str, Any]] = {
    "max_iter": 120,
    "learning_rate": 0.05,
    "max_leaf_nodes": 12,
    "l2_regularization": 5.0,
    "max_features": 0.5,
    "early_stopping": False,
}


def fit(features: Matrix, outcome: Rows, target: Target, seed: int) -> dict[str, NDArray[Any]]:
    """Boost log loss for buy, Poisson deviance for orders and (in means) for spend.

    Source  Friedman (2001), "Greedy Function Approximation"; Ke et al. (2017), "LightGBM"

    >>> predict(fit(np.zeros((3, 1)), np.full(3, 2.0), "orders", 0), np.ones((1, 1)), "orders")
    array([2.])
    """
    from sklearn.ensemble import (  # noqa: PLC0415  only a fit needs it
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )

    unit = 1.0
    if outcome.min() == outcome.max():  # nothing to split, and no class or log to boost
        return _constant(float(outcome[0]), target)
    leaf = max(2, min(_LEAF, len(outcome) // 20))
    options = {**_OPTIONS, "min_samples_leaf": leaf, "random_state": seed}
    with threadpool_limits(1):  # small fits: threads that wait for each other cost tenfold
        if target == "buy":
            model: Any = HistGradientBoostingClassifier(**options).fit(features, outcome)
        else:
            unit = float(outcome.mean()) if target == "spend" else 1.0
            model = HistGradientBoostingRegressor(loss="poisson", **options)
            model.fit(features, outcome / unit)
    trees = [_tree(stage[0].nodes) for stage in model._predictors]  # noqa: SLF001  no public way
    base = float(np.ravel(model._baseline_prediction)[0])  # noqa: SLF001  same
    return {**forest_state(trees, base), "unit": np.array([unit])}


def predict(state: State, features: Matrix, target: Target) -> Rows:
    """Return probabilities or means."""
    raw = walk(state, features)
    if target == "buy":
        result: Rows = expit(raw)
        return result
    means: Rows = np.exp(np.clip(raw, -30.0, 30.0)) * state["unit"][0]
    return means


def _constant(value: float, target: Target) -> dict[str, NDArray[Any]]:
    """One leaf: every customer did the same."""
    value = min(max(value, 1e-3), 1.0 - 1e-3) if target == "buy" else max(value, 1e-3)
    base = np.log(value / (1.0 - value)) if target == "buy" else np.log(value)
    zero, none = np.zeros(1, dtype=np.int32), np.zeros(1)
    leaf = Tree(zero, np.full(1, np.inf), zero, zero, none, 0)
    return {**forest_state([leaf], float(base)), "unit": np.ones(1)}


def _tree(nodes: Any) -> Tree:
    leaf, itself = nodes["is_leaf"].astype(np.bool_), np.arange(len(nodes))
    left = np.where(leaf, itself, nodes["left"]).astype(np.int32)
    right = np.where(leaf, itself, nodes["right"]).astype(np.int32)
    count = nodes["count"].astype(np.float64)
    value = np.where(leaf, nodes["value"], 0.0)
    for node in np.argsort(-nodes["depth"].astype(np.int64), kind="stable"):  # children first
        if not leaf[node]:
            both = np.array([left[node], right[node]])
            value[node] = count[both] @ value[both] / count[both].sum()
    return Tree(
        feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
        threshold=np.where(leaf, np.inf, nodes["num_threshold"]),
        left=left,
        right=right,
        value=value,
        depth=int(nodes["depth"].max()),
    )


FAMILY = Family("boosting", frozenset(TARGETS), 50_000, fit, predict, drivers, has_trees=True)

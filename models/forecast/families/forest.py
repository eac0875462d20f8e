"""Random forest: the mean of deep trees grown on resampled customers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.forecast.families.base import TARGETS, Family, Matrix, Rows, State, Target
from models.forecast.families.trees import Tree, drivers, forest_state, walk

_TREES = 40
_SHARE = 0.5  # of the rows that a tree sees
_LEAF = 20
_DEPTH = 14
_FEATURES = 0.3


def fit(features: Matrix, outcome: Rows, target: Target, seed: int) -> dict[str, NDArray[Any]]:
    """Grow the trees; scikit-learn is imported here only.

    Source  Breiman (2001), "Random Forests", Machine Learning 45

    >>> state = fit(np.arange(9.0)[:, None], np.ones(9), "orders", 0)
    >>> predict(state, np.array([[3.0]]), "orders")
    array([1.])
    """
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415  only a fit needs it

    forest = RandomForestRegressor(  # on 0 and 1, squared error is Gini's impurity
        n_estimators=_TREES,
        min_samples_leaf=max(1, min(_LEAF, len(outcome) // 20)),
        max_features=_FEATURES,
        max_depth=_DEPTH,
        max_samples=_SHARE if len(outcome) > 1_000 else None,
        random_state=seed,
        n_jobs=1,
    )
    del target
    forest.fit(_narrow(features), outcome)
    return forest_state([_tree(one.tree_) for one in forest.estimators_], 0.0)


def predict(state: State, features: Matrix, target: Target) -> Rows:
    """Return the mean of the trees' leaves."""
    found = np.maximum(walk(state, _narrow(features)), 0.0)
    return np.minimum(found, 1.0) if target == "buy" else found


def _narrow(features: Matrix) -> Matrix:
    """Round to single precision, in which the thresholds were found."""
    return features.astype(np.float32).astype(np.float64)


def _tree(grown: Any) -> Tree:
    left, right = grown.children_left, grown.children_right
    leaf, itself = left < 0, np.arange(len(left))
    return Tree(
        feature=np.where(leaf, 0, grown.feature).astype(np.int32),
        threshold=np.where(leaf, np.inf, grown.threshold),
        left=np.where(leaf, itself, left).astype(np.int32),
        right=np.where(leaf, itself, right).astype(np.int32),
        value=grown.value[:, 0, 0] / _TREES,
        depth=int(grown.max_depth),
    )


FAMILY = Family("forest", frozenset(TARGETS), 20_000, fit, predict, drivers, has_trees=True)

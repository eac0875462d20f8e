"""Decision trees as flat arrays: walked for all rows and trees at once, stored without a pickle."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.forecast.families.base import Matrix, Rows, State

_BLOCK = 200_000  # (row, tree) pairs walked together: they stay in the cache


class Tree(NamedTuple):
    """One tree; a leaf has left = right = itself.

    feature, left, right  (nodes,) int
    threshold             (nodes,) float64: x <= threshold goes left
    value                 (nodes,) float64: of a leaf its answer, of others the mean of the rows
    depth                 of the deepest leaf
    """

    feature: NDArray[np.int32]
    threshold: Rows
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Rows
    depth: int


def forest_state(trees: list[Tree], base: float) -> dict[str, NDArray[Any]]:
    """Return the trees as one set of arrays; the answer is base + the sum of their leaves."""
    sizes = np.array([len(tree.value) for tree in trees])
    roots = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int32)
    return {
        "roots": roots,
        "feature": np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "left": np.concatenate([t.left + r for t, r in zip(trees, roots, strict=True)]),
        "right": np.concatenate([t.right + r for t, r in zip(trees, roots, strict=True)]),
        "value": np.concatenate([tree.value for tree in trees]),
        "depth": np.array([max(tree.depth for tree in trees)], dtype=np.int32),
        "base": np.array([base]),
    }


def walk(state: State, features: Matrix) -> Rows:
    """Return base + the sum of the leaves that each row reaches; (n,).

    >>> fork = Tree(*(np.array(v) for v in ([0, 0, 0], [5.0, np.inf, np.inf], [1, 1, 2], [2, 1, 2],
    ...     [0.0, -1.0, 1.0])), depth=1)
    >>> walk(forest_state([fork], 10.0), np.array([[4.0], [6.0]]))
    array([ 9., 11.])
    """
    result = np.empty(len(features))
    step = max(1, _BLOCK // len(state["roots"]))
    for low in range(0, len(features), step):
        block = features[low : low + step]
        node = _leaves(state, block)
        result[low : low + step] = state["value"][node].sum(axis=0) + state["base"][0]
    return result


def drivers(state: State, features: Matrix) -> Matrix:
    """Return what each feature adds: the change of the mean at every split along the way.

    Source  Palczewska et al. (2013), "Interpreting random forest models using a feature
            contribution method"
    """
    added = np.zeros_like(features)
    rows = np.broadcast_to(np.arange(len(features)), (len(state["roots"]), len(features)))
    node = np.repeat(state["roots"][:, None], len(features), axis=1)
    for _ in range(int(state["depth"][0])):
        feature = state["feature"][node]
        goes_left = features[rows, feature] <= state["threshold"][node]
        after = np.where(goes_left, state["left"][node], state["right"][node])
        np.add.at(added, (rows, feature), state["value"][after] - state["value"][node])
        node = after
    return added


def _leaves(state: State, features: Matrix) -> NDArray[np.int32]:
    """Return the leaf of each (tree, row)."""
    n = len(features)
    flat = np.ascontiguousarray(features.T).ravel()  # feature f of row i at f * n + i
    place = state["feature"].astype(np.int64) * n
    row = np.arange(n)
    children = np.column_stack((state["right"], state["left"])).ravel()
    node = np.repeat(state["roots"][:, None], n, axis=1)
    for _ in range(int(state["depth"][0])):
        goes_left = flat[place[node] + row] <= state["threshold"][node]
        node = children[2 * node + goes_left]
    return node

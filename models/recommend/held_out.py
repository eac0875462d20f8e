"""How well learned weights rank customers that they were not learned from."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.recommend.tuning import RIDGE, Choices, learn_weights

Floats: TypeAlias = NDArray[np.float64]


def held_out_ndcg(choices: Choices, start: Floats, k: int = 10, *, ridge: float = RIDGE) -> Floats:
    """Return each customer's NDCG of the k best candidates, weights learned on the other half.

    Bought items that were no candidates do not count, and neither do customers who bought none.

    start, ridge  as in `learn_weights`
    Returns  (n,) in [0, 1]; empty with fewer than two customers
    Source   Järvelin & Kekäläinen (2002), ACM TOIS 20(4); two-fold cross-fitting

    >>> from models.recommend.tuning import choices_of
    >>> two = choices_of([(np.eye(2), np.array([True, False]))] * 2)
    >>> held_out_ndcg(two, np.zeros(2))
    array([1., 1.])
    """
    n = len(choices.starts)
    if n < 2:
        return np.zeros(0)
    ends = np.append(choices.starts[1:], len(choices.bought))
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    found = np.zeros(n)
    for half in (0, 1):
        weights = learn_weights(_some(choices, ends, np.arange(1 - half, n, 2)), start, ridge=ridge)
        utility = choices.inputs @ weights.astype(np.float32)
        for one in range(half, n, 2):
            span = slice(choices.starts[one], ends[one])
            bought = choices.bought[span]
            hit = bought[np.argsort(-utility[span], kind="stable")[:k]]
            ideal = discount[: min(k, int(bought.sum()))].sum()
            found[one] = hit @ discount[: len(hit)] / ideal
    return found


def _some(choices: Choices, ends: NDArray[np.int64], who: NDArray[np.int64]) -> Choices:
    lengths = ends[who] - choices.starts[who]
    rows = np.concatenate([np.arange(choices.starts[one], ends[one]) for one in who.tolist()])
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    return Choices(
        choices.inputs[rows], choices.bought[rows], starts.astype(np.int64), choices.who[who]
    )

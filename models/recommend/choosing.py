"""Choose the settings of a fit on its last closed window: half-life, neighbors, ridge.

One setting after another, each by customers that the weights were not learned from. A value takes
over where that is better by more than its standard error; else what is shipped stays.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.recommend.held_out import held_out_ndcg
from models.recommend.model import Params, basic_weights
from models.recommend.tuning import Choices

Floats: TypeAlias = NDArray[np.float64]

HALF_LIVES_DAYS: Final = (30.0, 120.0)
NEIGHBORS: Final = (50, 200)
RIDGES: Final = (3e-4, 3e-3, 1e-2)
#: Customers by whom settings are chosen: a part of those that weights are learned from.
MOST_ASKED: Final = 300


class Trial(NamedTuple):
    """What was tried, and how its lists did.

    ndcg10     mean of both lists over customers, of candidates
    gain, se   over the best before it, and its standard error
    """

    params: Params
    ndcg10: float
    gain: float
    se: float


Lists: TypeAlias = Sequence[Choices]


def choose_params(
    lists_of: Callable[[Params], Lists],
    customers: int,
    first: Params = Params(),  # noqa: B008
) -> tuple[Params, list[Trial]]:
    """Return the settings that did best, and all that was tried.

    lists_of   what each customer could choose from and chose, by half-life and neighbors; a part
               for each list
    customers  how many were asked: `Choices.who` is below that
    first      what stays unless something is better

    >>> choose_params(lambda _: [], 0)
    (Params(half_life_days=60.0, k_neighbors=100, ridge=0.001), [])
    """
    if not customers:
        return first, []
    known: dict[tuple[float, int], Lists] = {}

    def score(params: Params) -> Floats:
        key = params.half_life_days, params.k_neighbors
        if key not in known:
            known[key] = lists_of(params)
        return _ndcg(known[key], customers, params.ridge)

    best, value = first, score(first)
    trials = [Trial(first, float(value.mean()), 0.0, 0.0)]
    for name, values in _SPACE.items():
        for other in values:
            params = Params(**{**best._asdict(), name: other})
            if any(one.params == params for one in trials):
                continue
            found = score(params)
            gain = found - value
            se = float(gain.std() / np.sqrt(customers))
            trials.append(Trial(params, float(found.mean()), float(gain.mean()), se))
            if gain.mean() > se:
                best, value = params, found
    return best, trials


_SPACE: Final = {
    "half_life_days": HALF_LIVES_DAYS,
    "k_neighbors": NEIGHBORS,
    "ridge": RIDGES,
}


def _ndcg(lists: Lists, customers: int, ridge: float) -> Floats:
    """Each customer's mean over the lists; 0 for a list without a candidate that was bought."""
    total = np.zeros((len(lists), customers))
    for row, part in zip(total, lists, strict=True):
        found = held_out_ndcg(part, basic_weights(), ridge=ridge)
        row[part.who[: len(found)]] = found
    mean: Floats = total.mean(axis=0)
    return mean

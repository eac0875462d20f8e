"""Learn a list's weights from a closed window: which of the candidates were bought then."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.checks import ShapeError, require

Floats: TypeAlias = NDArray[np.float64]

RIDGE = 1e-3
_MOST_STEPS = 150


class Choices(NamedTuple):
    """Candidates of many customers, one customer behind another.

    inputs  (c, d) float32
    bought  (c,) whether the window has it
    starts  (n,) where each customer's candidates begin; nobody has none
    who     (n,) which of those that were asked
    """

    inputs: NDArray[np.float32]
    bought: NDArray[np.bool_]
    starts: NDArray[np.int64]
    who: NDArray[np.int64]


def choices_of(parts: Sequence[tuple[Floats, NDArray[np.bool_]]]) -> Choices:
    """Stack customers; who bought none of the candidates teaches nothing and is left out."""
    who = np.array([n for n, (_, bought) in enumerate(parts) if bought.any()], dtype=np.int64)
    useful = [parts[n] for n in who.tolist()]
    if not useful:
        none = np.zeros(0, dtype=np.int64)
        return Choices(np.zeros((0, 0), np.float32), np.zeros(0, np.bool_), none, none)
    lengths = np.array([len(bought) for _, bought in useful])
    return Choices(
        np.concatenate([inputs.astype(np.float32) for inputs, _ in useful]),
        np.concatenate([bought for _, bought in useful]),
        np.concatenate(([0], np.cumsum(lengths)[:-1])),
        who,
    )


def learn_weights(choices: Choices, start: Floats, *, ridge: float = RIDGE) -> Floats:
    """Weights of the highest penalized likelihood of what was bought.

    Each bought item is a choice among the customer's candidates with probability
    exp(utility) / sum of exp(utility); each customer counts the same.

    start    (d,) what few customers stay near: the penalty is ridge |w - start|^2 per customer,
             and what the first hundred say is mixed with it
    Returns  (d,) float64
    Raises   ShapeError, DomainError
    Source   McFadden (1974), conditional logit; Cao et al. (2007), "Learning to rank: from pairwise
             approach to listwise approach", ICML

    >>> one = choices_of([(np.eye(2), np.array([True, False]))])
    >>> bool(np.diff(learn_weights(one, np.zeros(2)))[0] < 0)
    True
    """
    n = len(choices.starts)
    if not n:
        return start
    if choices.inputs.shape[1:] != start.shape:
        raise ShapeError(f"inputs {choices.inputs.shape}, weights {start.shape}")
    require(ridge > 0, "ridge > 0")
    lengths = np.diff(np.append(choices.starts, len(choices.bought)))
    bought = choices.bought.astype(np.float64)
    share = bought / np.repeat(np.add.reduceat(bought, choices.starts), lengths)
    penalty = ridge * (1.0 + 100.0 / n)
    inputs, starts = choices.inputs, choices.starts

    def loss(weights: Floats) -> tuple[float, Floats]:
        utility = (inputs @ weights.astype(np.float32)).astype(np.float64)
        utility -= np.repeat(np.maximum.reduceat(utility, starts), lengths)
        odds = np.exp(utility)
        total = np.add.reduceat(odds, starts)
        likelihood = (share * utility).sum() - np.log(total).sum()
        pull = share - odds / np.repeat(total, lengths)
        away = weights - start
        slope = (pull.astype(np.float32) @ inputs).astype(np.float64)
        return -likelihood / n + penalty * (away @ away), -slope / n + 2 * penalty * away

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _MOST_STEPS})
    result: Floats = np.asarray(found.x, dtype=np.float64)
    require(np.isfinite(result).all(), "learned weights are finite")
    return result

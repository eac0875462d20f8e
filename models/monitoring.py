"""When a model has grown old, and when a promoted one is worse than the one before."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import of_rank, require, same_shape
from models.segments.geometry import squared_distances

Matrix: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.float64]

INERTIA_ALARM = 1.10  # of the inertia that a fit on the same customers reaches
LOSS_ALARM = 1.05  # of the loss in the backtest
LOSS_ERRORS = 2.0  # standard errors, as well
GROWTH_ALARM = 1.25  # of the customers at the fit
_MOST_STEPS = 100


def inertia_ratio(points: Matrix, centers: Matrix) -> float:
    """Return how much worse centers serve customers than the nearest optimum would, >= 1.

    The inertia at the fit is no measure: customers come and grow silent, so what any centers can
    reach moves too.

    points   (n, d) of a uniform sample, on the scale of the centers
    centers  (k, d)
    Source   Lloyd (1982), "Least squares quantization in PCM", started from the centers

    >>> points = np.array([[0.0], [2.0], [9.0], [11.0]])
    >>> inertia_ratio(points, np.array([[1.0], [10.0]]))
    1.0
    >>> round(inertia_ratio(points, np.array([[1.0], [11.0]])), 2)
    1.5
    """
    of_rank(2, points=points, centers=centers)
    if not len(points):
        return 1.0
    k, moved = len(centers), centers
    nearest = np.full(len(points), -1)
    first = least = 0.0
    for step in range(_MOST_STEPS):
        distances = squared_distances(points, moved)
        now = distances.argmin(axis=1)
        least = float(distances[np.arange(len(points)), now].mean())
        first = least if not step else first
        if (now == nearest).all():
            break
        nearest = now
        count = np.bincount(now, minlength=k).astype(np.float64)
        total = np.stack([np.bincount(now, column, k) for column in points.T], axis=1)
        moved = np.divide(total, count[:, None], out=moved.copy(), where=count[:, None] > 0)
    return first / least if least > 0 else 1.0


def inertia_alarm(ratio: float) -> bool:
    """Tell whether segments should be fitted anew.

    >>> inertia_alarm(1.08), inertia_alarm(1.12)
    (False, True)
    """
    return ratio > INERTIA_ALARM


def loss_alarm(losses: Rows, expected: float) -> bool:
    """Tell whether the newest closed window went worse than the backtest said.

    losses    (n,) of the live model, one a customer
    expected  mean loss in the backtest, > 0

    >>> loss_alarm(np.full(100, 0.50), 0.40), loss_alarm(np.full(100, 0.41), 0.40)
    (True, False)
    """
    require(expected > 0, "the expected loss is > 0")
    if len(losses) < 2:
        return False
    over = float(losses.mean()) - expected
    error = float(losses.std(ddof=1)) / np.sqrt(len(losses))
    return bool(over > (LOSS_ALARM - 1.0) * expected and over > LOSS_ERRORS * error)


def growth_alarm(customers: int, at_fit: int) -> bool:
    """Tell whether there are a quarter more customers than at the fit.

    >>> growth_alarm(124, 100), growth_alarm(126, 100)
    (False, True)
    """
    return customers > GROWTH_ALARM * at_fit


def worse_than_before(live: Rows, before: Rows) -> bool:
    """Tell whether a promoted model should give way to the one before it.

    Both are scored on the newest closed window, on the same customers: where the shop itself has
    become harder to foresee, both lose, and to go back would gain nothing.

    live, before  (n,) losses; the live one may have seen the window, which only favors it

    >>> worse_than_before(np.full(50, 0.60), np.full(50, 0.40))
    True
    >>> worse_than_before(np.full(50, 0.41), np.full(50, 0.40))
    False
    """
    same_shape(live=live, before=before)
    if len(live) < 2:
        return False
    over = live - before
    error = float(over.std(ddof=1)) / np.sqrt(len(over))
    limit = max((LOSS_ALARM - 1.0) * float(before.mean()), LOSS_ERRORS * error)
    return bool(over.mean() > limit)

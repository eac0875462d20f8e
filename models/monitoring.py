"""When a model has grown old, and when a promoted one is worse than the one before."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import of_rank, require, same_shape
from models.forecast.gate import MOST_BIAS, MOST_ECE
from models.forecast.metrics import ECE_BINS, bias, ece
from models.segments.geometry import squared_distances

Matrix: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.float64]

INERTIA_ALARM = 1.10  # of the inertia that a fit on the same customers reaches
LOSS_ALARM = 1.05  # of the loss in the backtest
LOSS_ERRORS = 2.0  # standard errors, as well
GROWTH_ALARM = 1.25  # of the customers at the fit
ECE_SLACK = 0.02  # beyond the model before, where that one is out of its band
BIAS_SLACK = 0.05
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


def inertia_alarm(ratio: float, segments: int, customers: int) -> bool:
    """Tell whether segments should be fitted anew.

    ratio                as `inertia_ratio` of a sample
    segments, customers  centers and points: a refit of few points gains by itself

    >>> inertia_alarm(1.08, 6, 5_000), inertia_alarm(1.12, 6, 5_000), inertia_alarm(1.12, 6, 120)
    (False, True, False)
    """
    return ratio * (1.0 - segments / max(customers, 1)) > INERTIA_ALARM


def loss_alarm(losses: Rows, before: Rows, expected: float) -> bool:
    """Tell whether the newest closed window went worse than the backtest said.

    losses    (n,) of the live model on that window, one a customer
    before    (m,) of the same model on the last window before its training: how far means scatter
    expected  mean loss in the backtest, > 0

    >>> rows = np.tile([0.3, 0.5], 50)
    >>> loss_alarm(rows + 0.1, rows, 0.40), loss_alarm(rows + 0.01, rows, 0.40)
    (True, False)
    """
    require(expected > 0, "the expected loss is > 0")
    over = float(losses.mean()) - expected
    error = np.hypot(_standard_error(losses), _standard_error(before))
    return bool(over > (LOSS_ALARM - 1.0) * expected and over > LOSS_ERRORS * error)


def level_error(came: Rows, said: Rows) -> float:
    """Return the standard error of the relative error of a sum, forecast over actual; inf of 0.

    came, said  (n,) what each customer did, and what was foretold

    >>> round(level_error(np.array([1.0, 1.0, 2.0, 0.0]), np.ones(4)), 3)
    0.354
    """
    same_shape(came=came, said=said)
    total = float(came.sum())
    return float(np.sqrt(len(came)) * (came - said).std() / total) if total > 0 else np.inf


def level_alarm(came: Rows, said: Rows) -> bool:
    """Tell whether a closed window's sum was foretold worse than to 15 %, by more than chance.

    >>> level_alarm(np.ones(50), np.full(50, 1.2)), level_alarm(np.ones(50), np.full(50, 1.1))
    (True, False)
    """
    return abs(bias(came, said)) > max(MOST_BIAS, LOSS_ERRORS * level_error(came, said))


def out_of_band(came: Rows, said: Rows, before: Rows, *, are_chances: bool) -> list[str]:
    """Tell how calibration or level of forecasts is out of its band, as sentences; [] = it is not.

    The band is a calibration error of 0.05 and a sum within 15 %, or what the model before does,
    where that is worse; and what chance gives on so few customers.

    came         (n,) what each customer did in closed windows
    said         (n,) what is foretold        before  (n,) by the model before
    are_chances  they are probabilities: calibration counts too

    >>> came = np.tile([0.0, 1.0], 500)
    >>> out_of_band(came, np.full(1000, 0.9), np.full(1000, 0.5), are_chances=True)
    ['calibration error 0.400', 'bias 80%']
    """
    same_shape(came=came, said=said, before=before)
    found = []
    if are_chances:
        error, chance = ece(came, said), _ece_by_chance(said)
        if error > max(MOST_ECE + chance, ece(came, before) + ECE_SLACK):
            found.append(f"calibration error {error:.3f}")
    off = bias(came, said)
    sure = LOSS_ERRORS * level_error(came, said)
    if abs(off) > max(MOST_BIAS + sure, abs(bias(came, before)) + BIAS_SLACK):
        found.append(f"bias {off:.0%}")
    return found


def growth_alarm(customers: int, at_fit: int) -> bool:
    """Tell whether there are a quarter more customers than at the fit.

    >>> growth_alarm(124, 100), growth_alarm(126, 100)
    (False, True)
    """
    return customers > GROWTH_ALARM * at_fit


def worse_than_before(live: Rows, before: Rows, *, errors: float = LOSS_ERRORS) -> bool:
    """Tell whether a promoted model should give way to the one before it.

    Both are scored on the newest closed window, on the same customers: where the shop itself has
    become harder to foresee, both lose, and to go back would gain nothing.

    live, before  (n,) losses; the live one may have seen the window, which only favors it
    errors        standard errors that are no chance any more

    >>> worse_than_before(np.full(50, 0.60), np.full(50, 0.40))
    True
    >>> worse_than_before(np.full(50, 0.41), np.full(50, 0.40))
    False
    """
    same_shape(live=live, before=before)
    if len(live) < 2:
        return False
    over = live - before
    limit = max((LOSS_ALARM - 1.0) * float(before.mean()), errors * _standard_error(over))
    return bool(over.mean() > limit)


def _standard_error(values: Rows) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.inf


def _ece_by_chance(chance: Rows) -> float:
    """Return about the calibration error of customers who do what is foretold."""
    bins = min(ECE_BINS, max(len(chance), 1))
    spread = float(np.sqrt(chance * (1.0 - chance)).mean())
    return float(np.sqrt(2.0 * bins / (np.pi * max(len(chance), 1)))) * spread

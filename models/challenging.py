"""Whether a challenger takes over from the champion: paired losses on the same closed windows.

Whoever compares builds the features of each window as of its first day, for both alike; a model
brings nothing but its parameters.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.checks import of_rank, require, same_shape
from models.forecast.metrics import clustered_error

Rows: TypeAlias = NDArray[np.float64]

LEAST_CUSTOMERS = 20  # in all windows: fewer decide nothing
MARGIN = 0.01  # of the champion's loss: what a model of newer data may be worse by, at most
CLEARLY = 2.0  # standard errors
CLEARLY_ONCE = 3.0  # in one window: a bundle is compared on some eighteen


class Contest(NamedTuple):
    """Both models on one closed window; the rows are the same customers.

    first_day   of the window, days since 1970-01-01: what was known before it is what both saw
    known_day   first day that neither of the two that speak knows
    customer    (n,) who, the same number in every window
    champion    (n,) loss of each row, >= 0: log loss, deviance, 1 - NDCG
    challenger  (n,)
    """

    first_day: int
    known_day: int
    customer: NDArray[np.int64]
    champion: Rows
    challenger: Rows


class Verdict(NamedTuple):
    """What came of it.

    promote  the challenger goes live
    reasons  every rule that was broken, as a sentence; empty = none
    loss     the champion's mean loss over the windows
    gain     of the challenger over it, > 0 is better
    error    standard error of the gain, a customer's rows taken together
    """

    promote: bool
    reasons: tuple[str, ...]
    loss: float
    gain: float
    error: float


def judge(contests: Sequence[Contest], *, must_win: bool) -> Verdict:
    """Hold a challenger against the champion.

    One that must win gains more than one standard error over all windows, and loses none of them by
    more than one. One that is due, since time has passed, must not be worse: it loses neither the
    windows together by more than two standard errors and 1 %, nor one of them by more than three.
    Who has seen a day of a window is not heard at all.

    must_win  not to be worse is not enough
    Raises    ShapeError, DomainError (a loss is not finite)
    Source    docs/training.md: why what is due need not win

    >>> rows = np.linspace(0.3, 0.9, 40)
    >>> judge([Contest(100, 100, np.arange(40), rows, rows - 0.1)], must_win=True).promote
    True
    >>> judge([Contest(100, 101, np.arange(40), rows, rows - 0.1)], must_win=True).reasons
    ('its data end after the first day of 1 of 1 windows',)
    """
    for one in contests:
        of_rank(1, champion=one.champion)
        same_shape(customer=one.customer, champion=one.champion, challenger=one.challenger)
        require(np.isfinite(one.champion), "the champion's losses are finite")
        require(np.isfinite(one.challenger), "the challenger's losses are finite")
    seen = sum(one.known_day > one.first_day for one in contests)
    if seen:
        reason = f"its data end after the first day of {seen} of {len(contests)} windows"
        return Verdict(promote=False, reasons=(reason,), loss=0.0, gain=0.0, error=0.0)
    rows = sum(len(one.customer) for one in contests)
    if rows < LEAST_CUSTOMERS:
        few = f"{rows} customers in closed windows; {LEAST_CUSTOMERS} are needed"
        return Verdict(not must_win, (few,) if must_win else (), 0.0, 0.0, 0.0)
    gains = np.concatenate([one.champion - one.challenger for one in contests])
    who = np.concatenate([one.customer for one in contests])
    loss = float(np.concatenate([one.champion for one in contests]).mean())
    gain, error = float(gains.mean()), clustered_error(gains, who)
    reasons = []
    if must_win and gain <= error:
        reasons.append(f"gains {gain:.4f}, not more than one standard error of {error:.4f}")
    if not must_win and gain < -max(CLEARLY * error, MARGIN * loss):
        reasons.append(f"loses {-gain:.4f} with a standard error of {error:.4f}")
    errors, slack = (1.0, 0.0) if must_win else (CLEARLY_ONCE, MARGIN * loss)
    lost = sum(_is_lost(one, errors, slack) for one in contests)
    if lost:
        reasons.append(f"loses {lost} of {len(contests)} windows")
    return Verdict(not reasons, tuple(reasons), loss, gain, error)


def auc_gain(challenger: Rows, champion: Rows, outcome: Rows) -> tuple[float, float]:
    """Return how much more the challenger's score tells of the outcome, and its standard error.

    challenger, champion  (n,) scores of the same customers
    outcome               (n,) 0 or 1, both occur
    Returns               difference of the areas under the ROC curves, and its standard error
    Raises                ShapeError, DomainError
    Source                DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44(3)

    >>> came = np.array([0.0, 0.0, 1.0, 1.0])
    >>> found = auc_gain(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0]), came)
    >>> np.round(found, 3).tolist()
    [0.25, 0.354]
    """
    same_shape(challenger=challenger, champion=champion, outcome=outcome)
    bought = outcome > 0
    require(bool(bought.any() and not bought.all()), "both outcomes occur")
    own, others = (_placed(score, bought) for score in (challenger, champion))
    above, below = own[0] - others[0], own[1] - others[1]
    return float(above.mean()), float(np.sqrt(_mean_variance(above) + _mean_variance(below)))


def _placed(score: Rows, bought: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """Return of each who bought the share of the others below, and of the others the reverse."""
    ranks = rankdata(score)
    yes, no = int(bought.sum()), int((~bought).sum())
    above = (ranks[bought] - rankdata(score[bought])) / no
    below = 1.0 - (ranks[~bought] - rankdata(score[~bought])) / yes
    return above, below


def _mean_variance(values: Rows) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0


def _is_lost(one: Contest, errors: float, slack: float) -> bool:
    if not len(one.customer):
        return False
    gains = one.champion - one.challenger
    return bool(gains.mean() < -max(errors * clustered_error(gains, one.customer), slack))

"""Parameters and likelihood of the beta-geometric/NBD family: BG/NBD and MBG/NBD.

While alive, a customer buys at random with a personal rate (Gamma distributed over customers);
after each purchase the customer leaves for good with a personal probability (Beta distributed).
In MBG/NBD the first purchase may already be the last; in BG/NBD it never is, so that BG/NBD holds
every one-time buyer to be alive. Histories come in days; the parameters stay in `unit_days`, so
that published ones (in weeks) can be read off.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaln, psi

from models.checks import finite, of_rank, require, same_shape

Rows: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BetaGeometric:
    """Parameters of a beta-geometric/NBD model, all > 0.

    r, alpha   shape and rate of the purchase rate: alpha in units of time
    a, b       of the dropout probability
    unit_days  days per unit of time
    """

    r: float
    alpha: float
    a: float
    b: float
    unit_days: float = 7.0
    first_may_be_last: ClassVar[int] = 0

    def __post_init__(self) -> None:
        """Raise DomainError unless every parameter is finite and > 0."""
        values = np.array([self.r, self.alpha, self.a, self.b, self.unit_days])
        require(np.isfinite(values) & (values > 0), "r, alpha, a, b, unit_days are finite and > 0")


class BGNBD(BetaGeometric):
    """BG/NBD; Fader, Hardie & Lee (2005), Marketing Science 24(2), 275-284."""

    __slots__ = ()


class MBGNBD(BetaGeometric):
    """MBG/NBD; Batislam, Denizel & Filiztekin (2007), Int. J. Research in Marketing 24(3)."""

    __slots__ = ()
    first_may_be_last = 1


class Prior(NamedTuple):
    """Independent normal priors on the logarithms of r, alpha (weeks), a, b."""

    mean: tuple[float, float, float, float]
    sd: float


def in_units(
    model: BetaGeometric, frequency: Rows, recency: Rows, age: Rows
) -> tuple[Rows, Rows, Rows]:
    """Check histories in days and return x, t_x, T in the model's unit of time.

    Raises  ShapeError, DomainError
    """
    of_rank(1, frequency=frequency)
    same_shape(frequency=frequency, recency=recency, age=age)
    ok = (frequency >= 0) & (recency >= 0) & (recency <= age) & np.isfinite(frequency + age)
    require(ok, "0 <= frequency, 0 <= recency <= age, all finite")
    return frequency, recency / model.unit_days, age / model.unit_days


def log_odds_of_having_left(model: BetaGeometric, x: Rows, t_x: Rows, t: Rows) -> Rows:
    """Log odds of having left after the last purchase; -inf where that could not happen.

    x, t_x, t  (n,) histories in the model's unit
    Source     Fader, Hardie & Lee (2008), "Computing P(alive) using the BG/NBD model"
    """
    survivals = model.b + x + model.first_may_be_last - 1.0
    could_leave = (x > 0) | (model.first_may_be_last == 1)
    odds = np.log(model.a) - np.log(np.where(could_leave, survivals, 1.0))
    odds += (model.r + x) * np.log((model.alpha + t) / (model.alpha + t_x))
    return np.where(could_leave, odds, -np.inf)


def log_likelihood(model: BetaGeometric, frequency: Rows, recency: Rows, age: Rows) -> Rows:
    """Log-likelihood of each history, time measured in the model's own unit.

    frequency  (n,) repeat purchases, >= 0
    recency    (n,) days from the first to the last purchase, 0 <= recency <= age
    age        (n,) days from the first purchase to now
    Returns    (n,) float64
    Raises     ShapeError, DomainError
    Source     Fader, Hardie & Lee (2005), eq. (6); Batislam et al. (2007)

    >>> cdnow = BGNBD(r=0.243, alpha=4.414, a=0.793, b=2.426)
    >>> log_likelihood(cdnow, *np.array([[2.0], [30.43 * 7], [38.86 * 7]])).round(3)
    array([-9.459])
    """
    x, t_x, t = in_units(model, frequency, recency, age)
    return finite(_log_likelihood(model, x, t_x, t), "log_likelihood")


def _log_likelihood(model: BetaGeometric, x: Rows, t_x: Rows, t: Rows) -> Rows:
    r, alpha, a, b = model.r, model.alpha, model.a, model.b

    def by_count(x: Rows) -> Rows:
        deaths = x + model.first_may_be_last
        staying = gammaln(a + b) + gammaln(b + deaths) - gammaln(b) - gammaln(a + b + deaths)
        return np.asarray(gammaln(r + x) - gammaln(r) + staying)

    buying = r * np.log(alpha) - (r + x) * np.log(alpha + t)
    left: Rows = np.logaddexp(0.0, log_odds_of_having_left(model, x, t_x, t))
    total: Rows = left + buying + _once_per_run(by_count, x)
    return total


def log_likelihood_gradient(
    model: BetaGeometric, x: Rows, t_x: Rows, t: Rows
) -> tuple[Rows, NDArray[np.float64]]:
    """Log-likelihood (n,) and its gradient (4, n) by log r, log alpha, log a, log b.

    x, t_x, t  (n,) histories in the model's unit; fastest where equal x stand together
    """
    r, alpha, a, b, deaths = model.r, model.alpha, model.a, model.b, x + model.first_may_be_last
    left = expit(log_odds_of_having_left(model, x, t_x, t))
    by_r = _once_per_run(lambda x: psi(r + x) - psi(r), x) - np.log1p(t / alpha)
    by_r += left * np.log((alpha + t) / (alpha + t_x))
    by_alpha = r / alpha - (r + x) * ((1.0 - left) / (alpha + t) + left / (alpha + t_x))
    all_deaths = _once_per_run(lambda deaths: psi(a + b) - psi(a + b + deaths), deaths)
    by_a = all_deaths + left / a
    survivals = np.where(left > 0, b + deaths - 1.0, 1.0)
    by_b = all_deaths + _once_per_run(lambda deaths: psi(b + deaths) - psi(b), deaths)
    by_b -= left / survivals
    gradient = np.stack((r * by_r, alpha * by_alpha, a * by_a, b * by_b))
    return _log_likelihood(model, x, t_x, t), gradient


def _once_per_run(function: Callable[[Rows], Rows], x: Rows) -> Rows:
    """Return function(x), evaluated once per run of equal values: gamma functions are dear.

    >>> _once_per_run(lambda x: 10 * x, np.array([1.0, 1.0, 2.0, 1.0]))
    array([10., 10., 20., 10.])
    """
    first = np.flatnonzero(np.diff(x, prepend=np.nan) != 0)
    return np.repeat(function(x[first]), np.diff(first, append=len(x)))

"""Buy-till-you-die forecasts of repeat purchases: MBG/NBD (the default) and BG/NBD.

All functions take and return days. MBG/NBD is the default because BG/NBD holds every one-time
buyer to be alive for ever.
"""

from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from models.checks import DomainError, NumericError, finite, require
from models.forecast.alive import purchases_if_alive
from models.forecast.beta_geometric import (
    BGNBD,
    MBGNBD,
    BetaGeometric,
    Prior,
    in_units,
    log_likelihood,
    log_likelihood_gradient,
    log_odds_of_having_left,
)
from models.forecast.prior import PRIOR

__all__ = [
    "BGNBD",
    "MAX_WAIT_DAYS",
    "MBGNBD",
    "PRIOR",
    "BetaGeometric",
    "Prior",
    "expected_purchases",
    "fit_bg_nbd",
    "fit_mbg_nbd",
    "log_likelihood",
    "next_purchase_quantile",
    "p_alive",
    "purchase_probability",
]

Rows: TypeAlias = NDArray[np.float64]

MAX_WAIT_DAYS = 3_650_000.0  # a quantile of the waiting time beyond 10,000 years is cut to this
_WEEK = 7.0
_STARTS = np.log([[0.5, 5.0, 0.8, 2.5], [1.5, 10.0, 0.3, 3.0]])  # alpha in weeks
_BOUNDS = [(-7.0, 9.0)] * 4  # of the logarithms, alpha in weeks
_Model = TypeVar("_Model", bound=BetaGeometric)


def p_alive(model: BetaGeometric, frequency: Rows, recency: Rows, age: Rows) -> Rows:
    """Probability that a customer is still a customer.

    Arguments, Raises as `log_likelihood`
    Returns   (n,) float64 in [0, 1], non-increasing in age
    Source    Fader, Hardie & Lee (2008), "Computing P(alive) using the BG/NBD model"

    >>> cdnow = BGNBD(r=0.243, alpha=4.414, a=0.793, b=2.426)
    >>> p_alive(cdnow, *np.array([[2.0], [30.43 * 7], [38.86 * 7]])).round(4)
    array([0.7266])
    """
    return _alive(model, *in_units(model, frequency, recency, age))


def purchase_probability(
    model: BetaGeometric, horizon_days: float, frequency: Rows, recency: Rows, age: Rows
) -> Rows:
    """Probability of at least one purchase in (age, age + horizon].

    horizon_days  >= 0
    Others as `log_likelihood`
    Returns       (n,) float64 in [0, p_alive], non-decreasing in the horizon
    Source        p_alive times 1 - E[exp(-lambda horizon)] over Gamma(r + x, alpha + T)

    >>> cdnow = MBGNBD(r=0.5248, alpha=6.183, a=0.8914, b=1.614)
    >>> purchase_probability(cdnow, 273.0, *np.array([[2.0], [30.43 * 7], [38.86 * 7]])).round(3)
    array([0.56])
    """
    x, t_x, t = in_units(model, frequency, recency, age)
    reach = _reach(model, horizon_days, t)
    return _alive(model, x, t_x, t) * -np.expm1(-(model.r + x) * np.log1p(reach))


def expected_purchases(
    model: BetaGeometric, horizon_days: float, frequency: Rows, recency: Rows, age: Rows
) -> Rows:
    """Expected purchases in (age, age + horizon], given each customer's history.

    horizon_days  >= 0
    Others as `log_likelihood`
    Returns       (n,) float64 purchases: finite, >= 0, non-decreasing in the horizon
    Source        Fader, Hardie & Lee (2005), eq. (10); the authors' customer gives 1.226

    >>> cdnow = BGNBD(r=0.243, alpha=4.414, a=0.793, b=2.426)
    >>> expected_purchases(cdnow, 39.0 * 7, *np.array([[2.0], [30.43 * 7], [38.86 * 7]])).round(3)
    array([1.226])
    """
    x, t_x, t = in_units(model, frequency, recency, age)
    given_alive = purchases_if_alive(
        model.r + x, _reach(model, horizon_days, t), model.a, model.b + x + model.first_may_be_last
    )
    return _alive(model, x, t_x, t) * given_alive


def next_purchase_quantile(
    model: BetaGeometric,
    quantile: float,
    frequency: Rows,
    recency: Rows,
    age: Rows,
    *,
    within_days: float | None = None,
) -> Rows:
    """Quantile of the days until the next purchase, given that the customer is alive.

    quantile     in [0, 1)
    within_days  condition also on a purchase within so many days, > 0
    Others as `log_likelihood`
    Returns      (n,) float64 days, in [0, within_days] or [0, MAX_WAIT_DAYS]
    Source       inverse of 1 - ((alpha + T) / (alpha + T + t)) ** (r + x)

    >>> even = MBGNBD(r=1.0, alpha=1.0, a=1.0, b=1.0, unit_days=1.0)
    >>> next_purchase_quantile(even, 0.5, *np.array([[0.0], [0.0], [9.0]]))
    array([10.])
    """
    require(0 <= quantile < 1, "0 <= quantile < 1")
    x, _, t = in_units(model, frequency, recency, age)
    share, most = np.full(len(x), quantile), MAX_WAIT_DAYS
    if within_days is not None:
        require(within_days > 0, "within_days > 0")
        share = -quantile * np.expm1(-(model.r + x) * np.log1p(_reach(model, within_days, t)))
        most = within_days
    with np.errstate(over="ignore"):
        wait = (model.alpha + t) * np.expm1(-np.log1p(-share) / (model.r + x)) * model.unit_days
    return finite(np.clip(wait, 0.0, most), "next_purchase_quantile")


def fit_mbg_nbd(
    frequency: Rows,
    recency: Rows,
    age: Rows,
    *,
    unit_days: float = 7.0,
    prior: Prior | None = PRIOR,
    prior_weight: float = 1.0,
) -> MBGNBD:
    """Fit MBG/NBD by penalized maximum likelihood (without a prior: by maximum likelihood).

    frequency, recency, age  (n,) as `log_likelihood`; n = 0 returns the prior's mode
    unit_days                days per unit of the parameters, > 0
    prior, prior_weight      the prior counts as `prior_weight` of itself, >= 0
    Raises                   ShapeError, DomainError (no customer and no prior), NumericError
    Source                   Batislam et al. (2007); parameters on CDNOW: docs/models/btyd.md

    >>> none = np.zeros(0)
    >>> fit_mbg_nbd(none, none, none).alpha.__round__(3)
    4.827
    """
    return _fit(MBGNBD, (frequency, recency, age), unit_days, prior, prior_weight)


def fit_bg_nbd(
    frequency: Rows,
    recency: Rows,
    age: Rows,
    *,
    unit_days: float = 7.0,
    prior: Prior | None = PRIOR,
    prior_weight: float = 1.0,
) -> BGNBD:
    """Fit BG/NBD; arguments and errors as `fit_mbg_nbd`.

    Source  Fader, Hardie & Lee (2005), section 4
    """
    return _fit(BGNBD, (frequency, recency, age), unit_days, prior, prior_weight)


def _reach(model: BetaGeometric, horizon_days: float, t: Rows) -> Rows:
    require(0 <= horizon_days < np.inf, "0 <= horizon_days < infinity")
    return (horizon_days / model.unit_days) / (model.alpha + t)


def _alive(model: BetaGeometric, x: Rows, t_x: Rows, t: Rows) -> Rows:
    alive: Rows = expit(-log_odds_of_having_left(model, x, t_x, t))
    return alive


def _fit(
    family: type[_Model],
    history: tuple[Rows, Rows, Rows],
    unit_days: float,
    prior: Prior | None,
    prior_weight: float,
) -> _Model:
    """Minimize the penalized negative log-likelihood over the logarithms of the parameters."""
    x, t_x, t = in_units(family(1.0, 1.0, 1.0, 1.0, _WEEK), *history)
    require(prior_weight >= 0, "prior_weight >= 0")
    if len(x) == 0 and (prior is None or prior_weight == 0):
        raise DomainError("no customer to fit on, and no prior")
    (t, t_x, x), counts = _distinct(np.stack((t, t_x, x)))
    size = max(int(counts.sum()), 1)
    mean = np.array(prior.mean if prior else np.zeros(4))
    tightness = prior_weight / prior.sd**2 if prior else 0.0

    def loss(log_parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        r, alpha, a, b = np.exp(log_parameters).tolist()
        model = family(r, alpha, a, b, _WEEK)
        value, gradient = log_likelihood_gradient(model, x, t_x, t)
        off = log_parameters - mean
        penalty = 0.5 * tightness * float(off @ off)
        return (penalty - float(counts @ value)) / size, (
            tightness * off - gradient @ counts
        ) / size

    starts = _STARTS if len(x) else mean[None, :]
    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8}
    fits = [
        minimize(loss, start, jac=True, method="L-BFGS-B", bounds=_BOUNDS, options=options)
        for start in starts
    ]
    best = min((fit for fit in fits if np.isfinite(fit.fun)), key=lambda fit: fit.fun, default=None)
    if best is None:
        raise NumericError("the likelihood is not finite at any start")
    r, alpha, a, b = np.exp(best.x).tolist()
    return family(r, alpha * _WEEK / unit_days, a, b, unit_days)


def _distinct(columns: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the distinct columns of a (3, n) matrix, last row first, and how often each occurs."""
    columns = columns[:, np.lexsort(columns)]
    new = np.ones(columns.shape[1], dtype=np.bool_)
    new[1:] = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    first = np.flatnonzero(new)
    return columns[:, first], np.diff(np.append(first, columns.shape[1]))

"""Gamma-Gamma: the money of an order, shrunk from each customer's mean toward the shop's.

Orders of one customer scatter around a personal mean (Gamma with shape p); personal means scatter
over customers (inverse Gamma with shape q). Assumes that money does not depend on frequency.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln, psi

from models.checks import DomainError, NumericError, finite, of_rank, require, same_shape

Rows: TypeAlias = NDArray[np.float64]

_LEAST_Q = 1.05  # at q <= 1 the mean order of a new customer would be infinite
_BOUNDS = [(-5.0, 9.0), (float(np.log(_LEAST_Q)), 9.0), (-9.0, 12.0)]  # of the logarithms
_PRIOR_MEAN = np.log([4.0, 4.0, 0.75])  # v in medians of the customers' means: E = p v / (q - 1)


@dataclass(frozen=True, slots=True)
class GammaGamma:
    """Parameters p, q (shapes) and v (in the money's own unit), all > 0, q > 1."""

    p: float
    q: float
    v: float

    def __post_init__(self) -> None:
        """Raise DomainError unless every parameter is finite, > 0, and q > 1."""
        values = np.array([self.p, self.q - 1.0, self.v])
        require(np.isfinite(values) & (values > 0), "p > 0, q > 1, v > 0, all finite")


def expected_value(model: GammaGamma, paid_orders: Rows, mean_minor: Rows) -> Rows:
    """Expected money of a customer's next order.

    paid_orders  (n,) orders with a known amount, >= 0
    mean_minor   (n,) their mean, minor units, > 0 where paid_orders > 0 (else ignored)
    Returns      (n,) float64 minor units per order, between the customer's mean and the shop's
    Raises       ShapeError, DomainError
    Source       Fader & Hardie (2013), "The Gamma-Gamma Model of Monetary Value", eq. (5)

    >>> cdnow = GammaGamma(p=6.25, q=3.74, v=15.44)
    >>> expected_value(cdnow, np.array([2.0, 0.0]), np.array([22.35, 0.0])).round(2)
    array([24.66, 35.22])
    """
    _check(paid_orders, mean_minor)
    weight = model.p * paid_orders
    own = np.where(paid_orders > 0, mean_minor, 0.0)
    return finite((model.p * model.v + weight * own) / (weight + model.q - 1.0), "expected_value")


def log_likelihood(model: GammaGamma, paid_orders: Rows, mean_minor: Rows) -> Rows:
    """Log-likelihood of each customer's mean order; (n,) float64, paid_orders >= 1.

    Source  Fader & Hardie (2013), eq. (1a)

    >>> even = GammaGamma(p=1.0, q=2.0, v=1.0)
    >>> np.exp(log_likelihood(even, np.array([1.0]), np.array([1.0])))  # 2 / (1 + 1) ** 3
    array([0.25])
    """
    _check(paid_orders, mean_minor)
    require(paid_orders > 0, "paid_orders > 0")
    value, _ = _likelihood(np.log([model.p, model.q, model.v]), paid_orders, mean_minor)
    return finite(value, "log_likelihood")


def fit_gamma_gamma(
    paid_orders: Rows, mean_minor: Rows, *, prior_weight: float = 1.0
) -> GammaGamma:
    """Fit by penalized maximum likelihood on the customers with a paid order.

    paid_orders   (n,) as `expected_value`; rows with 0 are left out
    mean_minor    (n,) minor units
    prior_weight  of a normal prior of sd 1 on log p, log q, log v (v relative to the median of the
                  customers' means, so that the fit does not depend on the currency), >= 0
    Raises        ShapeError, DomainError (no paid order), NumericError
    Source        Fader & Hardie (2013); parameters on CDNOW: docs/models/gamma-gamma.md
    """
    _check(paid_orders, mean_minor)
    require(prior_weight >= 0, "prior_weight >= 0")
    paid = paid_orders > 0
    if not paid.any():
        raise DomainError("no paid order to fit on")
    scale = float(np.median(mean_minor[paid]))
    orders, means = paid_orders[paid], mean_minor[paid] / scale

    def loss(log_parameters: Rows) -> tuple[float, Rows]:
        value, gradient = _likelihood(log_parameters, orders, means)
        off = log_parameters - _PRIOR_MEAN
        penalty = 0.5 * prior_weight * float(off @ off)
        return (penalty - value.sum()) / len(means), (prior_weight * off - gradient) / len(means)

    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8}
    fit = minimize(loss, _PRIOR_MEAN, jac=True, method="L-BFGS-B", bounds=_BOUNDS, options=options)
    if not np.isfinite(fit.fun):
        raise NumericError("the Gamma-Gamma likelihood is not finite")
    p, q, v = np.exp(fit.x).tolist()
    return GammaGamma(p, q, v * scale)


def _check(paid_orders: Rows, mean_minor: Rows) -> None:
    of_rank(1, paid_orders=paid_orders)
    same_shape(paid_orders=paid_orders, mean_minor=mean_minor)
    require(np.isfinite(paid_orders) & (paid_orders >= 0), "0 <= paid_orders < infinity")
    money = np.isfinite(mean_minor) & (mean_minor > 0)
    require(money | (paid_orders == 0), "0 < mean_minor < infinity where paid_orders > 0")


def _likelihood(log_parameters: Rows, n: Rows, mean: Rows) -> tuple[Rows, Rows]:
    """Log-likelihood per customer, and the gradient of its sum by log p, log q, log v."""
    p, q, v = np.exp(log_parameters)
    shape, spread = p * n, v + n * mean
    value = gammaln(shape + q) - gammaln(shape) - gammaln(q) - np.log(mean)
    value += shape * np.log(n * mean / spread) + q * np.log(v / spread)
    by_p = n * (psi(shape + q) - psi(shape) + np.log(n * mean / spread))
    by_q = psi(shape + q) - psi(q) + np.log(v / spread)
    by_v = q / v - (shape + q) / spread
    return value, np.array([p * by_p.sum(), q * by_q.sum(), v * by_v.sum()])

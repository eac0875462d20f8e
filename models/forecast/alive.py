"""Purchases to come of a customer who is alive: the hypergeometric part of the BTYD models."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, hyp2f1

from models.checks import finite

Rows: TypeAlias = NDArray[np.float64]

_POLE = 1e-7  # a parameter nearer to its removable pole than this is moved away from it


def purchases_if_alive(rate_shape: Rows, reach: Rows, a: float, beta_b: Rows) -> Rows:
    """Expected purchases E[(1 - exp(-lambda p t)) / p] with lambda Gamma and p Beta distributed.

    rate_shape  (n,) shape of lambda's posterior, > 0 (r + frequency)
    reach       (n,) horizon over lambda's posterior rate, t / (alpha + age), >= 0
    a           first parameter of the dropout probability p, > 0
    beta_b      (n,) its second parameter, > 0
    Returns     (n,) float64 purchases, within [P(at least one), rate_shape * reach]
    Source      Fader, Hardie & Lee (2005), Marketing Science 24(2), eq. (10), without its
                P(alive); the 2F1 by Euler's transformation: as printed, it overflows for
                heavy buyers

    >>> one = np.array([1.0])
    >>> purchases_if_alive(one, one, 1.0, one).round(4)  # ln 2
    array([0.6931])
    """
    scale = 1.0 + reach
    left = 1.0 / scale
    safe_a = a if abs(a - 1.0) > _POLE else 1.0 + _POLE
    c = safe_a + beta_b - 1.0
    c = np.where(np.abs(c) > _POLE, c, _POLE)
    with np.errstate(all="ignore"):
        tail = hyp2f1(c - rate_shape, safe_a - 1.0, c, reach / scale)
        mean = c / (safe_a - 1.0) * (1.0 - left ** (safe_a - 1.0) * tail)
    fewest, most = -np.expm1(-rate_shape * np.log1p(reach)), rate_shape * reach
    slack = 1e-6 * (most + 1e-300)
    odd = ~((mean >= fewest - slack) & (mean <= most + slack))
    if odd.any():  # degenerate parameters: SciPy's 2F1 left the numbers
        mean = np.array(mean)
        mean[odd] = _by_quadrature(rate_shape[odd], reach[odd], a, beta_b[odd])
    return finite(np.clip(mean, fewest, most), "purchases_if_alive")


def _by_quadrature(rate_shape: Rows, reach: Rows, a: float, beta_b: Rows) -> Rows:
    """The same expectation by the trapezoid rule over logit(p), on which it converges fast."""
    reach_down = max(60.0, 45.0 / a)
    y, step = np.linspace(-reach_down, 60.0, 8 * int(reach_down + 60.0) + 1, retstep=True)
    log_p, log_q = -np.logaddexp(0.0, -y), -np.logaddexp(0.0, y)
    p = np.exp(log_p)
    result = np.empty(len(rate_shape))
    for row, (shape, h, b) in enumerate(zip(rate_shape, reach, beta_b, strict=True)):
        density = np.exp(a * log_p + b * log_q - betaln(a, b))
        gain = np.where(p * h < 1e-12, shape * h, -np.expm1(-shape * np.log1p(p * h)) / p)
        result[row] = step * np.sum(density * gain) / (step * np.sum(density))
    return result

"""Purchases to come of a customer who is alive: the hypergeometric part of the BTYD models."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import hyp2f1

from models.checks import finite

Rows: TypeAlias = NDArray[np.float64]

_MOST_A = 50.0  # beyond, SciPy's 2F1 is wrong without a sign of it (seen from 100 on)
_BLOCK = 1_000  # rows in one quadrature: bounds its memory
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
    odd = ~((mean >= fewest - slack) & (mean <= most + slack)) | (a > _MOST_A)
    if odd.any():
        mean = np.where(odd, fewest, mean)
        rows = np.flatnonzero(odd)
        for block in np.array_split(rows, 1 + len(rows) // _BLOCK):
            mean[block] = _by_quadrature(rate_shape[block], reach[block], a, beta_b[block])
    return finite(np.clip(mean, fewest, most), "purchases_if_alive")


def _by_quadrature(rate_shape: Rows, reach: Rows, a: float, beta_b: Rows) -> Rows:
    """The same expectation by the trapezoid rule over logit(p), on which it converges fast."""
    center, width = np.log(a / beta_b), np.sqrt(1.0 / a + 1.0 / beta_b)
    low, high = center - 12.0 * width - 45.0 / a, center + 12.0 * width + 45.0 / beta_b
    step = np.minimum(width / 3.0, 0.25)
    nodes = int(np.max((high - low) / step, initial=1.0)) + 2
    y = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, nodes)
    log_p, log_q = -np.logaddexp(0.0, -y), -np.logaddexp(0.0, y)
    density = a * log_p + beta_b[:, None] * log_q
    density = np.exp(density - density.max(axis=1, keepdims=True, initial=-np.inf))
    p = np.exp(log_p)
    small = p * reach[:, None] < 1e-12
    gain = -np.expm1(-rate_shape[:, None] * np.log1p(p * reach[:, None])) / np.where(small, 1.0, p)
    gain = np.where(small, (rate_shape * reach)[:, None], gain)
    mean: Rows = (density * gain).sum(axis=1) / density.sum(axis=1)
    return mean

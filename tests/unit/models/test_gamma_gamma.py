import numpy as np
import pytest

from models.checks import DomainError, ShapeError
from models.forecast.gamma_gamma import (
    GammaGamma,
    expected_value,
    fit_gamma_gamma,
    log_likelihood,
)


def test_a_simulated_shop_gives_its_parameters_back_in_any_currency():
    rng = np.random.default_rng(5)
    p, q, v, n = 5.0, 4.0, 2000.0, 20_000
    orders = rng.integers(1, 12, n).astype(float)
    mean = rng.gamma(p * orders, 1.0) / (orders * rng.gamma(q, 1 / v, n))
    model = fit_gamma_gamma(orders, mean)
    np.testing.assert_allclose([model.p, model.q, model.v], [p, q, v], rtol=0.06)
    other = fit_gamma_gamma(orders, mean * 1e6)
    np.testing.assert_allclose([other.p, other.q, other.v], [model.p, model.q, model.v * 1e6])


def test_the_likelihood_of_a_mean_integrates_to_one():
    grid = np.linspace(1e-6, 400.0, 400_001)
    density = np.exp(log_likelihood(GammaGamma(6.25, 3.74, 15.44), np.full(len(grid), 3.0), grid))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-3)


def test_the_value_lies_between_the_customer_and_the_shop_and_trusts_long_histories():
    model = GammaGamma(p=6.25, q=3.74, v=15.44)
    shop = 6.25 * 15.44 / 2.74
    value = expected_value(model, np.array([1.0, 5.0, 5000.0]), np.full(3, 100.0))
    assert (np.diff(value) > 0).all()
    assert shop < value[0]
    assert value[2] == pytest.approx(100.0, rel=1e-3)


def test_alike_orders_and_a_single_customer_still_give_a_finite_mean():
    for orders, means in (([1.0], [500.0]), ([3.0] * 20, [500.0] * 20), ([1.0, 1.0], [1.0, 1e9])):
        model = fit_gamma_gamma(np.array(orders), np.array(means))
        assert np.isfinite(expected_value(model, np.zeros(1), np.zeros(1))).all()


def test_no_paid_order_is_an_error_and_so_is_paid_money_of_zero():
    with pytest.raises(DomainError, match="no paid order"):
        fit_gamma_gamma(np.zeros(3), np.zeros(3))
    with pytest.raises(DomainError, match="row 1"):
        fit_gamma_gamma(np.ones(2), np.array([5.0, 0.0]))
    with pytest.raises(ShapeError):
        fit_gamma_gamma(np.ones(2), np.ones(3))

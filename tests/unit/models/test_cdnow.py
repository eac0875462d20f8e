"""The published figures of CDNOW, from the customers up."""

import numpy as np
import pytest

from models.forecast.btyd import fit_bg_nbd, fit_mbg_nbd, log_likelihood
from models.forecast.forecast import fit_forecaster, predict
from models.forecast.gamma_gamma import fit_gamma_gamma
from models.history import purchase_stats


@pytest.fixture
def history(cdnow, end_of_calibration):
    stats = purchase_stats(cdnow, end_of_calibration)
    return stats.frequency, stats.recency, stats.age


def test_fader_hardie_lee_2005_the_sample_has_2357_customers_and_2457_repeat_purchases(history):
    frequency, recency, age = history
    assert len(frequency) == 2357
    assert frequency.sum() == 2457
    assert (frequency[0], round(recency[0] / 7, 2), round(age[0] / 7, 2)) == (2, 30.43, 38.86)


def test_fader_hardie_lee_2005_table_2_bg_nbd(history):
    model = fit_bg_nbd(*history, prior=None)
    assert (model.r, model.alpha) == (
        pytest.approx(0.243, abs=6e-4),
        pytest.approx(4.414, abs=6e-4),
    )
    assert (model.a, model.b) == (pytest.approx(0.793, abs=6e-4), pytest.approx(2.426, abs=6e-4))
    assert log_likelihood(model, *history).sum() == pytest.approx(-9582.4, abs=0.05)


def test_lifetimes_mbg_nbd(history):
    model = fit_mbg_nbd(*history, prior=None)
    found = [model.r, model.alpha, model.a, model.b]
    np.testing.assert_allclose(found, [0.5248, 6.183, 0.8914, 1.614], rtol=1e-4)
    assert log_likelihood(model, *history).sum() == pytest.approx(-9582.13, abs=0.01)


def test_fader_hardie_2013_gamma_gamma_on_946_repeat_buyers(cdnow, end_of_calibration):
    repeat = np.ones(len(cdnow.day), dtype=bool)
    repeat[cdnow.starts[:-1]] = False
    repeat &= cdnow.day <= end_of_calibration
    customer = np.repeat(np.arange(2357), np.diff(cdnow.starts))[repeat]
    orders = np.bincount(customer, minlength=2357).astype(float)
    total = np.bincount(customer, weights=cdnow.amount_minor[repeat] / 100, minlength=2357)
    paid = total > 0
    assert paid.sum() == 946
    model = fit_gamma_gamma(orders[paid], total[paid] / orders[paid], prior_weight=0.0)
    found = [model.p, model.q, model.v]
    np.testing.assert_allclose(found, [6.25, 3.74, 15.44], atol=0.006)


def test_the_prior_moves_a_shop_of_this_size_by_less_than_five_percent(history):
    with_prior, without = fit_mbg_nbd(*history), fit_mbg_nbd(*history, prior=None)
    for name in ("r", "alpha", "a", "b"):
        assert getattr(with_prior, name) == pytest.approx(getattr(without, name), rel=0.05)


def test_the_forecasts_of_three_quarters_meet_what_happened(cdnow, end_of_calibration):
    """Volume within 10 % over the seasons; each quarter beats its own base rate by a fifth."""
    expected = seen = 0.0
    for day in (end_of_calibration, end_of_calibration + 92, end_of_calibration + 182):
        forecasts = predict(fit_forecaster(cdnow, day, currency="USD"), cdnow, day)
        orders = purchase_stats(cdnow, day + 90).orders - purchase_stats(cdnow, day).orders
        bought = orders > 0
        brier = np.mean((forecasts.probability_90d - bought) ** 2)
        assert brier < 0.8 * np.mean((bought.mean() - bought) ** 2)
        expected, seen = expected + forecasts.expected_orders_90d.sum(), seen + orders.sum()
    assert expected == pytest.approx(seen, rel=0.1)


def test_the_most_valuable_customers_are_not_one_time_buyers(cdnow, end_of_calibration):
    forecaster = fit_forecaster(cdnow, end_of_calibration, currency="USD")
    clv = predict(forecaster, cdnow, end_of_calibration).clv_365d_minor
    frequency = purchase_stats(cdnow, end_of_calibration).frequency
    assert (frequency[np.argsort(-clv)[:50]] > 0).all()

"""Bounds and monotony of the forecasts over parameters and histories nobody has chosen."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.forecast.btyd import (
    BGNBD,
    MBGNBD,
    expected_purchases,
    fit_mbg_nbd,
    log_likelihood,
    next_purchase_quantile,
    p_alive,
    purchase_probability,
)
from models.forecast.forecast import fit_forecaster, predict
from models.forecast.gamma_gamma import expected_value, fit_gamma_gamma
from models.history import cut, from_orders, purchase_stats

LOGS = st.floats(-7.0, 9.0)  # the box that the fits search
ONE = st.tuples(
    st.sampled_from([0, 0, 1, 2, 5, 40, 1_000, 100_000]),
    st.floats(0.0, 1.0),
    st.one_of(st.integers(0, 1000), st.sampled_from([20_000, 10**6])),
)


@st.composite
def models(draw):
    family = draw(st.sampled_from([MBGNBD, BGNBD]))
    return family(*np.exp([draw(LOGS) for _ in range(4)]).tolist())


@st.composite
def histories(draw):
    rows = draw(st.lists(ONE, min_size=1, max_size=6))
    frequency, share, age = np.array(rows, dtype=np.float64).T
    return frequency, np.where(frequency > 0, share * age, 0.0), age


@given(models(), histories())
@settings(deadline=None, max_examples=300)
def test_probabilities_are_bounded_and_grow_with_the_horizon(model, history):
    alive = p_alive(model, *history)
    assert ((alive >= 0) & (alive <= 1)).all()
    assert np.isfinite(log_likelihood(model, *history)).all()
    chance, count = np.zeros(len(alive)), np.zeros(len(alive))
    for horizon in (0.0, 1.0, 30.0, 90.0, 365.0, 3650.0):
        new_chance = purchase_probability(model, horizon, *history)
        new_count = expected_purchases(model, horizon, *history)
        assert ((new_chance >= chance) & (new_chance <= alive)).all()
        assert np.isfinite(new_count).all()
        assert (new_count >= new_chance - 1e-9 * (1 + new_count)).all()
        assert (new_count >= count * (1 - 1e-6) - 1e-9).all()
        chance, count = new_chance, new_count


@given(models(), histories(), st.floats(1.0, 1000.0))
@settings(deadline=None)
def test_quantiles_are_ordered_and_within_the_window(model, history, within):
    low, mid, high = (
        next_purchase_quantile(model, q, *history, within_days=within) for q in (0.1, 0.5, 0.9)
    )
    assert ((low >= 0) & (low <= mid) & (mid <= high) & (high <= within)).all()


@given(histories(), st.floats(0.0, 3.0))
@settings(deadline=None, max_examples=50)
def test_any_handful_of_customers_can_be_fitted(history, weight):
    model = fit_mbg_nbd(*history, prior_weight=weight + 0.01)
    assert np.isfinite(expected_purchases(model, 365.0, *history)).all()


@given(
    st.lists(st.tuples(st.integers(1, 10**5), st.floats(0.01, 1e12)), min_size=1, max_size=8),
)
@settings(deadline=None)
def test_expected_values_lie_between_the_customer_and_the_shop(rows):
    orders, mean = np.array(rows, dtype=np.float64).T
    model = fit_gamma_gamma(orders, mean)
    shop = expected_value(model, np.zeros(1), np.zeros(1))[0]
    value = expected_value(model, orders, mean)
    slack = 1e-9 * (shop + mean)
    assert (value >= np.minimum(mean, shop) - slack).all()
    assert (value <= np.maximum(mean, shop) + slack).all()


ORDERS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(19_000, 20_000),
        st.one_of(st.just(0), st.integers(1, 10**12)),
    ),
    max_size=60,
)


@given(ORDERS, st.integers(18_990, 20_500))
@settings(deadline=None, max_examples=60)
def test_a_forecast_is_bounded_ordered_and_finite_for_every_shop(orders, today):
    columns = np.array(orders, dtype=np.int64).reshape(-1, 3).T
    shop = from_orders(6, *columns)
    found = predict(fit_forecaster(shop, today, currency="EUR"), shop, today)
    assert all(np.isfinite(column).all() for column in found)
    assert (found.known == (purchase_stats(shop, today).orders > 0)).all()
    assert (found.probability_30d <= found.probability_90d).all()
    assert (found.probability_90d <= found.p_alive + 1e-12).all()
    assert ((found.churn_probability >= 0) & (found.churn_probability <= 1)).all()
    assert (found.expected_orders_90d <= found.expected_orders_365d + 1e-9).all()
    days = found.next_day_p10, found.next_day_p50, found.next_day_p90
    known = found.next_known
    assert (days[0][known] > today).all()
    assert (days[0] <= days[1]).all()
    assert (days[1] <= days[2]).all()
    assert (days[2][known] <= today + 365).all()
    assert (found.clv_365d_minor >= 0).all()


@given(ORDERS, st.integers(18_990, 20_500), st.randoms(use_true_random=False))
def test_statistics_know_nothing_of_the_sequence_of_orders_nor_of_the_future(orders, day, random):
    def stats(rows):
        shop = from_orders(6, *np.array(rows, dtype=np.int64).reshape(-1, 3).T)
        return purchase_stats(shop, day), purchase_stats(cut(shop, day + 1), day)

    shuffled = list(orders)
    random.shuffle(shuffled)
    past = [row for row in orders if row[1] <= day]
    for other in (*stats(shuffled), *stats(past)):
        for mine, theirs in zip(stats(orders)[0], other, strict=True):
            np.testing.assert_array_equal(mine, theirs)

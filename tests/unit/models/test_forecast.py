import time
from dataclasses import replace

import numpy as np
import pytest

from models.checks import DomainError, ShapeError
from models.forecast import forecast
from models.forecast.btyd import expected_purchases, purchase_probability
from models.forecast.forecast import Forecasts, fit_forecaster, predict
from models.history import from_orders, purchase_stats, select

TODAY = 20_000


def shop(customers, seed=0, span=700):
    rng = np.random.default_rng(seed)
    count = rng.geometric(0.3, customers)
    who = np.repeat(np.arange(customers), count)
    day = TODAY - rng.integers(0, span, len(who))
    return from_orders(customers, who, day, rng.integers(100, 20_000, len(who)))


def finite(forecasts: Forecasts):
    return all(np.isfinite(column).all() for column in forecasts)


def test_an_empty_shop_speaks_from_the_prior():
    none = from_orders(0, np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))
    forecaster = fit_forecaster(none, TODAY, currency="EUR")
    assert (forecaster.repeat_buyers, forecaster.paid_orders, forecaster.value) == (0, 0, None)
    assert forecaster.churn_horizon_days == 90
    assert all(len(column) == 0 for column in predict(forecaster, none, TODAY))
    first = from_orders(1, np.zeros(1, int), np.array([TODAY]), np.array([100]))
    forecasts = predict(forecaster, first, TODAY)
    assert finite(forecasts)
    assert 0.1 < forecasts.probability_90d[0] < 0.9


def test_money_abstains_below_ten_paid_orders_and_probabilities_do_not():
    day = TODAY - 30 * np.arange(10)
    for paid, known in ((9, False), (10, True)):
        amounts = np.where(np.arange(10) < paid, 500, 0)
        histories = from_orders(10, np.arange(10), day, amounts)
        forecaster = fit_forecaster(histories, TODAY, currency="EUR")
        forecasts = predict(forecaster, histories, TODAY)
        assert forecaster.paid_orders == paid
        assert (forecasts.spend_known == known).all()
        assert (forecasts.clv_known == known).all()
        assert ((forecasts.clv_365d_minor > 0) == known).all()
        assert (forecasts.probability_90d > 0).all()


def test_a_history_of_ten_days_tells_nothing_of_twelve_months():
    who, day = np.repeat(np.arange(150), 2), TODAY - np.tile([9, 1], 150)
    for span, grade, known in ((0, "low", False), (80, "normal", False), (200, "normal", True)):
        histories = from_orders(
            151, np.append(who, 150), np.append(day, TODAY - 9 - span), np.full(301, 900)
        )
        forecaster = fit_forecaster(histories, TODAY, currency="EUR")
        assert forecaster.history_days == 10 + span
        assert forecast.reliability(forecaster) == grade
        found = predict(forecaster, histories, TODAY)
        assert found.spend_known.all()
        assert (found.clv_known == known).all()
        assert (found.year_known == known).all()


def test_a_customer_without_an_order_is_not_known():
    histories = from_orders(2, np.zeros(12, int), TODAY - 10 * np.arange(12), np.full(12, 900))
    forecasts = predict(fit_forecaster(histories, TODAY, currency="EUR"), histories, TODAY)
    assert forecasts.known.tolist() == [True, False]
    for column in forecasts:
        assert column[1] == 0


def test_clv_is_the_discounted_sum_of_twelve_months():
    histories = shop(300)
    forecaster = fit_forecaster(histories, TODAY, currency="EUR", discount_rate_year=0.2)
    stats = purchase_stats(histories, TODAY)
    x = stats.frequency, stats.recency, stats.age
    until = [expected_purchases(forecaster.btyd, 365 / 12 * month, *x) for month in range(13)]
    money = forecast.expected_value(
        forecaster.value, stats.paid_orders.astype(float), stats.mean_paid_minor
    )
    clv = sum(
        (until[month] - until[month - 1]) * 1.2 ** (-month / 12) for month in range(1, 13)
    ) * (money * forecaster.orders_per_day)
    found = predict(forecaster, histories, TODAY)
    np.testing.assert_allclose(found.clv_365d_minor, clv, rtol=1e-9)
    np.testing.assert_allclose(
        found.expected_orders_365d, until[12] * forecaster.orders_per_day, rtol=1e-9
    )
    undiscounted = predict(replace(forecaster, discount_rate_year=0.0), histories, TODAY)
    assert (undiscounted.clv_365d_minor >= found.clv_365d_minor).all()


def test_orders_on_one_day_make_more_orders_per_purchase_day():
    who, day = (
        np.repeat(np.arange(20), 4),
        np.tile([TODAY - 60, TODAY - 60, TODAY - 5, TODAY - 5], 20),
    )
    forecaster = fit_forecaster(from_orders(20, who, day, np.full(80, 100)), TODAY, currency="EUR")
    assert forecaster.orders_per_day == 2.0
    assert forecaster.repeat_buyers == 20


def test_the_churn_horizon_is_twice_the_median_gap_and_at_least_90_days():
    for gap, horizon in ((10, 90), (45, 90), (100, 200)):
        day = TODAY - gap * np.arange(3)
        histories = from_orders(1, np.zeros(3, int), day, np.full(3, 100))
        forecaster = fit_forecaster(histories, TODAY, currency="EUR")
        assert forecaster.churn_horizon_days == horizon
        forecasts = predict(forecaster, histories, TODAY)
        if horizon == 90:
            np.testing.assert_allclose(
                forecasts.churn_probability, 1 - forecasts.probability_90d, rtol=1e-12
            )


def test_more_purchases_at_the_same_value_are_never_worth_less():
    """A one-time buyer never tops the list: each further recent purchase raises the value."""
    forecaster = fit_forecaster(shop(2000), TODAY, currency="EUR")
    counts = np.arange(1, 13)
    who = np.repeat(np.arange(12), counts)
    day = np.concatenate([TODAY - 330 + np.arange(n) * 330 // max(n - 1, 1) for n in counts])
    one = predict(forecaster, from_orders(12, who, day, np.full(len(who), 5_000)), TODAY)
    assert (np.diff(one.clv_365d_minor) > 0).all()


def test_the_next_day_is_the_first_by_which_that_share_of_next_orders_has_come():
    histories = shop(300)
    forecaster = fit_forecaster(histories, TODAY, currency="EUR")
    found, stats = predict(forecaster, histories, TODAY), purchase_stats(histories, TODAY)
    x = stats.frequency, stats.recency, stats.age
    year = purchase_probability(forecaster.btyd, 365.0, *x)
    for share, days in ((0.1, found.next_day_p10), (0.5, found.next_day_p50)):
        for row in range(0, 300, 17):
            mine = tuple(column[row : row + 1] for column in x)
            wait = float(days[row] - TODAY)
            by_then = purchase_probability(forecaster.btyd, wait, *mine)[0] / year[row]
            before = purchase_probability(forecaster.btyd, wait - 1, *mine)[0] / year[row]
            assert before < share <= by_then


def test_silence_lowers_p_alive_and_every_probability():
    histories = shop(500)
    forecaster = fit_forecaster(histories, TODAY, currency="EUR")
    now, later = predict(forecaster, histories, TODAY), predict(forecaster, histories, TODAY + 60)
    assert (later.p_alive < now.p_alive).all()
    assert (later.probability_90d < now.probability_90d).all()
    assert (later.churn_probability > now.churn_probability).all()


def test_extreme_customers_stay_finite():
    daily = np.arange(TODAY - 15_000, TODAY + 1)
    histories = from_orders(
        3,
        np.concatenate((np.zeros(len(daily), int), [1, 2])),
        np.concatenate((daily, [TODAY, TODAY - 19_999])),
        np.concatenate((np.full(len(daily), 10**12), [1, 10**15])),
    )
    forecasts = predict(fit_forecaster(histories, TODAY, currency="EUR"), histories, TODAY)
    assert finite(forecasts)
    typical = predict(fit_forecaster(shop(500), TODAY, currency="EUR"), histories, TODAY)
    assert finite(typical)
    assert typical.p_alive[0] > 0.99
    assert typical.expected_orders_90d[0] == pytest.approx(90, rel=0.1)
    assert typical.next_day_p50[0] == TODAY + 1


def test_the_answer_for_a_customer_does_not_depend_on_the_others():
    histories = shop(400)
    forecaster = fit_forecaster(histories, TODAY, currency="EUR")
    everyone = predict(forecaster, histories, TODAY)
    alone = select(histories, np.array([7]))
    for name, column in zip(Forecasts._fields, predict(forecaster, alone, TODAY), strict=True):
        assert column[0] == pytest.approx(getattr(everyone, name)[7], rel=1e-12), name


def test_a_broken_forecaster_is_refused():
    forecaster = fit_forecaster(shop(50), TODAY, currency="EUR")
    with pytest.raises(DomainError):
        replace(forecaster, orders_per_day=0.5)
    arrays, meta = forecast.to_state(forecaster)
    with pytest.raises(ShapeError):
        forecast.from_state({**arrays, "btyd": np.ones(3)}, meta)
    with pytest.raises(ShapeError, match="unknown arrays"):
        forecast.from_state({**arrays, "customers": np.ones(3)}, meta)
    with pytest.raises(DomainError):
        forecast.from_state({**arrays, "btyd": np.array([1.0, -1.0, 1.0, 1.0, 7.0])}, meta)


@pytest.mark.parametrize(("customers", "limit_s"), [(500, 0.05), (100_000, 2.0)])
def test_prediction_is_fast(customers, limit_s):
    """Generous limits: usually 2 ms and 0.2 s."""
    histories = shop(customers)
    forecaster = fit_forecaster(shop(500), TODAY, currency="EUR")
    spent = []
    for _ in range(3):
        start = time.process_time()
        predict(forecaster, histories, TODAY)
        spent.append(time.process_time() - start)
    assert min(spent) < limit_s

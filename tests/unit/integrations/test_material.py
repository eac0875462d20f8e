"""What is worth sending: exact facts always, forecasts beyond a dead band around the last told."""

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pushes import sampled, told_by_the_clock
from benchmarks.shops import JOURNEY, load
from integrations.material import DeadBands, material
from tests.unit.integrations.test_insight import FIELDS, insight

HORIZON = {"purchase_probability": 0.61234, "expected_orders": 1.5, "expected_spend": "12.30"}
WINDOW = FIELDS["next_order_window"]


@pytest.mark.parametrize(
    "changes",
    [
        {"as_of": FIELDS["as_of"] + timedelta(days=1)},
        {"insight_version": 8},
        {"through_event_id": "2-0"},
        {"model_versions": {"segments": 9}},
        {"churn_probability": 0.3},
        {"clv_12m": Decimal("10.40"), "predicted_clv": Decimal("10.40"), "total_clv": "22.745"},
        {"expected_spend_90d": Decimal("2.20")},
        {"buy_again": [{"item_id": "p1", "score": 0.9, "reason": "other words"}]},
        {"similar_customers": [{"customer_id": "c2", "score": 0.49}]},
        {"predicted_number_of_orders": 1.5},
        {"expected_date_of_next_order": date(2026, 12, 20)},
        {"next_order_window": WINDOW | {"p50": date(2027, 1, 7)}},
        {"segment": FIELDS["segment"] | {"name": "Best", "previous_id": None}},
    ],
)
def test_drift_is_not_worth_sending(changes):
    before = material(insight())
    assert material(insight(**changes), before) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"segment": FIELDS["segment"] | {"id": 4}},
        {"segment": None},
        {"churn_probability": 0.32},
        {"churn_probability": None},
        {"historic_clv": Decimal("12.36")},
        {"average_order_value": Decimal("4.01")},
        {"average_days_between_orders": 30.5},
        {"historic_number_of_orders": 5},
        {"expected_spend_90d": Decimal("4.20")},
        {"predicted_number_of_orders": 1.6},
        {"buy_again": []},
        {"new_for_you": [{"item_id": "p3", "score": 0.25, "reason": "popular this month"}]},
        {"similar_customers": [{"customer_id": "c3", "score": 0.5}]},
        {"expected_date_of_next_order": date(2027, 3, 1)},
        {"next_order_window": WINDOW | {"p10": date(2027, 2, 20)}},
        {"next_order_window": None},
        {"currency": "USD"},
        {"forecast_reliability": "low"},
        {"abstained": {"clv_12m": "fewer than 10 paid orders"}},
        {"horizons": {"180d": HORIZON}},
    ],
)
def test_what_a_receiver_would_act_on_is(changes):
    before = material(insight())
    now = material(insight(**changes), before)
    assert now != before
    assert now == material(insight(**changes))


def test_a_further_horizon_drifts_within_the_same_bands():
    before = material(insight(horizons={"180d": HORIZON}))
    drifted = insight(horizons={"180d": HORIZON | {"purchase_probability": 0.65}})
    moved = insight(horizons={"180d": HORIZON | {"purchase_probability": 0.7}})
    assert material(drifted, before) == before != material(moved, before)


def test_slow_drift_is_told_once_it_has_added_up_and_then_anew_from_there():
    held, told = material(insight(p_alive=0.8)), []
    for step in range(1, 21):
        now = material(insight(p_alive=0.8 - step / 80), held)
        told += [step] if now != held else []
        held = now
    assert told == [5, 10, 15, 20]


def test_a_figure_on_the_edge_of_a_step_is_not_told_each_time_it_crosses():
    held, told = material(insight(churn_probability=0.2551)), 0
    for day in range(10):
        now = material(insight(churn_probability=0.2549 + 0.0002 * (day % 2)), held)
        told += now != held
        held = now
    assert not told


def test_the_bands_are_settings():
    before = material(insight())
    moved = insight(churn_probability=0.3, expected_spend_90d="4.20")
    assert material(moved, before, DeadBands(relative=0.5)) == before
    assert material(moved, before, DeadBands(probability=0.01, relative=0.5)) != before


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_who_is_told_of_what_is_material_is_never_further_off_than_the_band(chances):
    """What a receiver holds is the newest insight of the time when something was told."""
    held, receiver = material(insight(p_alive=chances[0])), chances[0]
    for chance in chances:
        now = material(insight(p_alive=chance), held)
        if now != held:
            held, receiver = now, chance
        assert abs(receiver - chance) <= DeadBands().probability
        assert material(insight(p_alive=chance), held) == held  # a repeated refresh tells nothing


def test_less_than_three_in_a_hundred_hear_of_silence_alone_on_a_day():
    """The grocery shop of the benchmark: silence says most where people buy every week."""
    day = int(np.datetime64("2017-10-17").astype(int))
    shares = told_by_the_clock(sampled(load(JOURNEY).histories, day, 300), day, 28)
    assert max(shares[0], np.mean(shares)) < 0.03
    assert sum(shares) > 0  # but silence is told in the end

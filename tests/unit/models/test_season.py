"""The season of last year: found where it is, not guessed where no year is known."""

import numpy as np
import pytest

from models.checks import DomainError, ShapeError
from models.forecast.bundle import fit_bundle, from_state, predict_bundle, to_state
from models.forecast.season import LEAST_HISTORY_DAYS, a_year_ago, measure
from models.forecast.sheets import Sheets
from models.forecast.weighing import season_weight
from models.history import cut, from_orders

START = 19_000
BUSY = (300, 364)  # days of the year, from START


def shop(years=3, customers=900, busy=2.5, seed=0):
    """Steady buyers whose pace is `busy` times as high in the same weeks of every year."""
    rng = np.random.default_rng(seed)
    days = np.arange(int(364 * years))
    season = np.where((days % 364 >= BUSY[0]) & (days % 364 < BUSY[1]), busy, 1.0)
    pace = rng.gamma(1.0, 0.012, customers)
    joined = rng.integers(0, 364, customers)
    bought = rng.random((customers, len(days))) < pace[:, None] * season
    bought &= days >= joined[:, None]
    bought[np.arange(customers), joined] = True
    who, when = np.nonzero(bought)
    return from_orders(customers, who, START + when, np.full(len(who), 1_000))


def test_busy_weeks_of_last_year_are_expected_again():
    histories = shop()
    day = START + 2 * 364 + BUSY[0]
    past = cut(histories, day)
    season = a_year_ago(past, day, 60, None)
    assert season.orders == pytest.approx(np.log(2.5), abs=0.25)
    assert season.value == pytest.approx(0.0, abs=0.02)
    came = (np.diff(cut(histories, day + 60).starts) - np.diff(past.starts)).sum()
    for windows, most in ((0, 0.35), (4, 0.15)):
        bundle = fit_bundle(
            past, day - 1, currency="EUR", horizons_days=(60,), windows=windows, without=ALL
        )
        said = predict_bundle(bundle, past, day - 1).outlooks[60].orders.sum()
        assert abs(np.log(said / came)) < most


ALL = frozenset(
    name + suffix
    for name in ("logistic", "forest", "boosting", "linear", "poisson", "tweedie")
    for suffix in ("", "+btyd")
)


def test_nothing_after_the_cutoff_is_read():
    histories = shop()
    day = START + 2 * 364 + 100
    assert a_year_ago(histories, day, 90, None) == a_year_ago(cut(histories, day), day, 90, None)


def test_no_year_no_season():
    histories = shop(years=1.4)
    day = START + 364 + LEAST_HISTORY_DAYS - 1
    assert a_year_ago(histories, day, 30, None) is None
    assert measure(histories, day, 30, None, 0.5, ahead_days=(0,)).days == ()
    few = shop(customers=40)
    assert a_year_ago(few, START + 2 * 364, 30, None) is None
    assert a_year_ago(from_orders(0, *(np.zeros(0, int),) * 3), START, 30, None) is None
    assert a_year_ago(histories, day + 90, 400, None) is None


def test_closed_windows_decide_how_much_counts():
    histories = shop()
    sheets = Sheets(histories, 60, np.arange(900, dtype=np.uint64))
    assert season_weight(sheets, [START + 2 * 364 + BUSY[0]]) == (1.0, True)
    assert season_weight(sheets, [START + 200]) == (0.5, False)


def test_a_stored_season_says_the_same_and_a_damaged_one_is_refused():
    histories, day = shop(), START + 2 * 364 + BUSY[0]
    bundle = fit_bundle(cut(histories, day), day - 1, currency="EUR", windows=0)
    arrays, meta = to_state(bundle)
    assert from_state(arrays, meta).heads[0].season == bundle.heads[0].season
    damaged = [{**head, "season": {**head["season"], "weight": 7}} for head in meta["heads"]]
    with pytest.raises(DomainError, match="season"):
        from_state(arrays, {**meta, "heads": damaged})
    damaged = [{**head, "season": {**head["season"], "logs": []}} for head in meta["heads"]]
    with pytest.raises(ShapeError, match="season"):
        from_state(arrays, {**meta, "heads": damaged})


def test_the_fields_of_an_insight_agree_with_each_other():
    histories, day = shop(), START + 2 * 364 + BUSY[0]
    past = cut(histories, day)
    bundle = fit_bundle(past, day - 1, currency="EUR", windows=0)
    found = predict_bundle(bundle, past, day - 1).forecasts
    live = found.known
    assert bundle.level1.churn_horizon_days >= 90
    returns = 1.0 - found.churn_probability[live]
    assert (returns >= found.probability_90d[live] - 1e-12).all()
    assert (found.p_alive[live] >= returns - 1e-12).all()
    assert (found.expected_orders_365d >= found.expected_orders_90d).all()
    assert (found.clv_365d_minor >= 0.95 * found.expected_spend_90d_minor).all()

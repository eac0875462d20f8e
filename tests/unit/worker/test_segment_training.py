"""What a training of segments chooses, what it keeps of the choice, and what the gate stops."""

from dataclasses import replace

import numpy as np
import pytest

from models.checks import DomainError
from models.history import from_orders
from models.segments import state
from models.segments.choosing import SIZES
from models.segments.fit import ALGORITHMS
from models.segments.model import assign
from models.segments.promoting import decide
from models.segments.scaling import Scaling
from worker.live import Live
from worker.refresh_rules import Division, RefreshRules
from worker.training import segments as training
from worker.training.columns import Reader
from worker.training.data import TrainingData
from worker.training.segments import fit
from worker.views import Calendar

RULES = RefreshRules(50, 86_400, "UTC", "EUR", 3, 3, 30, ())
TODAY = 400


def data(live=None, customers=240, factor=1, seed=0, **division):
    rng = np.random.default_rng(seed)
    who, day = [], []
    for one in range(customers):
        gap = factor * (7, 30, 120)[one % 3]
        days = np.arange(rng.integers(0, 40), TODAY, gap)
        days = days[rng.random(len(days)) < 0.8]
        who += [one] * len(days)
        day += days.tolist()
    past = from_orders(customers, np.array(who), np.array(day), rng.integers(500, 5_000, len(who)))
    return known_as(past, live, **division)


def known_as(past, live=None, **division):
    rules = RULES._replace(division=Division(**division))
    known = Reader(rules).columns()._replace(past=past)
    return TrainingData(
        86_400 * TODAY, TODAY, known.past, known.key, known.bought, known.items, known.orders,
        Calendar("UTC"), rules, 0.1, Live(segments=live),
    )  # fmt: skip


@pytest.fixture(scope="module")
def first():
    return fit(data())


def test_the_choice_is_kept_with_the_version_and_the_best_is_what_was_fitted(first):
    arrays, meta = first
    ways = meta["choice"]["ways"]
    assert {(way["algorithm"], way["k"]) for way in ways} >= {("kmeans", k) for k in SIZES}
    assert {"gain", "stability", "silhouette", "davies_bouldin", "inertia"} < set(ways[0])
    model = state.from_state(arrays, meta)
    assert (model.algorithm, len(model.ids)) == (ways[0]["algorithm"], ways[0]["k"])


def test_what_is_set_is_not_chosen():
    arrays, meta = fit(data(algorithm="agnes", k=4))
    model = state.from_state(arrays, meta)
    assert (model.algorithm, len(model.ids)) == ("agnes", 4)
    assert meta["choice"]["ways"] == []
    assert meta["choice"]["note"] == "algorithm and number are set"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_can_be_set_and_stays_from_training_to_training(algorithm):
    model = state.from_state(*fit(data(algorithm=algorithm)))
    assert model.algorithm == algorithm
    again, meta = fit(data(model, algorithm=algorithm))
    live = state.from_state(again, meta)
    assert live.algorithm == algorithm
    assert set(live.ids.tolist()) & set(model.ids.tolist())


def test_a_height_cuts_the_tree_of_a_training():
    low, high = (
        state.from_state(*fit(data(algorithm="agnes", height=height))) for height in (5.0, 1e9)
    )
    assert len(high.ids) == 1 < len(low.ids)


def test_every_algorithm_competes_but_the_rules_and_the_finder_of_outliers(first):
    assert {way["algorithm"] for way in first[1]["choice"]["ways"]} == set(ALGORITHMS) - {
        "rfm_rules",
        "dbscan",
    }


def test_where_the_gate_stops_the_first_division_the_next_best_is_fitted(monkeypatch):
    asked = []

    def stopped_once(candidate, *rest, **options):
        asked.append((candidate.algorithm, len(candidate.ids)))
        found = decide(candidate, *rest, **options)
        return found if len(asked) > 1 else found._replace(promote=False, reasons=("too small",))

    monkeypatch.setattr(training, "decide", stopped_once)
    arrays, meta = fit(data())
    ways = [(way["algorithm"], way["k"]) for way in meta["choice"]["ways"]]
    assert asked == ways[:2]
    model = state.from_state(arrays, meta)
    assert (model.algorithm, len(model.ids)) == ways[1]
    assert meta["choice"]["note"].endswith("was stopped: too small")


def test_a_retraining_keeps_what_the_live_segments_are_measured_by(first):
    live = state.from_state(*first)
    arrays, meta = fit(data(live, seed=1))
    again = state.from_state(arrays, meta)
    assert meta["choice"]["kept"]
    assert any(way["kept"] for way in meta["choice"]["ways"])
    np.testing.assert_array_equal(again.scaling.center, live.scaling.center)
    assert again.features.value == live.features.value


def test_what_measures_them_is_fitted_anew_where_that_tells_much_more_of_the_window(first):
    live = state.from_state(*first)
    blind = replace(live, scaling=Scaling(live.scaling.center + 50, live.scaling.spread))
    arrays, meta = fit(data(blind))
    again = state.from_state(arrays, meta)
    assert not meta["choice"]["kept"]
    assert (again.scaling.center < 20).all()


def test_a_shop_without_a_closed_window_gets_segments_and_the_reason():
    known = data()
    arrays, meta = fit(known._replace(today=30, past=data(factor=1).past))
    assert "nothing to choose by" in meta["choice"]["note"]
    assert len(state.from_state(arrays, meta).ids) > 1


def test_a_refit_on_the_same_customers_goes_live_with_its_ids(first):
    live = state.from_state(*first)
    again = data(live, seed=0)
    arrays, meta = fit(again)
    assert meta["gate"]["promote"]
    assert meta["gate"]["moved"] < 0.1
    assert state.from_state(arrays, meta).ids.tolist() == live.ids.tolist()


def test_another_number_that_would_move_a_crowd_is_stopped_with_the_reason(first):
    live = state.from_state(*first)
    shop = data(live, algorithm=live.algorithm, k=len(live.ids) + 3)
    _, meta = fit(shop)
    assert not meta["gate"]["promote"]
    assert any("would move" in reason for reason in meta["gate"]["reasons"])


def shop_of(who, day, amount):
    return from_orders(max(who) + 1, np.array(who), np.array(day), np.array(amount))


def test_customers_all_alike_are_one_segment_of_everyone():
    for bought in ([300], [100, 200, 300]):
        who = list(range(40)) * len(bought)
        days = np.repeat(bought, 40)
        arrays, meta = fit(known_as(shop_of(who, days, [500] * len(who))))
        assert state.from_state(arrays, meta).names == ("Everyone",)
        assert any("alike" in note for note in meta["notes"])


def test_one_whale_is_told_and_owns_no_segment():
    rng = np.random.default_rng(0)
    who = list(range(200)) * 2 + [0] * 300
    days, money = rng.integers(0, TODAY, len(who)), rng.integers(500, 9_000, len(who))
    money[400:] = 10**12
    past = shop_of(who, days, money)
    arrays, meta = fit(known_as(past))
    model = state.from_state(arrays, meta)
    assert any("1 of the customers lie far beyond" in note for note in meta["notes"])
    ids = assign(model, model.matrix(past, TODAY)).ids
    assert (ids == ids[0]).sum() > 1


def test_customers_who_never_paid_and_too_few_of_them_are_divided_by_what_is_left():
    rng = np.random.default_rng(0)
    who = list(range(100)) * 2
    arrays, meta = fit(known_as(shop_of(who, rng.integers(0, TODAY, 200), [0] * 200)))
    assert any("money_minor" in note for note in meta["notes"])
    assert len(state.from_state(arrays, meta).ids) > 1
    who = list(range(31)) * 2
    few = shop_of(who, rng.integers(0, TODAY, 62), rng.integers(500, 9_000, 62))
    arrays, meta = fit(known_as(few))
    assert len(state.from_state(arrays, meta).ids) == 3
    assert any("were asked for; 31 customers" in note for note in meta["notes"])


def test_money_that_is_no_number_stops_the_training(monkeypatch):
    young = data()._replace(today=30)
    table = np.ones((60, 11))
    table[7, 2] = np.nan
    monkeypatch.setattr("models.segments.fit.feature_matrix", lambda *_: table)
    with pytest.raises(DomainError, match="row 7"):
        fit(young)

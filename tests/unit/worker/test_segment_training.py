"""What a training of segments chooses, what it keeps of the choice, and what the gate stops."""

import numpy as np
import pytest

from models.history import from_orders
from models.segments import state
from models.segments.choosing import SIZES
from worker.live import Live
from worker.refresh_rules import RefreshRules
from worker.training.data import TrainingData
from worker.training.segments import fit
from worker.views import Calendar

RULES = RefreshRules(50, 86_400, "UTC", "EUR", 3, 3, 30, ())
TODAY = 400


def data(live=None, customers=240, factor=1, seed=0):
    rng = np.random.default_rng(seed)
    who, day = [], []
    for one in range(customers):
        gap = factor * (7, 30, 120)[one % 3]
        days = np.arange(rng.integers(0, 40), TODAY, gap)
        days = days[rng.random(len(days)) < 0.8]
        who += [one] * len(days)
        day += days.tolist()
    past = from_orders(customers, np.array(who), np.array(day), rng.integers(500, 5_000, len(who)))
    return TrainingData(
        86_400 * TODAY, TODAY, [], past, Calendar("UTC"), RULES, 0.1, Live(segments=live)
    )


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
    arrays, meta = fit(data(), "agnes", 4)
    model = state.from_state(arrays, meta)
    assert (model.algorithm, len(model.ids)) == ("agnes", 4)
    assert meta["choice"] == {"ways": [], "note": "algorithm and number are set"}


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
    shop = data(live)
    _, meta = fit(shop, live.algorithm, len(live.ids) + 3)
    assert not meta["gate"]["promote"]
    assert any("would move" in reason for reason in meta["gate"]["reasons"])

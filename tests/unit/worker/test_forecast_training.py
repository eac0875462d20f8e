"""What a training of forecasts counts as known: windows whose last day is over."""

import numpy as np

from models.forecast.bundle import from_state, prior_bundle
from models.history import cut, from_orders
from worker.live import Live
from worker.refresh_rules import RefreshRules
from worker.training.columns import Reader
from worker.training.data import TrainingData
from worker.training.forecasts import fit
from worker.views import Calendar

RULES = RefreshRules(50, 86_400, "UTC", "EUR", 3, 3, 30, ())
TODAY = 20_000
CUSTOMERS = 120


def data(past):
    known = Reader(RULES).columns()._replace(past=past, key=np.arange(CUSTOMERS, dtype=np.uint64))
    return TrainingData(
        86_400 * TODAY + 3_600, TODAY, known.past, known.key, known.bought, known.items,
        known.orders, Calendar("UTC"), RULES, 0.1, Live(forecasts=prior_bundle("EUR")),
    )  # fmt: skip


def test_what_today_has_brought_so_far_is_no_label():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(CUSTOMERS), rng.geometric(0.2, CUSTOMERS))
    day = TODAY - rng.integers(1, 140, len(who))
    who, day = np.append(who, np.arange(CUSTOMERS)), np.append(day, np.full(CUSTOMERS, TODAY))
    busy = from_orders(CUSTOMERS, who, day, np.full(len(who), 900))
    some, none = fit(data(busy))[1]["report"], fit(data(cut(busy, TODAY)))[1]["report"]
    assert [head["windows"] for head in some] == [head["windows"] for head in none]
    assert {head["windows"][0] for head in some if head["windows"]} == {TODAY - 30}
    assert [head["candidates"] for head in some] == [head["candidates"] for head in none]


def test_on_its_first_day_a_shop_gets_intervals_from_that_day():
    everyone = np.arange(CUSTOMERS)
    first = from_orders(CUSTOMERS, everyone, 0 * everyone + TODAY, 900 + everyone)
    bundle = from_state(*fit(data(first)))
    assert bundle.level1.paid_orders == CUSTOMERS
    assert all(head.spread for head in bundle.heads if head.target != "buy")

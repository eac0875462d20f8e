"""Figures that ask for trainings: each with cause, once; a shop that stays as it was asks never."""

import numpy as np
import pytest

from integrations.inbound.products import Product
from models.forecast.bundle import from_state, to_state
from models.forecast.level1 import Season
from models.forecast.season import Calendar
from tests.builders import DAY_S, T0, order
from worker.bootstrap import Runtime
from worker.route import route
from worker.settings import Settings
from worker.status import Watcher
from worker.store.catalog import Stated
from worker.store.door import Arrival
from worker.store.verdicts import Verdict
from worker.store.watching import Figure, WatchStore
from worker.triggers import Limits, watch_of

BUYERS = 240


class Shop:
    """A shop with constant arrivals, and a clock that is moved by hand."""

    def __init__(self, client, server, clock):
        self.runtime = Runtime(
            Settings(redis_url=server, reporting_currency="EUR", shards=4), server, clock
        )
        self.clock = clock

    def buy(self, first, last, *, from_day, to_day, every, tag=""):
        rng = np.random.default_rng(first + from_day)
        events = []
        for n in range(first, last):
            chance = (0.5 + n % 3) / every
            begins = min(n * 400 // BUYERS, to_day - 10)  # as many come each day
            days = from_day + np.flatnonzero(rng.random(to_day - from_day) < chance)
            for day in days[days >= begins]:
                at_s = T0 + int(day) * DAY_S + n
                name = f"{tag}{n}-{day}"
                items = {f"i{n % 5}": 1}
                events.append(order(f"c{n}", name, f"e{name}", at_s, revenue="9", items=items))
        self.runtime.door.emit(map(Arrival, events))
        while route(self.runtime.intake, 4):
            pass
        self.runtime.ingest.drain()

    def at(self, day):
        self.clock.advance(T0 + day * DAY_S - self.clock.now_s())

    def watch(self):
        return watch_of(self.runtime).run()

    def figures(self):
        rows = WatchStore(self.runtime.client, self.runtime.keys).all()
        return {(one.kind, one.name): one for one in rows}


@pytest.fixture
def shop(redis_client, valkey):
    from worker.clock import ManualClock

    shop = Shop(redis_client, valkey.url, ManualClock())
    shop.at(400)
    shop.buy(0, BUYERS, from_day=0, to_day=400, every=20)
    shop.runtime.retrain.run(reason="first")
    return shop


def test_a_shop_that_stays_as_it_was_asks_for_nothing(shop):
    shop.buy(0, BUYERS + 12, from_day=400, to_day=430, every=20, tag="more")
    for day in range(402, 430, 9):
        shop.at(day)
        assert shop.watch() == [], [f for f in shop.figures().values() if f.asks]
    assert ("segments", "psi") in shop.figures()
    assert not shop.figures()["segments", "psi"].asks


def test_more_customers_ask_once_and_the_reason_is_kept_with_the_version(shop):
    shop.at(401)
    shop.buy(BUYERS, BUYERS + 90, from_day=370, to_day=400, every=5)
    assert shop.watch() == ["segments", "recommendations", "forecasts"]
    assert shop.watch() == [], "they wait"
    shop.runtime.retrain.serve()
    assert "customers 1.3" in shop.runtime.models.head("segments", 2)["trigger"]
    shop.at(402)
    shop.watch()
    assert not shop.figures()["segments", "customers"].asks


def test_customers_who_stop_buying_ask_for_forecasts_and_segments(shop):
    shop.at(460)
    asked = shop.watch()
    found = shop.figures()
    assert "forecasts" in asked
    assert found["forecasts", "loss"].value > 1.05
    assert found["forecasts", "loss"].since_s == shop.clock.now_s()


def test_a_level_that_is_off_rings_and_asks_for_nothing(shop):
    shop.at(415)
    shop.watch()
    level = shop.figures()["forecasts", "level_orders"]
    assert level.value > level.threshold == 0.15
    assert (level.rings, level.asks, level.since_s) == (True, False, shop.clock.now_s())


def test_the_share_of_customers_made_coherent_is_a_figure_of_the_live_version(shop):
    """A version whose month is three long, and whose quarter is one, contradicts itself."""
    models = shop.runtime.models
    held = models.read("forecasts", 1)
    fitted = from_state(dict(held.arrays), dict(held.meta["model"]))
    seasons = {30: Season(1.0, 1.0), 90: Season(-1.0, -1.0)}
    heads = [
        h._replace(season=Calendar((0,), (seasons[h.horizon_days],), 1.0)) for h in fitted.heads
    ]
    arrays, model = to_state(fitted._replace(heads=tuple(heads)))
    shop.at(401)
    shop.watch()
    assert shop.figures()["forecasts", "projected"].value == 0.0
    models.publish("forecasts", arrays, {**held.meta, "model": dict(model)}, shop.clock.now_s())
    shop.watch()
    figures = {one["kind"]: one.get("figures") for one in Watcher(shop.runtime).models(0)}
    assert figures["forecasts"]["projected"] > 0.9
    assert not shop.figures()["forecasts", "projected"].asks


def test_the_catalog_asks_for_recommendations_alone(shop):
    state = shop.runtime.catalog.put
    state(Stated(Product(f"i{n}"), T0) for n in range(8))
    shop.at(401)
    assert shop.watch() == ["recommendations"], "there was none"
    shop.runtime.locks.release("asked:recommendations", "1")
    shop.runtime.retrain.run(("recommendations",), reason="catalog")
    shop.at(402)
    assert "recommendations" not in shop.watch()
    state(Stated(Product(f"new{n}"), T0) for n in range(3))
    assert "recommendations" in shop.watch()


def test_cooldown_and_cap_hold_back_what_nobody_asked_for(shop):
    watch = watch_of(shop.runtime)
    now_s = shop.clock.now_s()
    assert not watch._may_train("segments", now_s), "trained just now"
    shop.at(401)
    watch._limits = Limits(0, 1)
    assert not watch._may_train("segments", shop.clock.now_s() - 60), "one within a day is the cap"
    assert watch._may_train("segments", shop.clock.now_s() + DAY_S)
    assert shop.runtime.retrain.request(["segments"], reason="by hand") == ["segments"]


def test_what_was_kept_back_is_not_asked_for_again_within_a_day(shop):
    models, versions = shop.runtime.models, shop.runtime.models.versions
    watch = watch_of(shop.runtime)
    watch._limits = Limits(60, 6)
    for state in ("refused", "waiting", "shadow"):
        shop.clock.advance(DAY_S)
        now_s = shop.clock.now_s()
        verdict = Verdict(state, ("worse",), now_s)
        models.publish("forecasts", {}, {"model": {}}, now_s, verdict=verdict)
        assert not watch._may_train("forecasts", now_s + 3_600)
        assert watch._may_train("forecasts", now_s + DAY_S) == (state != "shadow")
        shop.runtime.locks.release("asked:forecasts", "1")
    assert len(versions("forecasts")) == 4
    assert models.current().versions["forecasts"] == 1


def test_a_figure_keeps_when_it_began_until_another_version_lives(redis_client):
    from worker.store.keys import Keys

    store = WatchStore(redis_client, Keys("t", 2))
    figure = Figure("segments", "inertia", 1, 1.2, 1.1, True, 10)
    assert store.put([figure])[0].since_s == 10
    assert store.put([figure._replace(at_s=20)])[0].since_s == 10
    assert store.put([figure._replace(at_s=30, version=2)])[0].since_s == 30
    assert store.put([figure._replace(at_s=40, sure=False)])[0].since_s is None

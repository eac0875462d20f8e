"""What becomes of a trained version: live, refused, waiting or in the shadow, on a real server."""

import numpy as np
import pytest

from models.checks import DomainError
from models.history import from_orders
from models.recommend import fitting
from tests.builders import DAY_S, T0, order
from worker import retrain, shadow
from worker.bootstrap import Runtime
from worker.clock import ManualClock
from worker.route import route
from worker.settings import Settings
from worker.shadow import shadow_of
from worker.store.door import Arrival
from worker.store.models import KINDS
from worker.store.shadows import ShadowStore
from worker.training import evidence, forecasts, gate, recommendations, segments

BUYERS = 150
TASTES = 4
ITEMS = 12  # of each taste


class Shop:
    """A shop of four tastes and three rhythms, and a clock that is moved by hand."""

    def __init__(self, client, url, **settings):
        self.clock = ManualClock()
        chosen = Settings(redis_url=url, reporting_currency="EUR", shards=4, **settings)
        self.runtime = Runtime(chosen, url, self.clock)
        self.at(300)
        self.live_through(0, 300)

    def at(self, day):
        self.clock.advance(T0 + day * DAY_S - self.clock.now_s())

    def live_through(self, first, last):
        rng = np.random.default_rng(first)
        events = []
        for n in range(BUYERS):
            chance = np.full(last - first, (0.15, 0.03, 0.06)[n % 3])
            if n % 3 == 2:
                chance[max(0, 120 - first) :] = 0.0  # lapsed
            days = first + np.flatnonzero(rng.random(last - first) < chance)
            for day in days.tolist():
                taste = n % TASTES if rng.random() < 0.9 else int(rng.integers(TASTES))
                bought = rng.choice(ITEMS, 2, replace=False).tolist()
                items = {f"{taste}-{item}": 1 for item in bought}
                at_s, name = T0 + day * DAY_S + n, f"{n}-{day}"
                money = str(5 + 20 * (n % 3))
                events.append(order(f"c{n}", name, f"e{name}", at_s, revenue=money, items=items))
        self.runtime.door.emit(map(Arrival, events))
        while route(self.runtime.intake, 4):
            pass
        self.runtime.ingest.drain()

    def month(self):
        """Thirty days pass."""
        day = (self.clock.now_s() - T0) // DAY_S
        self.at(day + 30)
        self.live_through(day, day + 30)

    def train(self, *kinds):
        return {
            one.kind: one.verdict for one in self.runtime.retrain.run(kinds or KINDS, reason="test")
        }

    @property
    def live(self):
        return dict(self.runtime.models.current().versions)


@pytest.fixture
def open_shop(redis_client, valkey):
    def open_one(**settings):
        shop = Shop(redis_client, valkey.url, **settings)
        shop.train()
        shop.month()
        return shop

    return open_one


@pytest.fixture
def shop(open_shop):
    return open_shop()


def shuffled_orders(data):
    past, n = data.past, len(data.key)
    who = np.random.default_rng(5).permutation(np.repeat(np.arange(n), np.diff(past.starts)))
    return data._replace(past=from_orders(n, who, past.day, past.amount_minor, past.items))


def shuffled_baskets(data):
    """Everybody's baskets given to somebody else."""
    item = np.random.default_rng(5).permutation(data.bought.item)
    return data._replace(bought=data.bought._replace(item=item))


def bad_fit(kind):
    """A training whose labels are anybody's."""
    if kind == "recommendations":
        return lambda data: recommendations.fit(shuffled_baskets(data))
    honest = {"forecasts": forecasts.fit, "segments": segments.fit}[kind]
    return lambda data: honest(shuffled_orders(data))


def train_badly(shop, monkeypatch, kind):
    with monkeypatch.context() as patched:
        patched.setattr(retrain, "_FITS", {**retrain._FITS, kind: bad_fit(kind)})
        return shop.train(kind)[kind]


def test_the_first_goes_live_at_once_and_newer_ones_when_they_are_no_worse(shop):
    assert shop.live == dict.fromkeys(KINDS, 1)
    told = []
    made = shop.runtime.retrain.run(reason="x", progress=lambda *one: told.append(one))
    verdicts = {one.kind: one.verdict for one in made}
    for kind in KINDS:
        parts = [part for stage, part in told if stage == f"fit {kind}"]
        assert len(parts) > 1, "a long fit tells how far it is, and hears of an end"
        assert parts == sorted(parts)
    assert {kind: one.state for kind, one in verdicts.items()} == dict.fromkeys(KINDS, "promoted")
    assert shop.live == dict.fromkeys(KINDS, 2)
    told = shop.runtime.models.head("forecasts", 2)["gate"]
    assert (told["verdict"], told["against"], told["customers"]) == ("promoted", 1, BUYERS)
    assert {one["of"] for one in told["compared"]} >= {"buy, 30 d", "buy, 90 d"}


@pytest.mark.parametrize("kind", KINDS)
def test_shuffled_labels_are_stored_with_the_reason_and_not_live(shop, monkeypatch, kind):
    verdict = train_badly(shop, monkeypatch, kind)
    assert verdict.state == "refused", verdict
    models = shop.runtime.models
    assert shop.live[kind] == 1
    assert models.verdict(kind, 2) == verdict
    assert models.head(kind, 2)["gate"]["reasons"] == list(verdict.reasons)
    assert [one.version for one in models.log(kind)] == [1]


def test_lists_in_no_order_are_refused(shop, monkeypatch):
    def fit(data):
        arrays, meta = recommendations.fit(data)
        return {**arrays, "weights": np.zeros_like(arrays["weights"])}, meta

    monkeypatch.setattr(retrain, "_FITS", {**retrain._FITS, "recommendations": fit})
    verdict = shop.train("recommendations")["recommendations"]
    assert verdict.state == "refused"
    assert all("which it knows" in reason for reason in verdict.reasons)


def test_lists_that_learned_from_what_they_were_to_foretell_are_refused(shop, monkeypatch):
    honest = fitting.last_window

    def last_window(interactions, as_of_day):
        window = honest(interactions, as_of_day)
        return None if window is None else window._replace(past=interactions)

    def fit(data):
        with monkeypatch.context() as patched:
            patched.setattr(fitting, "last_window", last_window)
            return recommendations.fit(data)

    monkeypatch.setattr(retrain, "_FITS", {**retrain._FITS, "recommendations": fit})
    verdict = shop.train("recommendations")["recommendations"]
    meta = shop.runtime.models.head("recommendations", 2)
    claims = {row["list"]: row["ndcg10"] for row in meta["model"]["quality"]}
    assert claims["buy_again"] > 0.99, "it looks splendid"
    assert verdict.state == "refused"


def test_live_lists_of_before_the_window_speak_as_they_are(shop):
    shop.month()
    assert shop.train("recommendations")["recommendations"].state == "promoted"
    told = shop.runtime.models.head("recommendations", 2)["gate"]
    assert told["notes"] == []
    assert any(one["se"] > 0 for one in told["compared"])


def test_what_cannot_be_read_is_refused_and_what_cannot_be_judged_waits(shop, monkeypatch):
    honest = retrain._FITS["segments"]
    broken = {**retrain._FITS, "segments": lambda data: ({}, honest(data)[1])}
    with monkeypatch.context() as patched:
        patched.setattr(retrain, "_FITS", broken)
        assert shop.train("segments")["segments"].state == "refused"

    def fail(*_, **__):
        raise DomainError("no figure")

    monkeypatch.setattr(gate, "judge_segments", fail)
    waits = shop.train("segments")["segments"]
    assert (waits.state, waits.reasons) == ("waiting", ("it could not be judged: no figure",))
    assert shop.live["segments"] == 1


def test_who_compares_cuts_the_ledgers_as_they_stood(shop):
    rules, at_s = shop.runtime.refresh_rules, shop.clock.now_s()
    found = evidence.gather(shop.runtime.population, rules, at_s)
    day = found.today - 30
    assert found.now.day.max() >= day > found.past(day).day.max()
    assert len(found.past(day).starts) == len(found.now.starts)
    orders = [one for view in found.views(day) for one in view.orders]
    assert max(one.at_s for one in orders) < evidence.begin_s(found.calendar, day)


def test_promotion_by_hand_leaves_what_passes_waiting(open_shop):
    shop = open_shop(promotion="manual")
    assert shop.live == dict.fromkeys(KINDS, 1), "the first goes live all the same"
    verdict = shop.train("forecasts")["forecasts"]
    assert (verdict.state, shop.live["forecasts"]) == ("waiting", 1)
    shop.runtime.models.promote("forecasts", 2, shop.clock.now_s())
    assert shop.live["forecasts"] == 2
    assert shop.runtime.models.verdict("forecasts", 2).state == "promoted"


class TestShadow:
    def look(self, shop):
        return shadow_of(shop.runtime).run()

    def seen(self, shop, kind, version=2):
        store = ShadowStore(shop.runtime.client, shop.runtime.keys)
        return store.get(kind, version)

    def test_versions_score_beside_the_live_ones_and_go_live_at_the_end(self, open_shop):
        shop = open_shop(shadow_days=3)
        states = {kind: one.state for kind, one in shop.train().items()}
        assert states == dict.fromkeys(KINDS, "shadow")
        assert self.look(shop) == (3, ()), "it begins"
        assert self.look(shop) == (3, ())
        assert self.seen(shop, "segments").customers == 0, "nobody came"
        day = (shop.clock.now_s() - T0) // DAY_S
        for n in range(1, 3):
            shop.at(day + n)
            shop.live_through(day + n - 1, day + n)
            assert self.look(shop) == (3, ())
        figures = {kind: self.seen(shop, kind) for kind in KINDS}
        assert all(0 < one.customers < BUYERS for one in figures.values())
        assert figures["segments"].figures["moved"] <= 0.1
        assert 0 < figures["forecasts"].figures["probability_30d_off"] < 0.1
        assert 0.3 < figures["recommendations"].figures["new_for_you_overlap"] <= 1
        assert shop.live == dict.fromkeys(KINDS, 1)
        shop.at(day + 3)
        assert {kind for kind, _ in self.look(shop).promoted} == set(KINDS)
        assert shop.live == dict.fromkeys(KINDS, 2)
        assert "scored in the shadow of 1" in shop.runtime.models.log("segments")[0].why
        assert self.look(shop) == (0, ())

    def test_it_ends_by_events_too_and_what_differs_too_much_waits(self, open_shop, monkeypatch):
        shop = open_shop(shadow_events=5)
        shop.train("segments", "forecasts")
        monkeypatch.setattr(shadow, "BAND", {"probability_30d_off": (0.0, 0.0)})
        self.look(shop)
        day = (shop.clock.now_s() - T0) // DAY_S
        shop.at(day + 4)
        shop.live_through(day, day + 4)
        assert self.look(shop).promoted == (("segments", 2),)
        verdict = shop.runtime.models.verdict("forecasts", 2)
        assert verdict.state == "waiting"
        assert "probability_30d_off is 0.0" in verdict.reasons[0]

    def test_what_became_live_meanwhile_ends_it(self, open_shop):
        shop = open_shop(shadow_days=1)
        shop.train("segments")
        self.look(shop)
        shop.train("segments")
        self.look(shop)
        models = shop.runtime.models
        assert models.verdict("segments", 2).reasons == ("version 3 is newer",)
        models.promote("segments", 2, shop.clock.now_s())
        self.look(shop)
        assert models.verdict("segments", 3).state == "waiting"
        assert shop.live["segments"] == 2

    def test_by_hand_it_waits_at_the_end(self, open_shop):
        shop = open_shop(shadow_days=1, promotion="manual")
        shop.train("segments")
        self.look(shop)
        day = (shop.clock.now_s() - T0) // DAY_S
        shop.at(day + 4)
        shop.live_through(day, day + 4)
        assert self.look(shop).promoted == ()
        assert shop.runtime.models.verdict("segments", 2).reasons == ("promotion is by hand",)

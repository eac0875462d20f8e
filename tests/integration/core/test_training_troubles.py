"""What goes wrong in a training harms what goes wrong alone: a kind, a storage, a cancelled one."""

import pytest

from models.checks import NumericError
from models.segments.examples import on_a_line
from models.segments.state import to_state
from tests.builders import DAY_S, T0, order
from worker import retrain
from worker.bootstrap import Runtime
from worker.clock import ManualClock
from worker.heart import CancelledTrainingError, Heart
from worker.registry.artifact import StorageError
from worker.retrain import FailedTrainingError
from worker.route import route
from worker.settings import Settings
from worker.shadow import LEAST_SCORED, shadow_of
from worker.store.door import Arrival
from worker.store.models import KINDS, BusyTrainingError, ModelStore
from worker.store.shadows import ShadowStore

BUYERS = 40


class Shop:
    """Buyers, and trainings that fit nothing: what they come to is looked at, not the models."""

    def __init__(self, url, monkeypatch, **settings):
        self.clock = ManualClock(T0 + 90 * DAY_S)
        chosen = Settings(redis_url=url, reporting_currency="EUR", shards=4, **settings)
        self.runtime = Runtime(chosen, url, self.clock)
        self.fits = dict.fromkeys(KINDS, lambda _: ({}, {}))
        monkeypatch.setattr(retrain, "_FITS", self.fits)
        self.buy(0, T0)

    @property
    def desk(self):
        return self.runtime.desk

    def buy(self, number, at_s):
        events = (
            order(f"c{n}", f"{number}-{n}", f"e{number}-{n}", at_s + n, revenue="5")
            for n in range(BUYERS)
        )
        self.runtime.door.emit(map(Arrival, events))
        while route(self.runtime.intake, 4):
            pass
        self.runtime.ingest.drain()

    def newest(self):
        versions = self.runtime.models.versions
        return {kind: found[0][0] for kind in KINDS if (found := versions(kind))}

    def leave(self, kind):
        """The lease of a run ends."""
        self.runtime.client.delete(self.runtime.keys.training_lease(kind))


@pytest.fixture
def shop(redis_client, valkey, monkeypatch):
    return Shop(valkey.url, monkeypatch)


@pytest.fixture
def outage(monkeypatch):
    """Storage that does not answer from now on, in the context that is given."""

    def begin(patched):
        def read(*_):
            raise StorageError("the place does not answer")

        patched.setattr(ModelStore, "read", read)

    return begin


def test_no_training_begins_while_the_live_versions_cannot_be_reached(shop, monkeypatch, outage):
    shop.runtime.retrain.run(("segments",), reason="first")
    with monkeypatch.context() as patched:
        outage(patched)
        with pytest.raises(StorageError):
            shop.runtime.retrain.run(("segments",), reason="again")
    assert shop.newest() == {"segments": 1}
    assert [one.reasons for one in shop.desk.waiting()] == [("again",)]
    (made,) = shop.runtime.retrain.serve()
    assert made.verdict.state == "refused", "it was judged"


def test_a_kind_that_fails_leaves_the_others_and_is_tried_three_times(shop):
    def fit(_):
        raise NumericError("no end")

    shop.fits["forecasts"] = fit
    with pytest.raises(FailedTrainingError, match="forecasts: NumericError: no end"):
        shop.runtime.retrain.run(reason="test")
    assert shop.newest() == {"segments": 1, "recommendations": 1}
    for attempt in (1, 2, 3):
        (run,) = shop.desk.running()
        assert (run.kind, run.attempts, run.reasons) == ("forecasts", attempt, ("test",))
        assert shop.desk.wanted() == [], "not at once"
        shop.leave("forecasts")
        assert shop.runtime.retrain.serve() == []
    assert (shop.desk.running(), shop.desk.waiting()) == ([], [])


def test_storage_that_fails_at_the_publication_is_tried_again(shop, monkeypatch):
    def publish(*_):
        raise StorageError("the place cannot be written")

    with monkeypatch.context() as patched:
        patched.setattr(ModelStore, "publish", publish)
        with pytest.raises(FailedTrainingError):
            shop.runtime.retrain.run(("segments",), reason="test")
    shop.leave("segments")
    assert [one.version for one in shop.runtime.retrain.serve()] == [1]


def test_to_cancel_one_kind_stops_that_one_within_its_fit_and_no_other(shop, monkeypatch):
    hearts, told = [], []

    class Watched(Heart):
        def __enter__(self):
            hearts.append(self)
            return super().__enter__()

    def fit(data):
        for part in range(4):
            if part == 2:
                shop.desk.cancel("forecasts")
                hearts[0]._beat()  # as its thread does every few seconds
            told.append(part)
            data.tell(part / 4)
        return {}, {}

    monkeypatch.setattr(retrain, "Heart", Watched)
    shop.fits["forecasts"] = fit
    shop.runtime.retrain.request(KINDS, reason="check")
    made = shop.runtime.retrain.serve()
    assert {one.kind for one in made} == {"segments", "recommendations"}
    assert told == [0, 1, 2]
    assert (shop.desk.running(), shop.desk.waiting()) == ([], [])


def test_all_cancelled_is_told_to_who_trains(shop):
    def fit(_):
        raise CancelledTrainingError("the training was cancelled")

    shop.fits["segments"] = fit
    with pytest.raises(CancelledTrainingError):
        shop.runtime.retrain.run(("segments",), reason="test")
    assert shop.desk.running() == []


def test_who_cannot_train_all_puts_back_every_reason(shop):
    for reason in ("one", "two"):
        shop.runtime.retrain.request(["segments"], reason=reason)
    shop.desk.request("forecasts", "elsewhere", 1)
    shop.desk.take("forecasts", "another", 60_000, 1)
    with pytest.raises(BusyTrainingError):
        shop.runtime.retrain.run(("segments", "forecasts"), reason="three")
    waiting = {one.kind: one.reasons for one in shop.desk.waiting()}
    assert waiting["segments"] == ("one", "two", "three")


def test_a_shadow_outlasts_an_outage_and_lasts_until_somebody_was_scored(
    redis_client, valkey, monkeypatch, outage
):
    from models.segments.examples import on_a_line
    from models.segments.state import to_state

    shop = Shop(valkey.url, monkeypatch, shadow_days=1)
    arrays, state = to_state(on_a_line(0.0, 2.0))
    models, now_s = shop.runtime.models, shop.clock.now_s()
    models.publish("segments", arrays, {"model": dict(state)}, now_s)
    shadow = retrain.Verdict("shadow", (), now_s)
    models.publish("segments", arrays, {"model": dict(state)}, now_s, verdict=shadow)
    look = shadow_of(shop.runtime).run
    look()
    shop.clock.advance(2 * DAY_S)
    with monkeypatch.context() as patched:
        outage(patched)
        assert look().promoted == ()
    assert models.verdict("segments", 2).state == "shadow"
    assert look().promoted == (), "nobody was scored"
    shop.buy(1, shop.clock.now_s() - 100)
    assert look().promoted == (("segments", 2),)
    seen = ShadowStore(shop.runtime.client, shop.runtime.keys).get("segments", 2)
    assert seen.customers >= LEAST_SCORED


def test_what_is_trained_takes_the_place_of_a_live_version_that_cannot_be_read(shop):
    models, retrain = shop.runtime.models, shop.runtime.retrain
    arrays, state = to_state(on_a_line(0.0, 2.0))
    shop.fits["segments"] = lambda _: (arrays, dict(state))
    retrain.run(("segments",), reason="the first")
    assert models.publish("segments", arrays, {"model": dict(state)}, 1) == 2
    key = shop.runtime.keys.model("segments", 2)
    shop.runtime.client.setrange(key, 0, b"CRMR9")
    verdict = retrain.run(("segments",), reason="it is damaged")[0].verdict
    assert verdict.is_live
    assert verdict.reasons == ("the live version cannot be read",)

"""The desk of trainings and the store of versions on a real server."""

import json
import threading

import numpy as np
import pytest

from worker.clock import ManualClock
from worker.heart import CancelledTrainingError, Heart
from worker.store.keys import Keys
from worker.store.models import ArtifactError, Change, Claim, LostTrainingError, ModelStore
from worker.store.training import MOST_REASONS, Standing, TrainingDesk
from worker.store.verdicts import Verdict

KEYS = Keys("t", 2)
LEASE_MS = 60_000


@pytest.fixture
def desk(redis_client):
    return TrainingDesk(redis_client, KEYS)


@pytest.fixture
def store(redis_client):
    return ModelStore(redis_client, KEYS)


def begin(desk, kind="segments", token=None):
    return desk.take(kind, token or "one", LEASE_MS, 5)


def leave(client, kind="segments"):
    """The trainer ended: its lease runs out."""
    client.delete(KEYS.training_lease(kind))


class TestRequests:
    def test_of_many_at_once_one_waits_and_knows_all_reasons(self, desk):
        threads = [
            threading.Thread(target=desk.request, args=("segments", f"reason {n}", n))
            for n in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (waiting,) = desk.waiting()
        assert set(waiting.reasons) == {f"reason {n}" for n in range(12)}

    def test_reasons_are_bounded_and_each_is_kept_once(self, desk):
        assert desk.request("segments", "again", 1)
        assert not desk.request("segments", "again", 2)
        for n in range(2 * MOST_REASONS):
            assert not desk.request("segments", f"reason {n}", 3)
        (waiting,) = desk.waiting()
        assert (len(waiting.reasons), waiting.reasons[0], waiting.at_ms) == (
            MOST_REASONS,
            "again",
            1,
        )

    def test_what_comes_during_a_run_waits_behind_it(self, desk):
        desk.request("segments", "first", 1)
        assert begin(desk).reasons == ("first",)
        assert desk.request("segments", "second", 2)
        assert not desk.request("segments", "third", 3)
        assert begin(desk, token="two") is None, "one of a kind trains at a time"
        assert desk.wanted() == []
        assert desk.end("segments", "one")
        assert desk.wanted() == ["segments"]
        assert begin(desk, token="two").reasons == ("second", "third")

    def test_kinds_do_not_wait_for_each_other(self, desk):
        desk.request("segments", "a", 1)
        desk.request("forecasts", "b", 1)
        assert begin(desk, "segments", "one")
        assert begin(desk, "forecasts", "two")
        assert begin(desk, "recommendations", "three") is None, "nobody asked"


class TestRuns:
    def test_a_reply_that_was_lost_is_given_again(self, desk):
        desk.request("segments", "a", 1)
        assert begin(desk) == begin(desk)
        assert desk.running()[0].attempts == 1

    def test_what_a_trainer_left_behind_begins_anew_with_what_waits(self, desk, redis_client):
        desk.request("segments", "a", 1)
        begin(desk)
        desk.request("segments", "b", 2)
        leave(redis_client)
        assert not desk.running()[0].alive
        assert desk.wanted() == ["segments"]
        again = begin(desk, token="two")
        assert (again.reasons, again.attempts) == (("a", "b"), 2)
        assert desk.waiting() == []
        assert desk.beat(["segments"], "one", LEASE_MS, 9, "fit", 0.5) == {
            "segments": Standing.LOST
        }
        assert not desk.end("segments", "one"), "a zombie ends nothing"

    def test_progress_is_seen_while_it_runs(self, desk):
        desk.request("segments", "a", 1)
        begin(desk)
        heard = desk.beat(["segments"], "one", LEASE_MS, 9, "read profiles", 0.25)
        assert heard == {"segments": Standing.KEPT}
        run = desk.running()[0]
        assert (run.stage, run.done, run.beat_ms, run.alive) == ("read profiles", 0.25, 9, True)

    def test_a_cancelled_run_hears_of_it_and_what_waits_is_dropped(self, desk):
        desk.request("segments", "a", 1)
        begin(desk)
        desk.request("segments", "b", 2)
        assert desk.cancel("segments")
        assert desk.waiting() == []
        with (
            pytest.raises(CancelledTrainingError),
            Heart(desk, ["segments"], "one", LEASE_MS, ManualClock()) as heart,
        ):
            heart.tell("fit", 0.0)
        assert not desk.cancel("forecasts")

    def test_a_heart_keeps_the_lease_through_a_long_stage(self, desk, redis_client):
        desk.request("segments", "a", 1)
        desk.take("segments", "one", 600, 1)
        with Heart(desk, ["segments"], "one", 600, ManualClock()) as heart:
            heart.tell("fit", 0.0)
            threading.Event().wait(1.5)
            assert desk.running()[0].alive
            leave(redis_client)
            redis_client.set(KEYS.training_lease("segments"), "another")
            with pytest.raises(LostTrainingError):
                heart.tell("publish", 0.0)


class TestVersions:
    def publish(self, store, at_s, claim=None, **meta):
        return store.publish("segments", {"a": np.arange(3.0)}, {"model": {}, **meta}, at_s, claim)

    def test_only_who_holds_the_training_publishes_and_only_on_its_parent(
        self, desk, store, redis_client
    ):
        desk.request("segments", "a", 1)
        begin(desk)
        assert self.publish(store, 1, Claim("one", 0)) == 1
        with pytest.raises(LostTrainingError, match="became live"):
            self.publish(store, 2, Claim("one", 0))
        leave(redis_client)
        with pytest.raises(LostTrainingError, match="taken over"):
            self.publish(store, 2, Claim("one", 1))
        assert store.current().versions == {"segments": 1}

    def test_a_rollback_goes_to_what_was_live_before_and_the_log_tells_why(self, store):
        for at_s, trigger in enumerate(("first", "age", "check")):
            self.publish(store, at_s, trigger=trigger)
        store.promote("segments", 1, 10, why="by hand")
        assert store.rollback("segments", 11) == 3
        generation = store.current().generation
        assert not store.promote("segments", 3, 12), "it is live"
        assert store.current().generation == generation
        log = [(one.version, one.before, one.why) for one in store.log("segments")]
        assert log == [
            (3, 1, "rolled back"),
            (1, 3, "by hand"),
            (3, 2, "check"),
            (2, 1, "age"),
            (1, 0, "first"),
        ]

    def test_what_is_kept_back_is_stored_and_what_lives_goes_on(self, store):
        self.publish(store, 1)
        before = store.current()
        for state in ("refused", "waiting", "shadow"):
            verdict = Verdict(state, ("too bad",), 2)
            number = store.publish("segments", {}, {"model": {}}, 2, verdict=verdict)
            assert store.verdict("segments", number) == verdict
            assert store.kept(state) == [("segments", number)]
        assert store.current() == before, "nobody looks again"
        assert [one.version for one in store.log()] == [1]
        assert [version for version, _ in store.versions("segments")] == [4, 3, 2, 1]
        assert store.superfluous("segments", keep=1) == [2], "what may still follow is kept"

    def test_a_version_follows_the_one_that_it_was_held_against_and_no_other(self, store):
        self.publish(store, 1)
        shadow = Verdict("shadow", (), 2)
        store.publish("segments", {}, {"model": {}}, 2, verdict=shadow)
        third = store.publish("segments", {}, {"model": {}}, 3)
        change = Change("segments", 2, 1, 4, "the shadow ended")
        assert not store.promote_kept(change, shadow), "another became live meanwhile"
        store.promote("segments", 1, 5)
        assert not store.promote_kept(change, Verdict("waiting", (), 2)), "decided otherwise"
        assert store.promote_kept(change, shadow)
        assert store.verdict("segments", 2).is_live
        assert store.log()[0] == change
        assert store.verdict("segments", third) is None
        store.drop("segments", third)
        refused = Verdict("refused", ("late",), 6)
        assert not store.decide("segments", 2, shadow, refused)

    def test_nothing_to_go_back_to_is_an_error(self, store):
        self.publish(store, 1)
        with pytest.raises(ArtifactError, match="was live before"):
            store.rollback("segments", 2)

    def test_clearing_away_keeps_live_last_and_pinned_versions(self, store, redis_client):
        for at_s in range(8):
            self.publish(store, at_s)
        store.promote("segments", 3, 9)
        store.pin("segments", 2)
        assert store.superfluous("segments", keep=2) == [1, 4, 5, 6]
        for version in store.superfluous("segments", keep=2):
            store.drop("segments", version)
        assert sorted(v for v, _ in store.versions("segments")) == [2, 3, 7, 8]
        with pytest.raises(ArtifactError, match="is live"):
            store.drop("segments", 3)
        with pytest.raises(ArtifactError, match="no version 5"):
            store.pin("segments", 5)
        store.pin("segments", 2, pinned=False)
        assert store.superfluous("segments", keep=2) == [2]
        assert json.loads(redis_client.lindex(KEYS.model_log(), 0))["version"] == 3

    def test_minors_go_with_their_version(self, store, redis_client):
        self.publish(store, 1)
        for minor in (1, 2):
            assert store.publish_minor("segments", (1, minor), {}, {"model": {}}, 2)
        self.publish(store, 3)
        store.drop("segments", 1)
        left = {key for key in redis_client.scan_iter() if b"model:segments:" in key}
        assert left == {KEYS.model("segments", 2).encode()}
        assert not redis_client.hexists(KEYS.models(), "segments:1")


def test_the_desk_works_on_a_cluster(redis_cluster):
    desk, store = TrainingDesk(redis_cluster, KEYS), ModelStore(redis_cluster, KEYS)
    desk.request("segments", "a", 1)
    assert begin(desk).reasons == ("a",)
    heard = desk.beat(["segments"], "one", LEASE_MS, 2, "fit", 0.0)
    assert heard == {"segments": Standing.KEPT}
    assert store.publish("segments", {}, {"model": {}}, 1, Claim("one", 0)) == 1
    assert store.publish("segments", {}, {"model": {}}, 2, Claim("one", 1)) == 2
    assert store.rollback("segments", 3) == 1
    assert desk.cancel("segments")
    assert desk.end("segments", "one")
    assert (desk.waiting(), desk.running()) == ([], [])

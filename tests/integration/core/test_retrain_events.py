"""`Model Retrain Requested` in the stream: asked before the commit, once, and never lost."""

import json

import pytest
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from integrations.facts import EventFact, Rejected, read_events
from integrations.inbound.reading import Reading
from integrations.inbound.retraining import REASON, retrain_in
from integrations.inbound.segment import MODELS
from tests.builders import T0, Crash, CrashingConnection, CrashPlan, Installation, track, viewed
from worker.store.models import KINDS
from worker.store.training import MOST_TOLD, TrainingDesk

ASKS = "Model Retrain Requested"
LEASE_MS = 60_000


def asks(message_id="ask-1", at_s=T0, **properties):
    return track("crm", ASKS, message_id, at_s, **properties)


def ingest(client, shop, desk, **options):
    installation = Installation(client, shards=shop.keys.shards)
    return installation.ingest(desk=desk, **options)


@pytest.fixture
def shop(redis_client):
    return Installation(redis_client).create()


@pytest.fixture
def desk(redis_client, shop):
    return TrainingDesk(redis_client, shop.keys)


def train(desk, kinds=KINDS):
    """Every training that waits begins and ends; the kinds that there were."""
    done = [kind for kind in kinds if desk.take(kind, "me", LEASE_MS, 1)]
    for kind in done:
        assert desk.end(kind, "me")
    return done


def test_the_models_that_the_contract_names_are_those_that_are_trained():
    assert sorted(MODELS) == sorted(KINDS)


def test_an_event_asks_once_and_is_part_of_no_profile(redis_client, shop, desk):
    shop.put([asks(models=["segments", "segments"], reason=" season "), viewed("ann", "tea", "1")])
    done = ingest(redis_client, shop, desk).round()
    assert (done.applied, done.asked) == (2, 1)
    (waiting,) = desk.waiting()
    assert (waiting.kind, waiting.reasons) == ("segments", ("season",))
    assert set(shop.profiles()) == {"ann"}
    assert train(desk) == ["segments"]
    shop.put([asks(models=["segments"], reason="season")])
    again = ingest(redis_client, shop, desk).round()
    assert (again.applied, again.asked) == (1, 0)
    assert desk.waiting() == [], "its training has ended: it is not asked for again"
    shop.put([asks("ask-2")])
    shop.drain(desk=desk)
    assert {one.kind: one.reasons for one in desk.waiting()} == dict.fromkeys(KINDS, (REASON,))


def test_events_that_come_while_one_waits_become_one_training(redis_client, shop, desk):
    shop.put(asks(f"ask-{n}", models=["forecasts"], reason=f"reason {n}") for n in range(5))
    assert ingest(redis_client, shop, desk).round().asked == 1
    (waiting,) = desk.waiting()
    assert waiting.reasons == tuple(f"reason {n}" for n in range(5))
    assert train(desk) == ["forecasts"]
    assert desk.wanted() == []


def test_what_is_remembered_is_bounded(redis_client, shop, desk):
    for n in range(MOST_TOLD + 5):
        desk.request("segments", "r", n, f"event-{n}")
    assert redis_client.zcard(shop.keys.training_told()) == MOST_TOLD
    train(desk)
    assert not desk.request("segments", "r", 0, f"event-{MOST_TOLD}")
    assert desk.request("segments", "r", 0, "event-0"), "the oldest is forgotten"


@pytest.mark.parametrize("number", range(60))
def test_a_process_that_ends_at_any_command_asks_exactly_once(redis_client, shop, valkey, number):
    """Ended behind and in front of each command; between its lives a trainer empties the desk."""
    shop.put([asks(models=["segments", "forecasts"]), viewed("ann", "tea", "1")])
    desk, trained = TrainingDesk(redis_client, shop.keys), []
    plan = CrashPlan(1 + number // 2, behind=bool(number % 2))
    pool = ConnectionPool(
        connection_class=CrashingConnection, path=valkey.socket, plan=plan,
        retry=Retry(NoBackoff(), 0),
    )  # fmt: skip
    with Redis(connection_pool=pool) as client:
        try:
            while ingest(client, shop, TrainingDesk(client, shop.keys)).round().entries:
                pass
        except Crash:
            trained += train(desk)
        pool.disconnect()
    shop.drain(desk=desk)
    trained += train(desk)
    assert sorted(trained) == ["forecasts", "segments"]
    assert set(shop.profiles()) == {"ann"}


@pytest.mark.parametrize(
    ("properties", "reason", "path"),
    [
        ({"models": ["segments", "churn"]}, "unknown_model", "properties.models.1"),
        ({"models": [7]}, "unknown_model", "properties.models.0"),
        ({"models": "segments"}, "wrong_type", "properties.models"),
        ({"models": []}, "missing_field", "properties.models"),
        ({"models": ["segments"] * 4}, "too_long", "properties.models"),
        ({"reason": 5}, "wrong_type", "properties.reason"),
        ({"reason": "r" * 201}, "too_long", "properties.reason"),
        ({"reason": "a\u0007b"}, "control_character", "properties.reason"),
    ],
)
def test_what_cannot_be_read_is_quarantined_with_reason_and_path(
    redis_client, shop, desk, properties, reason, path
):
    shop.put([asks(**properties), asks("good", models=["segments"])])
    shop.drain(desk=desk)
    assert [held[1:3] for held in shop.quarantined()] == [(reason, path)]
    assert [one.kind for one in desk.waiting()] == ["segments"], "its neighbor is heard"


def test_in_a_cloud_event_it_means_the_same_and_paths_are_those_of_the_envelope():
    envelope = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/crm",
        "type": "com.crmreflex.model.retrain.requested.v1",
        "subject": "crm",
        "data": {"models": ["recommendations"], "reason": "new catalog"},
    }
    raw = json.dumps(envelope).encode()
    (fact,) = read_events([raw], [T0])
    assert isinstance(fact, EventFact)
    assert fact.signal == ASKS
    assert retrain_in(raw, Reading()) == (("recommendations",), "new catalog")
    bad = json.dumps({**envelope, "data": {"models": ["churn"]}}).encode()
    (refused,) = read_events([bad], [T0])
    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.path) == ("unknown_model", "data.models.0")

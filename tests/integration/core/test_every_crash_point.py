"""A process that ends at any Redis command loses nothing and doubles nothing.

The scenario routes, ingests, refreshes and delivers a dozen events. It is ended at every one of its
commands, behind it and in front of it; what follows is ended once more; what follows then must
leave the state of a run that was never interrupted. Of the second ends two are tried for each first
one, spread over all commands; with `pytest -m exhaustive` this file tries every pair.
"""

import time

import pytest
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from integrations.insight import CustomerInsight
from integrations.material import material
from tests.builders import (
    T0,
    WEEK_S,
    Crash,
    CrashingConnection,
    CrashPlan,
    FakeCrm,
    Installation,
    deliverer,
    identify,
    order,
    refresher,
    refund,
    refusing,
    track,
    viewed,
)
from tests.servers import eventually
from worker.clock import ManualClock
from worker.profile import fold
from worker.route import route
from worker.store.door import Intake
from worker.store.refreshing import read_insight

SHARDS = 2
EVENTS = [
    refund("ann", "o1", "refund first", T0 + 2 * WEEK_S, revenue="2.50"),
    order("ann", "o1", "then its order", T0 + WEEK_S, revenue="10", items={"tea": 2}),
    viewed("ann", "cup", "newer", T0 + 5 * WEEK_S),
    viewed("ann", "cup", "late", T0),
    viewed("ann", "cup", "newer", T0 + 5 * WEEK_S),
    track("bob", "Quiz Ended", "poison", T0),
    order("bob", "o2", "o2", T0, revenue="7"),
    identify("bob", "traits", T0, country="DE"),
    b'{"type": "track", "userId": "bob", "event": "Order Updated", "messageId": "no order"}',
    viewed("cem", "tea", "one id", T0),
    viewed("cem", "pot", "one id", T0),
    viewed("dia", "pot", "dia's", T0 + 3 * WEEK_S),
    b"nobody's",
]
ADDED_MS = 1_735_689_600_000


class Process:
    """One life of a worker: stages with a connection of their own."""

    def __init__(self, server, shop, crm, plan):
        pool = ConnectionPool(
            connection_class=CrashingConnection,
            path=server.socket,
            plan=plan,
            retry=Retry(NoBackoff(), 0),
        )
        self.client = Redis(connection_pool=pool)
        keys = shop.keys
        clock = ManualClock(time.time() + 60)
        self.intake = Intake(self.client, keys)
        self.ingest = Installation(self.client, shards=SHARDS).ingest(batch_size=4)
        self.refresh = refresher(self.client, keys, clock, batch_size=3)
        self.deliver = deliverer(self.client, keys, clock, crm)
        self.plan = plan

    def work(self):
        """One turn of every stage; whether the plan ended the process."""
        try:
            while route(self.intake, SHARDS, limit=6):
                pass
            self.ingest.drain()
            self.refresh.drain()
            self.deliver.drain()
        except Crash:
            return False
        finally:
            self.deliver.close()
            self.client.close()
        return True


class Scenario:
    """The installation with all events in its intake, the CRM, and lives of workers."""

    def __init__(self, server, client):
        self.server = server
        self.client = client
        client.flushall()
        self.shop = Installation(client, shards=SHARDS).create()
        for number, raw in enumerate(EVENTS):
            client.xadd(self.shop.keys.intake(), {"event": raw}, id=f"{ADDED_MS + number}-0")
        self.crm = FakeCrm()

    def live(self, at=0, *, behind=True):
        """One life, ended at a command or not at all; the commands it sent."""
        plan = CrashPlan(at, behind=behind)
        process = Process(self.server, self.shop, self.crm, plan)
        ended = not process.work()
        return plan.sent, ended

    def finish(self):
        """Lives that are not ended, until nothing is left to do."""
        eventually(self._is_done, every_s=0.001)

    def _is_done(self):
        self.live()
        k = self.shop.keys
        pipeline = self.client.pipeline(transaction=False)
        for shard in range(SHARDS):
            for key in (k.dirty(shard), k.quiet(shard), k.outbox(shard, "crm")):
                pipeline.zcard(key)
            pipeline.hlen(k.claimed(shard))
        routed = not Intake(self.client, k).read(1)
        return routed and not any(pipeline.execute()) and not self.shop.lag()

    def state(self):
        """What must not depend on where a life ended."""
        return {
            "profiles": self.shop.profiles(),
            "memories": self.shop.remembered(),
            "quarantine": self.shop.quarantined(),
            "counters": {**self.shop.counters(), "seq": None},
            "crm": {customer: _material(row) for customer, row in sorted(self.crm.rows.items())},
        }

    def newest(self):
        """The material of every stored insight."""
        found = {}
        for customer in self.shop.profiles():
            shard = self.shop.keys.shard(customer)
            held = read_insight(self.client.get(self.shop.keys.insight(shard, customer)))
            found[customer] = held.material
        return found


def _material(row):
    return material(CustomerInsight.model_validate(row)).digest


@pytest.fixture
def poisoned(monkeypatch):
    """One event cannot be folded: not for its content, but for want of memory."""
    monkeypatch.setattr(fold, "apply", refusing("poison", MemoryError()))


@pytest.fixture
def replay(valkey, redis_client, poisoned):
    """The state of a run that was never interrupted, and how many commands it took."""
    scenario = Scenario(valkey, redis_client)
    commands, _ = scenario.live()
    scenario.finish()
    return scenario.state(), scenario.newest(), commands


def test_the_scenario_holds_all_that_it_should(replay):
    state, newest, commands = replay
    assert set(state["profiles"]) == {"ann", "bob", "cem", "dia"} == set(state["crm"])
    assert state["crm"] == dict(sorted(newest.items()))
    reasons = [reason for _, reason, _, _ in state["quarantine"]]
    assert sorted(reasons) == ["conflict", "missing_order", "not_applicable", "not_json"]
    assert state["counters"]["duplicates"] == 1
    assert commands > 60


@pytest.mark.parametrize("behind", [True, False], ids=["behind", "in-front"])
def test_a_crash_at_every_command_and_again_on_the_way_back(valkey, redis_client, replay, behind):
    commands = replay[2]

    def twice(at):
        return {0, 1 + 5 * at % commands, 1 + 17 * at % commands}

    crash_at_every_command(valkey, redis_client, replay, twice, behind=behind)


@pytest.mark.exhaustive
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("behind", [True, False], ids=["behind", "in-front"])
def test_a_crash_at_every_command_and_again_at_every_one(valkey, redis_client, replay, behind):
    every = range(replay[2] + 1)
    crash_at_every_command(valkey, redis_client, replay, lambda _: every, behind=behind)


def crash_at_every_command(server, client, replay, again_at, *, behind):
    """Crash at each command, and once more at those of the recovery that `again_at` names."""
    expected, _, _ = replay
    at, ended = 0, True
    while ended:
        at += 1
        for again in again_at(at):
            scenario = Scenario(server, client)
            _, ended = scenario.live(at, behind=behind)
            if again:
                scenario.live(again, behind=behind)
            scenario.finish()
            assert scenario.state() == expected, (at, again)
            assert scenario.newest() == scenario.state()["crm"], (at, again)
    assert at > 60


def test_a_crash_at_every_command_while_the_server_knows_no_script(valkey, redis_client, replay):
    """Loading a script is two more commands, each of which may be the last one."""
    expected, _, _ = replay
    at, ended = 0, True
    while ended:
        at += 1
        scenario = Scenario(valkey, redis_client)
        redis_client.script_flush()
        _, ended = scenario.live(at)
        redis_client.script_flush()
        scenario.finish()
        assert scenario.state() == expected, at


def test_a_process_that_ends_over_and_over_still_gets_everywhere(valkey, redis_client, replay):
    """Every life sends a few commands more than the one before; no life is long enough for all."""
    expected, _, commands = replay
    scenario = Scenario(valkey, redis_client)
    for at in range(3, commands, 2):
        scenario.live(at)
    scenario.finish()
    state = scenario.state()
    assert state["profiles"] == expected["profiles"]
    assert state["crm"] == expected["crm"]

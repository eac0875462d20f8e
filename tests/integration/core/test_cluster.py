"""Every script and every stage on three nodes: one node proves nothing about slots."""

import base64
import json
from importlib.resources import files

import pytest

from integrations.inbound.products import Product
from tests.builders import T0, WEEK_S, Installation, channel, order, viewed
from tests.contract.crm import running
from worker.bootstrap import Runtime
from worker.route import route
from worker.settings import Settings
from worker.store import scripts
from worker.store.catalog import Stated
from worker.store.delivering import Row
from worker.store.door import Arrival
from worker.store.nudges import Nudges
from worker.store.refreshing import Mark
from worker.store.verdicts import Verdict

SHARDS = 16
NAMES = [f"customer-{n}" for n in range(40)]
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


def events():
    for n, name in enumerate(NAMES):
        for week in range(n % 4 + 1):
            at_s = T0 + week * WEEK_S + n
            items = {f"i{n % 3}": 1, "tea": 1}
            yield order(name, f"{name}-{week}", f"{name}-o{week}", at_s, revenue="9", items=items)
        yield viewed(name, "tea", f"{name}-v", T0)


@pytest.fixture
def crm():
    with running() as crm:
        yield crm


@pytest.fixture
def used(monkeypatch):
    """The names of the scripts that ran."""
    names = set()
    send = scripts.Scripts._send

    def counted(self, calls):
        names.update(call.name for call in calls)
        return send(self, calls)

    monkeypatch.setattr(scripts.Scripts, "_send", counted)
    return names


@pytest.fixture
def runtime(valkey_cluster, redis_cluster, crm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        redis_url=valkey_cluster.url,
        redis_cluster=True,
        broker_url="redis://127.0.0.1:1/0",
        shards=SHARDS,
        reporting_currency="EUR",
        webhook_url=crm.url,
        webhook_secret=SECRET,
        webhook_allow_private=True,
        coalesce_s=0,
    )
    runtime = Runtime(settings, valkey_cluster.url)
    yield runtime
    runtime.client.close()


def work(runtime):
    """All stages, until nothing is left to do."""
    while route(runtime.intake, SHARDS):
        pass
    runtime.ingest.drain()
    runtime.refresh.drain()
    runtime.deliver.drain()


def received(crm):
    """The last row of each customer."""
    rows = (json.loads(call.body)["data"] for call in crm.received)
    return {row["customer_id"]: row for row in rows}


def states_a_product(catalog):
    tea = Stated(Product("tea", "Green tea", price_minor=350), T0)
    assert catalog.put([tea, tea._replace(at_s=T0 - 1)]) == 1
    assert list(catalog.products()) == [tea.product]
    assert catalog.version() == 1


def judges_a_version(models):
    shadow, waits = Verdict("shadow", ("beside 1",), 1), Verdict("waiting", (), 2)
    number = models.publish("segments", {}, {"model": {}}, 1, verdict=shadow)
    assert models.kept("shadow") == [("segments", number)]
    assert models.decide("segments", number, shadow, waits)
    assert not models.decide("segments", number, shadow, Verdict("refused"))
    assert models.verdict("segments", number) == waits


def test_events_go_all_the_way_on_three_nodes_and_every_script_runs(
    runtime, crm, used, redis_client
):
    runtime.door.emit(map(Arrival, events()))
    runtime.door.emit([Arrival(b"nobody's")])
    work(runtime)
    rows = received(crm)
    assert set(rows) == set(NAMES)
    assert all(row["segment"] is None for row in rows.values())

    runtime.retrain.run(reason="test")
    for name in NAMES:
        again = order(name, "new", f"{name}-new", T0 + 9 * WEEK_S, revenue="5", items={"cup": 1})
        runtime.door.emit([Arrival(again)])
    runtime.refresh._models._looked = float("-inf")
    work(runtime)
    rows = received(crm)
    for n, name in enumerate(NAMES):
        assert rows[name]["historic_number_of_orders"] == n % 4 + 2
        assert rows[name]["segment"] is not None
        assert rows[name]["similar_customers"]
        assert rows[name]["buy_again"]
    assert runtime.quarantine.count() == 1
    assert runtime.quarantine.replay(runtime.quarantine.list()) == 1
    assert sum(lag.entries for lag in runtime.door.lag()) == 0
    assert runtime.door.memory()[0] > 0

    client = runtime.client
    nodes = {client.get_node_from_key(runtime.keys.meta(shard)).name for shard in range(SHARDS)}
    assert len(nodes) == 3, "the shards lie on all nodes"

    plain = Installation(redis_client, shards=SHARDS).create()
    plain.put(raw for raw in events())
    plain.put(
        order(name, "new", f"{name}-new", T0 + 9 * WEEK_S, revenue="5", items={"cup": 1})
        for name in NAMES
    )
    plain.drain()
    clustered = Installation(client, shards=SHARDS)
    clustered.keys = runtime.keys
    assert clustered.profiles() == plain.profiles()

    spoke = runtime.models.read("segments", 1)
    assert runtime.models.publish_minor("segments", (1, 1), spoke.arrays, spoke.meta, 0)
    assert runtime.models.current().minors["segments"] == 1

    undoes_a_training(runtime)
    nudges = Nudges(runtime.client, runtime.keys)
    assert nudges.put(NAMES[:3], 1_000) == 3
    runtime.refresh._nudging._next = float("-inf")
    work(runtime)
    assert nudges.waiting(10) == []

    judges_a_version(runtime.models)
    states_a_product(runtime.catalog)
    assert runtime.locks.take("slot", "me", 10_000)
    assert runtime.locks.renew("slot", "me", 10_000)
    assert runtime.locks.release("slot", "me")
    runtime.bells.ring("deliver")
    assert runtime.bells.wait("deliver", 1)
    assert runtime.ingest.round(range(SHARDS)).entries == 0, "dry shards are given back"
    use_what_deliveries_need_seldom(runtime)
    lua = files("worker.store") / "lua"
    assert used == {one.name.removesuffix(".lua") for one in lua.iterdir()}


def undoes_a_training(runtime):
    assert not runtime.models.promote("segments", 1, 0), "it is live already"
    runtime.models.name(1, "VIP")
    assert runtime.models.names() == {1: "VIP"}
    runtime.desk.request("segments", "check", 0)
    assert runtime.desk.cancel("segments")
    rolls_out_a_version(runtime)


def rolls_out_a_version(runtime):
    store, generation = runtime.rollout_store, runtime.models.current().generation + 1
    assert store.begin(generation, {"segments": 99}, len(NAMES), 0)
    permit = store.permit('{"segments": 99}', 1, 1e5)
    assert permit == (generation, 1, 0)
    (who,) = store.stale(permit, 0)
    store.unmark([Mark(0, who, None, loud=True, stale=True)], generation)
    assert who not in store.stale(permit, 0)
    assert store.pushes(2, 1)[0] == ""


def use_what_deliveries_need_seldom(runtime):
    """Jobs, calls that last, and haste."""
    jobs = runtime.destination_store
    jobs.put_job("webhook", "job", b"rows", 0)
    assert jobs.take_jobs("webhook", 1000, 9) == [("job", b"rows")]
    assert jobs.state("webhook").jobs == 1
    assert jobs.permits(channel(None, name="webhook"), 1).calls
    jobs.keep()
    jobs.drop_job("webhook", "job")
    assert runtime.deliver_store.hasten([Row(0, "webhook", NAMES[0])]) == 0
    assert runtime.deliver_store.send_again([Row(0, "webhook", NAMES[0])], 1) == 1


def test_retries_and_dead_letters_work_there_too(runtime, crm):
    for customer, status in (("ann", 400), ("bob", 200)):
        crm.will_answer(status)
        runtime.door.emit([Arrival(viewed(customer, "tea", f"of-{customer}"))])
        work(runtime)
    crm.will_answer(400)
    runtime.deliver_store.hasten([row for row, _ in runtime.deliver_store.waiting(["webhook"])])
    runtime.deliver.drain()
    (letter,) = runtime.letters.find()
    assert letter.row.customer_id == "ann"
    runtime.letters.replay([letter], runtime.clock.now_ms())
    runtime.deliver.drain()
    assert runtime.letters.find() == []
    assert runtime.deliver_store.waiting(["webhook"]) == []
    assert len(crm.received) == 4


def test_all_keys_of_a_shard_share_a_slot_and_its_tag(runtime):
    runtime.door.emit(map(Arrival, events()))
    work(runtime)
    names = list(dump_names(runtime.client))
    assert len(names) > 5 * len(NAMES)
    slots = {}
    for name in names:
        tag = name[name.index("{") : name.index("}") + 1]
        slots.setdefault(tag, set()).add(runtime.client.keyslot(name))
    assert all(len(found) == 1 for found in slots.values())
    assert set(slots) <= {"{global}", "{d-webhook}", *(f"{{s{shard}}}" for shard in range(SHARDS))}


def dump_names(client):
    for name in client.scan_iter(target_nodes=client.PRIMARIES):
        yield name.decode()

"""The interaction index of a process: snapshots, deltas, and who is nudged, on a real server."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from models.recommend.interactions import ItemTable
from models.recommend.model import empty_recommender
from tests.builders import T0, WEEK_S, Installation, order, refresher, viewed
from worker.clock import ManualClock
from worker.index import InteractionIndex, triplets
from worker.index_checks import snapshot_finding
from worker.live import Live
from worker.snapshot import SnapshotBuilder
from worker.store.nudges import Nudge, Nudges
from worker.store.population import Population
from worker.store.refreshing import read_insight
from worker.store.signals import Locks
from worker.store.snapshots import SnapshotError, Snapshots
from worker.views import Calendar, view

NAMES = [f"customer-{n:02d}" for n in range(30)]


def bought(name, number, items, at_s=T0):
    """An order of one of each."""
    told = f"{name}-{number}"
    return order(name, told, told, at_s, revenue="9", items=dict.fromkeys(items, 1))


@pytest.fixture
def shop(redis_client):
    redis_client.flushall()
    made = Installation(redis_client).create()
    rng = np.random.default_rng(3)
    for n, name in enumerate(NAMES):
        items = rng.choice(8, 3, replace=False)
        made.put([bought(name, 0, [f"i{j}" for j in items], T0 + n)])
        made.put([viewed(name, f"i{items[0]}", f"{name}-v", T0 + n)])
    made.drain()
    return made


def population(shop):
    return Population(shop.client, shop.keys)


def recommender_of(shop):
    every = population(shop)
    residents = [one for s in range(every.shards) for one in every.residents(s)]
    items = ItemTable()
    triplets(
        [view(one.customer_id, one.hot, one.cold) for one in residents], items, Calendar("UTC")
    )
    made = empty_recommender(tuple(items.ids))
    return replace(made, t0_day=T0 // 86_400, idf=np.linspace(1, 4, len(items)))


def index_of(shop, snapshots=None, **options):
    return InteractionIndex(population(shop), "UTC", snapshots, **options)


def rows_of(neighbors):
    """Every customer's row by item."""
    names = sorted(neighbors.customers())
    rows, ids = neighbors.rows(names), neighbors.items.ids
    found = {}
    for i, name in enumerate(names):
        span = slice(rows.indptr[i], rows.indptr[i + 1])
        columns = rows.indices[span].tolist()
        found[name] = {ids[c]: w for c, w in zip(columns, rows.data[span].tolist(), strict=True)}
    return found


def erase(shop, name):
    """What an erasure leaves: no profile, and a delta that names the customer."""
    shop.put([viewed(name, "i1", f"{name}-last", T0 + WEEK_S)])
    shop.drain()
    shard = shop.keys.shard(name)
    shop.client.delete(shop.keys.profile(shard, name), shop.keys.cold(shard, name))
    shop.client.srem(shop.keys.customers(shard), name)


def go_on(shop):
    """Purchases, a new customer, a new item, a cancellation, an erasure."""
    shop.put([bought(NAMES[1], 1, ["i0", "new item"], T0 + WEEK_S)])
    shop.put([bought("somebody new", 1, ["i0", "i1"], T0 + WEEK_S)])
    told = f"{NAMES[2]}-0"
    shop.put([order(NAMES[2], told, "cancel", T0 + WEEK_S, name="Order Cancelled")])
    shop.drain()
    erase(shop, NAMES[3])


def test_a_snapshot_and_deltas_are_what_all_profiles_are(shop, tmp_path):
    recommender, snapshots = recommender_of(shop), Snapshots(tmp_path)
    builder = index_of(shop, snapshots)
    builder.use(recommender)
    assert builder.publish(1) == 1
    go_on(shop)
    reader = index_of(shop, snapshots)
    assert reader.load(recommender) == 1
    assert reader.behind() > 0
    assert reader.follow() > 0
    assert reader.behind() <= 0
    again = index_of(shop)
    assert rows_of(reader.neighbors) == rows_of(again.use(recommender))
    assert NAMES[3] not in reader.neighbors
    names = sorted(again.neighbors.customers())
    assert reader.neighbors.similar(names, 5) == again.neighbors.similar(names, 5)
    assert reader.follow() == 0
    assert reader.load(recommender) == 0, "it has the newest"
    builder.follow()
    assert builder.publish(2) == 2
    assert builder.publish(3) == 3
    assert snapshots.numbers() == [3, 2], "an erased customer is in none of them any more"
    for number in snapshots.numbers():
        block = snapshots.read(number).arrays["id_block"].tobytes()
        assert NAMES[3].encode() not in block


@pytest.mark.parametrize("harm", ["trimmed", "another epoch"])
def test_a_position_that_is_gone_reads_the_shard_anew(shop, tmp_path, harm):
    recommender = recommender_of(shop)
    index = index_of(shop)
    index.use(recommender)
    go_on(shop)
    for shard in range(shop.keys.shards):
        if harm == "trimmed":
            shop.client.xtrim(shop.keys.deltas(shard), maxlen=1)
        else:
            shop.client.set(shop.keys.epoch(shard), "restored")
    index.follow()
    assert rows_of(index.neighbors) == rows_of(index_of(shop).use(recommender))


def test_a_snapshot_of_other_data_is_not_taken(shop, tmp_path):
    recommender, snapshots = recommender_of(shop), Snapshots(tmp_path)
    builder = index_of(shop, snapshots)
    builder.use(recommender)
    builder.publish(1)
    shop.client.set(shop.keys.epoch(0), "restored")
    assert index_of(shop, snapshots).load(recommender) == 0
    (tmp_path / "g000000000001" / "idf.npy").write_bytes(b"damaged")
    with pytest.raises(SnapshotError, match="snapshot 1"):
        snapshots.read(1)


def test_a_row_that_was_put_here_is_not_read_again(shop, monkeypatch):
    index = index_of(shop)
    index.use(recommender_of(shop))
    shop.put([bought(NAMES[0], 1, ["i7"], T0 + WEEK_S), bought(NAMES[1], 1, ["i7"], T0 + WEEK_S)])
    shop.drain()
    (own,) = population(shop).read(shop.keys.shard(NAMES[0]), [NAMES[0]])
    index.put(view(own.customer_id, own.hot, own.cold), own.seq)
    assert index.follow() == 1, "only the other one's"
    shop.put([bought(NAMES[0], 2, ["i6"], T0 + 2 * WEEK_S)])
    shop.drain()
    assert index.follow() == 1, "what came later is read"


def test_without_a_snapshot_many_customers_wait_and_go_on_with_the_last(shop, tmp_path):
    snapshots = Snapshots(tmp_path)
    first = recommender_of(shop)
    other = replace(first, half_life_days=30.0)
    index = index_of(shop, snapshots, private_most=0)
    live = Live(recommendations=first)
    assert index.settle(live, 0.0).recommendations is None
    builder = index_of(shop, snapshots)
    builder.use(first)
    builder.publish(1)
    assert index.settle(live, 4.0).recommendations is None
    assert index.settle(live, 5.0).recommendations is first
    assert index.settle(Live(recommendations=other), 6.0).recommendations is first
    builder.use(other)
    builder.publish(2)
    assert index.settle(Live(recommendations=other), 11.0).recommendations is other
    assert len(index.use(other)) == len(NAMES)


def test_a_snapshot_is_built_when_it_is_due_by_one_builder_at_a_time(shop, tmp_path):
    snapshots, clock = Snapshots(tmp_path), ManualClock(1_000.0)
    locks = Locks(shop.client, shop.keys)
    models = FixedModels(Live(recommendations=recommender_of(shop)))
    builder = SnapshotBuilder(
        lambda: index_of(shop, snapshots), snapshots, models, locks, clock, interval_s=60
    )
    assert builder.run() == 1
    assert builder.run() == 0, "it is new"
    go_on(shop)
    clock.advance(60)
    assert locks.take(f"snapshot:{snapshots.identity()}", "somebody", 60_000)
    assert builder.run() == 0, "somebody else builds"
    locks.release(f"snapshot:{snapshots.identity()}", "somebody")
    assert builder.run() == 2
    reader = index_of(shop, snapshots)
    reader.load(models.current().recommendations)
    assert reader.behind() <= 0
    whole = index_of(shop).use(models.current().recommendations)
    assert rows_of(reader.neighbors) == rows_of(whole)
    models.live = Live()
    assert builder.run() == 0, "there is no model"


class TestNudges:
    def test_keep_their_place_and_are_capped_and_only_for_customers(self, shop):
        nudges = Nudges(shop.client, shop.keys, most_waiting=2)
        assert nudges.put([NAMES[0], "nobody"], 5) == 1
        assert nudges.put([NAMES[0]], 3) == 1
        assert [one[1:] for one in nudges.waiting(9)] == [(NAMES[0], 6)], "a millisecond later"
        nudges.put(NAMES, 9)
        assert len(nudges.waiting(9)) == 2 * shop.keys.shards

    def test_a_later_one_outlives_the_answer_to_an_earlier(self, shop):
        nudges = Nudges(shop.client, shop.keys)
        nudges.put(NAMES[:2], 5)
        read = nudges.waiting(9)
        nudges.put([NAMES[0]], 6)
        nudges.take(read)
        assert nudges.waiting(9) == [Nudge(shop.keys.shard(NAMES[0]), NAMES[0], 6)]

    def test_an_event_refreshes_the_lists_that_it_enters_and_leaves(self, shop):
        clock = ManualClock(time.time() + 60)
        stage = refresher(shop.client, shop.keys, clock)
        stage._index._watched = 3
        stage._models = FixedModels(Live(generation=1, recommendations=recommender_of(shop)))
        stage.drain()
        shop.put([bought("ann", 0, ["rare", "i0"], T0), bought("bob", 0, ["i1"], T0)])
        shop.drain()
        stage.drain()
        clock.advance(1)
        stage.drain()
        assert "bob" not in similar_of(shop, "ann")
        shop.put([bought("bob", n, ["rare", "i0"], T0 + n) for n in (1, 2)])
        shop.drain()
        stage.drain()
        clock.advance(1)
        stage.drain()
        assert similar_of(shop, "ann")[0] == "bob"
        shop.put(
            [order("bob", f"bob-{n}", f"c{n}", T0 + 9, name="Order Cancelled") for n in (1, 2)]
        )
        shop.drain()
        stage.drain()
        clock.advance(1)
        stage.drain()
        assert "bob" not in similar_of(shop, "ann")
        assert Nudges(shop.client, shop.keys).waiting(9) == [], "nudged customers nudge nobody"

    def test_another_process_answers_a_nudge_with_the_row_that_caused_it(self, shop):
        """It would find nothing new before it read that row, and the nudge would be gone."""
        clock, one, other = self.two_processes(shop)
        shop.put([bought("ann", 0, ["rare", "i0"], T0), bought("bob", 0, ["i1"], T0)])
        shop.drain()
        other.drain()
        one.drain()
        clock.advance(1)
        one.drain()
        shop.put([bought("bob", n, ["rare", "i0"], T0 + n) for n in (1, 2)])
        shop.drain()
        one.round()
        assert one.round().customers == 0, "now it tells whom that concerns"
        assert "bob" not in similar_of(shop, "ann")
        other.drain()
        assert similar_of(shop, "ann")[0] == "bob"

    def test_two_who_become_alike_at_once_in_two_processes_are_told_of_each_other(self, shop):
        """Neither process has read the other's row a second later: the later one reads at once."""
        clock, one, other = self.two_processes(shop)
        for stage, who in ((one, "ann"), (other, "bob")):
            shop.put([bought(who, n, ["rare", "i0"], T0 + n) for n in (1, 2)])
            shop.drain()
            assert stage.round().customers == 1
        assert similar_of(shop, "bob")[0] == "ann"
        for stage in (one, other):
            stage.round()
        clock.advance(2)
        one.drain()
        assert similar_of(shop, "ann")[0] == "bob"

    def test_who_is_erased_is_in_no_list_no_index_and_not_in_the_next_snapshot(
        self, shop, tmp_path
    ):
        clock, one, other = self.two_processes(shop)
        shop.put([bought(who, n, ["rare", "i0"], T0 + n) for who in ("ann", "bob") for n in (0, 1)])
        shop.drain()
        for stage in (one, other, one):
            clock.advance(2)
            stage.drain()
        assert similar_of(shop, "ann")[0] == "bob"
        erase(shop, "bob")
        one.drain()
        clock.advance(2)
        one.round()
        other.drain()
        one.drain()
        assert "bob" not in similar_of(shop, "ann")
        for stage in (one, other):
            stage._index.follow()
            assert "bob" not in stage._index.neighbors
        snapshots = Snapshots(tmp_path)
        stored = index_of(shop, snapshots)
        stored.use(one._models.live.recommendations)
        _, arrays, _ = snapshots.read(stored.publish(1))
        assert b"ann" in arrays["id_block"].tobytes()
        assert b"bob" not in arrays["id_block"].tobytes()

    @staticmethod
    def two_processes(shop):
        """Two refresh stages of one installation under the same models, and their clock."""
        clock, live = ManualClock(time.time() + 60), Live(recommendations=recommender_of(shop))
        stages = [refresher(shop.client, shop.keys, clock, processes=2) for _ in range(2)]
        for n, stage in enumerate(stages):
            stage._index._watched = 3
            stage._models = FixedModels(live._replace(generation=1))
            shop.put([viewed(NAMES[n], "i1", f"warm-{n}", T0)])
            shop.drain()
            stage.drain()
        return clock, *stages


class FixedModels:
    """Models that stay."""

    def __init__(self, live):
        self.live = live

    def current(self):
        return self.live


def similar_of(shop, name):
    held = read_insight(shop.client.get(shop.keys.insight(shop.keys.shard(name), name)))
    return [one["customer_id"] for one in json.loads(held.json)["similar_customers"]]


def test_services_are_in_no_row_whichever_way_it_is_read(shop, tmp_path):
    shop.put([bought(NAMES[1], 7, ["POST", "fee-7", "i0"], T0 + WEEK_S)])
    shop.drain()
    recommender, snapshots = recommender_of(shop), Snapshots(tmp_path)
    services = {"service_items": ("POST", "fee-*")}
    index = index_of(shop, snapshots, **services)
    index.use(recommender)
    index.publish(1)
    shop.put([bought(NAMES[2], 7, ["POST", "fee-8", "i0"], T0 + WEEK_S)])
    shop.drain()
    index.follow()
    rows = rows_of(index.neighbors)
    assert not {"POST", "fee-7", "fee-8"} & {item for row in rows.values() for item in row}
    assert "i0" in rows[NAMES[2]]
    # another setting means other rows: the snapshot is not taken
    assert index_of(shop, snapshots, service_items=("POST",)).load(recommender) == 0
    assert index_of(shop, snapshots, **services).load(recommender) == 1


def test_very_many_customers_are_searched_in_two_stages(shop, tmp_path):
    recommender = recommender_of(shop)
    assert index_of(shop).use(recommender).two_stage is None
    snapshots = Snapshots(tmp_path)
    index = index_of(shop, snapshots, two_stage_from=len(NAMES))
    assert index.use(recommender).two_stage is not None
    recall = snapshots.meta(index.publish(1_000))["two_stage_recall"]
    assert 0.5 < recall <= 1.0
    told = snapshot_finding(snapshots, 1_000, needed=False, interval_s=900)
    assert f"recall of {recall:.3f}" in told.found

"""Ingest on a real server: rivals, poison, damage, quarantine."""

import subprocess
import sys
import threading

import msgpack
import pytest

from tests.builders import (
    DAY_S,
    T0,
    WEEK_S,
    Installation,
    order,
    refund,
    refusing,
    rules,
    track,
    viewed,
)
from worker import batch as batches
from worker.profile import codec, fold
from worker.route import route
from worker.store import scripts
from worker.store.door import Intake
from worker.store.envelope import pack, unpack
from worker.store.quarantine import INTAKE, Quarantine

NAMES = [f"c{n}" for n in range(9)]


def busy_days(events_each=12):
    """Events of several customers: views in changing weeks, orders, refunds, repeats."""
    found = []
    for n in range(events_each):
        for name in NAMES:
            at_s = T0 + (n * 5 % 7) * WEEK_S + n
            found.append(viewed(name, f"i{n % 3}", f"{name}-v{n}", at_s))
            if n % 4 == 0:
                found.append(refund(name, f"o{n}", f"{name}-r{n}", at_s + DAY_S, revenue="1"))
                found.append(order(name, f"o{n}", f"{name}-o{n}", at_s, revenue="9"))
            if n % 5 == 0:
                found.append(found[-1])
    return found


def break_profile(shop, customer, change):
    """Change a stored profile's value."""
    key = shop.keys.profile(shop.keys.shard(customer), customer)
    shop.client.set(key, change(shop.client.get(key)))


def test_the_server_reads_and_commits_other_shards_while_a_batch_is_folded(redis_client):
    shop = Installation(redis_client, shards=3).create()
    for shard in range(3):
        customer = next(name for name in NAMES if shop.keys.shard(name) == shard)
        shop.put([viewed(customer, "tea", f"e{shard}", T0)])
    names = {redis_client.script_load(scripts.source(name)): name for name in ("begin", "commit")}
    seen = []
    with redis_client.monitor() as monitor:
        assert shop.ingest().round().applied == 3
        redis_client.echo("done")
        while (one := monitor.next_command())["command"] != "ECHO done":
            word, *others = one["command"].split()
            if one["client_type"] != "lua" and word in {"EVALSHA", "MGET"}:
                seen.append(names[others[0]] if word == "EVALSHA" else word)
    assert seen == [
        "begin",
        *("begin", "MGET"),  # ahead: what the next batch holds
        *("begin", "MGET", "commit"),
        *("MGET", "commit"),
        "commit",
    ]


class TestRivals:
    def test_drainers_in_threads_on_the_same_shards_are_as_good_as_one(self, valkey, redis_client):
        """Leases of a millisecond: they work on the same batches, and the commits decide."""
        shop = Installation(redis_client, lease_ms=1).create()
        shop.put(busy_days())
        shop.drain()
        expected = shop.profiles(), shop.remembered(), shop.counters()
        redis_client.flushall()
        shop = Installation(redis_client, lease_ms=1).create()
        shop.put(busy_days())
        start, refused, failed = threading.Barrier(3), [], []

        def drain():
            with valkey.client() as client:
                mine = Installation(client, lease_ms=1).ingest(batch_size=7)
                start.wait()
                try:
                    while shop.lag():
                        refused.append(mine.round([0, 1]).refused_commits)
                except Exception as error:  # noqa: BLE001 - a thread's failure is the test's
                    failed.append(error)

        threads = [threading.Thread(target=drain) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failed
        got = shop.counters()
        assert (shop.profiles(), shop.remembered()) == expected[:2]
        assert {**got, "seq": 0} == {**expected[2], "seq": 0}

    def test_a_lease_keeps_a_rival_from_working_in_vain(self, redis_client):
        shop = Installation(redis_client, shards=1, lease_ms=60_000).create()
        shop.put([viewed("ann", "tea", "e1")])
        holder, rival = shop.store(), shop.store()
        (held,) = holder.begin([0], (10, 10, 1))
        assert rival.begin([0], (10, 10, 1)) == []
        holder.release(held)
        assert rival.begin([0], (10, 10, 1))[0].entries == held.entries

    def test_a_repeated_begin_of_the_same_drainer_is_the_same_begin(
        self, redis_client, monkeypatch
    ):
        """As redis-py repeats it when the reply was lost."""
        monkeypatch.setattr("secrets.token_hex", lambda _: "token")
        shop = Installation(redis_client, shards=1, lease_ms=60_000).create()
        shop.put([viewed("ann", "tea", "e1")])
        store = shop.store()
        tries = [store.begin([0], (10, 10, 1))[0].tries for _ in range(6)]
        assert tries == [1] * 6

    def test_a_dry_shard_is_given_back_at_once(self, redis_client):
        shop = Installation(redis_client, shards=1, lease_ms=60_000).create()
        assert shop.store().begin([0], (10, 10, 1)) == []
        assert not redis_client.exists(shop.keys.lease(0, "ingest"), shop.keys.tries(0))

    def test_a_round_takes_turns_among_busy_shards(self, redis_client):
        shop = Installation(redis_client, shards=6).create()
        shop.put(viewed(f"c{n}", "tea", f"e{n}") for n in range(60))
        ingest = shop.ingest(batch_size=1, shards_per_round=2)
        for _ in range(3):
            ingest.round()
        moved = [redis_client.hexists(shop.keys.meta(s), "cursor") for s in range(6)]
        assert all(moved)


class TestPoison:
    GOOD = 6

    def events(self):
        return [
            *(viewed("ann", "tea", f"a{n}", T0 + n) for n in range(self.GOOD)),
            track("ann", "Quiz Ended", "poison", T0),
            order("ann", "o1", "o1", T0, revenue="1"),
            *(viewed("bob", "tea", f"b{n}", T0 + n) for n in range(self.GOOD)),
        ]

    def expected(self, client):
        shop = Installation(client, shards=1).create()
        shop.put([raw for raw in self.events() if b"poison" not in raw])
        shop.drain()
        profiles = shop.profiles()
        client.flushall()
        return profiles

    @pytest.mark.parametrize("error", [ValueError("no"), MemoryError(), RecursionError()])
    def test_an_event_that_cannot_be_folded_is_held_and_its_neighbors_are_applied(
        self, redis_client, monkeypatch, error
    ):
        expected = self.expected(redis_client)
        monkeypatch.setattr(fold, "apply", refusing("poison", error))
        shop = Installation(redis_client, shards=1).create()
        shop.put(self.events())
        shop.drain()
        ((_, reason, _, raw),) = shop.quarantined()
        assert (reason, b"poison" in raw) == ("not_applicable", True)
        assert shop.profiles() == expected
        assert len(redis_client.xrange(shop.keys.deltas(0))) == 1, "all in one batch"

    def test_an_event_that_ends_its_process_is_held_after_a_few_ends(self, valkey, redis_client):
        """Its batch is cut to single entries: those before it are applied, it is met alone."""
        expected = self.expected(redis_client)
        shop = Installation(redis_client, shards=1).create()
        shop.put(self.events())
        ends = 0
        while shop.lag():
            ends += _drain_in_a_process(valkey.socket) == KILLED
            assert ends <= batches.POISON_TRIES
        assert ends == batches.POISON_TRIES - 1
        assert [reason for _, reason, _, _ in shop.quarantined()] == ["poison"]
        assert shop.profiles() == expected
        assert not redis_client.exists(shop.keys.tries(0)), "whole batches again"


KILLED = 86
_PROCESS = f"""
import os, sys
from redis import Redis
from tests.builders import Installation
from worker.profile import fold
real = fold.apply
def deadly(profile, fact):
    if fact.event_id == "poison":
        os._exit({KILLED})
    return real(profile, fact)
fold.apply = deadly
shop = Installation(Redis(unix_socket_path=sys.argv[1]), shards=1)
shop.drain(batch_size=100)
"""


def _drain_in_a_process(socket):
    done = subprocess.run([sys.executable, "-c", _PROCESS, socket], check=False, timeout=60)
    assert done.returncode in {0, KILLED}
    return done.returncode


class TestSingleMode:
    def test_it_ends_when_as_many_entries_passed_as_a_batch_may_have(self, redis_client):
        """Two processes ended for reasons of their own: a slow mode must not stay for ever."""
        shop = Installation(redis_client, shards=1).create()
        shop.put(viewed("ann", "tea", f"e{n}") for n in range(40))
        for _ in range(2):
            (batch,) = shop.store().begin([0], batches.attempts(10))
            assert len(batch.entries) == 10
            redis_client.delete(shop.keys.lease(0, "ingest"))
        ingest, sizes = shop.ingest(batch_size=10), []
        while shop.lag():
            sizes.append(ingest.round([0]).entries)
        assert sizes == [1] * 10 + [10, 10, 10]


class TestRefusedEntries:
    def test_each_reason_is_told_and_the_batch_goes_on(self, redis_client):
        shop = Installation(redis_client).create()
        ann = shop.keys.shard("ann")
        stranger = next(name for name in NAMES if shop.keys.shard(name) != ann)
        shop.put([viewed("ann", "tea", "good")])
        shop.put([viewed("ann", "tea", "of a later release")], kind="merge")
        shop.put([viewed(stranger, "tea", "stray"), b""], shard=ann)
        shop.put([viewed("ann", "cup", "good")])
        shop.drain()
        reasons = [reason for shard, reason, _, _ in shop.quarantined() if shard == ann]
        assert sorted(reasons) == ["conflict", "not_json", "unknown_kind", "wrong_shard"]
        assert set(shop.profiles()) == {"ann"}

    def test_a_quiet_entry_leaves_a_quiet_mark_and_a_loud_one_beside_it_a_loud_one(
        self, redis_client
    ):
        shop = Installation(redis_client, shards=1).create()
        shop.put([viewed("ann", "tea", "a1"), viewed("bob", "tea", "b1")], quiet="1")
        shop.put([viewed("bob", "tea", "b2")])
        shop.drain()
        assert redis_client.zrange(shop.keys.quiet(0), 0, -1) == [b"ann"]
        assert redis_client.zrange(shop.keys.dirty(0), 0, -1) == [b"bob"]


class TestDamage:
    @pytest.mark.parametrize(
        "change",
        [
            lambda value: value[:10],
            lambda value: value[:-3],
            lambda value: b"\0" + value[1:],
            lambda value: b"",
            lambda value: pack(unpack(value)._replace(hot=b"\x93\x01\x02\x03")),
        ],
        ids=["cut envelope", "cut profile", "other format", "empty", "other fields"],
    )
    def test_events_of_a_damaged_profile_are_held_and_others_are_applied(
        self, redis_client, change
    ):
        shop = Installation(redis_client, shards=1).create()
        both = [viewed(name, "tea", f"{name}1", T0) for name in ("ann", "bob")]
        shop.put([*both, viewed("ann", "tea", "ann2", T0 + WEEK_S)])
        shop.drain()
        break_profile(shop, "ann", change)
        key = shop.keys.profile(0, "ann")
        damaged = redis_client.get(key)
        shop.put([viewed("ann", "tea", "ann3", T0), viewed("bob", "tea", "bob3", T0)])
        shop.drain()
        assert redis_client.get(key) == damaged, "nothing is written over what may be mended"
        assert [reason for _, reason, _, _ in shop.quarantined()] == ["not_applicable"]
        assert shop.counters()["applied"] == 4

    def test_a_lost_cold_part_is_noticed_not_taken_for_an_empty_one(self, redis_client):
        shop = Installation(redis_client, shards=1).create()
        shop.put([viewed("ann", "tea", "a1", T0), viewed("ann", "tea", "a2", T0 + WEEK_S)])
        shop.drain()
        redis_client.delete(shop.keys.cold(0, "ann"))
        shop.put([order("ann", "o1", "a3", T0 + WEEK_S, revenue="1")])
        shop.drain()
        assert [reason for _, reason, _, _ in shop.quarantined()] == ["not_applicable"]


class TestNewerRelease:
    @pytest.mark.parametrize(
        "change",
        [
            lambda value: pack(unpack(value)._replace(hot=newer(unpack(value).hot))),
            lambda value: bytes([value[0] + 1]) + value[1:],
        ],
        ids=["profile", "envelope"],
    )
    def test_its_profiles_are_left_alone_however_often_and_other_shards_go_on(
        self, redis_client, change
    ):
        shop = Installation(redis_client).create()
        ann = shop.keys.shard("ann")
        other = next(name for name in NAMES if shop.keys.shard(name) != ann)
        shop.put([viewed("ann", "tea", "a1", T0)])
        shop.drain()
        key = shop.keys.profile(ann, "ann")
        current = redis_client.get(key)
        break_profile(shop, "ann", change)
        newer_value = redis_client.get(key)
        shop.put([viewed("ann", "tea", "a2", T0), viewed(other, "tea", "o1", T0)])
        ingest = shop.ingest(lease_ms=60_000)
        for _ in range(batches.POISON_TRIES + 2):
            ingest.round([0, 1])
        assert redis_client.get(key) == newer_value
        assert shop.quarantined() == [], "never poison: a newer worker can apply it"
        assert shop.lag() == 1
        redis_client.set(key, current)
        shop.drain()
        assert shop.counters()["applied"] == 3


def newer(hot):
    fields = msgpack.unpackb(hot, strict_map_key=False)
    return msgpack.packb([codec.VERSION + 1, *fields[1:]])


class TestQuarantine:
    @pytest.fixture
    def held(self, shop, monkeypatch):
        """Three events that were refused: one by each of intake, content and fold."""
        monkeypatch.setattr(fold, "apply", refusing("poison", ValueError("a bug")))
        shop.client.xadd(shop.keys.intake(), {"event": b"nobody's"})
        route(Intake(shop.client, shop.keys), shop.keys.shards)
        shop.put([viewed("ann", "tea", "poison"), track("bob", "", "nameless")])
        shop.drain()
        return Quarantine(shop.client, shop.keys)

    def test_it_lists_finds_and_counts(self, held):
        found = held.list()
        assert held.count() == len(found) == 3
        assert {one.reason for one in found} == {"not_json", "missing_field", "not_applicable"}
        assert [one.shard == INTAKE for one in found if one.reason == "not_json"] == [True]
        assert [held.find(one.name) for one in found] == found
        assert [one.reason for one in held.list(reason="not_json")] == ["not_json"]
        assert [held.find(name) for name in ("0:1-1", "9:1-1", "x", "intake:", "")] == [None] * 5

    def test_a_replayed_event_is_applied_once_the_cause_is_gone(self, shop, held, monkeypatch):
        monkeypatch.undo()
        assert held.replay(held.list(reason="not_applicable")) == 1
        route(Intake(shop.client, shop.keys), shop.keys.shards)
        shop.drain()
        assert set(shop.profiles()) == {"ann"}
        assert held.count() == 2

    def test_a_replayed_event_that_is_still_bad_comes_back(self, shop, held):
        assert held.replay(held.list()) == 3
        assert held.count() == 0
        route(Intake(shop.client, shop.keys), shop.keys.shards)
        shop.drain()
        assert {one.reason for one in held.list()} == {
            "not_json",
            "missing_field",
            "not_applicable",
        }

    def test_dropped_is_gone_and_only_that(self, held):
        assert held.drop(held.list(reason="missing_field")) == 1
        assert held.drop([]) == 0
        assert held.count() == 2


def test_a_memory_over_its_limit_forgets_and_says_so(redis_client):
    shop = Installation(redis_client, shards=1, rules_=rules(1, records=16)).create()
    shop.put(viewed("ann", "tea", f"e{n}") for n in range(40))
    shop.drain(batch_size=10)
    counted = shop.counters()
    assert counted["applied"] == 40
    assert counted["overflowed"] == 40 - len(shop.remembered()["ann"]) > 0

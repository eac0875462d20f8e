"""Where events enter: the door, the intake and its router, on a real server."""

import threading

import pytest

from integrations.facts import Reading
from tests.builders import T0, Installation, viewed
from worker.route import route
from worker.store.door import Arrival, BusyError, Door, Intake, Lag
from worker.store.quarantine import Quarantine

EVENTS = [viewed(f"c{n % 7}", "tea", f"e{n}", T0 + n) for n in range(50)]


@pytest.fixture
def intake(shop):
    return Intake(shop.client, shop.keys)


@pytest.fixture
def door(shop):
    return Door(shop.client, shop.keys)


def routed(shop):
    """What every shard got: (intake id, event, quiet) in stream order."""
    return [
        [
            (fields[b"intake"], fields[b"event"], fields.get(b"quiet"))
            for _, fields in shop.client.xrange(shop.keys.events(shard))
        ]
        for shard in range(shop.keys.shards)
    ]


class TestRouter:
    def test_each_event_reaches_its_customers_shard_once_and_in_order(self, shop, door, intake):
        assert door.emit(Arrival(raw, quiet=n % 5 == 0) for n, raw in enumerate(EVENTS)) == 50
        entered = shop.client.xrange(shop.keys.intake())
        assert route(intake, 2, limit=30) == 30
        assert route(intake, 2, limit=30) == 20
        assert [route(intake, 2) for _ in range(3)] == [0, 0, 0]
        for shard, got in enumerate(routed(shop)):
            assert got == [
                (entry_id, fields[b"event"], fields.get(b"quiet"))
                for entry_id, fields in entered
                if shop.shard_of(fields[b"event"]) == shard
            ]
        assert shop.client.xlen(shop.keys.intake()) == 1, "what is routed is dropped"

    def test_who_dies_between_the_shards_and_the_cursor_is_followed_without_a_double(
        self, shop, door, intake
    ):
        door.emit(map(Arrival, EVENTS))
        entries = intake.read(30)
        by_shard = {
            shard: [e for e in entries if shop.shard_of(e.event) == shard] for shard in (0, 1)
        }
        assert intake.route({0: by_shard[0]}) == len(by_shard[0])
        assert intake.route(by_shard) == len(by_shard[1]), "shard 0 has had them"
        while route(intake, 2, limit=7):
            pass
        assert [len(set(got)) for got in routed(shop)] == [len(got) for got in routed(shop)]
        assert sum(map(len, routed(shop))) == 50

    def test_routers_side_by_side_are_as_good_as_one(self, valkey, shop, door):
        door.emit(map(Arrival, EVENTS))
        start = threading.Barrier(3)

        def run():
            with valkey.client() as client:
                mine = Intake(client, shop.keys)
                start.wait()
                while route(mine, 2, limit=4):
                    pass

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        got = routed(shop)
        assert sorted(raw for shard in got for _, raw, _ in shard) == sorted(EVENTS)
        for shard in got:
            ids = [tuple(map(int, intake_id.split(b"-"))) for intake_id, _, _ in shard]
            assert ids == sorted(ids)

    def test_what_names_no_customer_is_held_once_however_often_it_is_read(self, shop, intake):
        bad = [b"no json", b"{}", viewed("ann", "tea", "fine")]
        for raw in bad:
            shop.client.xadd(shop.keys.intake(), {"event": raw})
        shop.client.xadd(shop.keys.intake(), {"without": "event"})
        entries = intake.read(10)
        refused = [(entry, "not_json", "", "test") for entry in entries[:2]]
        intake.advance(entries[1].id, refused)
        intake.advance(entries[1].id, refused)
        intake.advance(entries[0].id, refused[:1])
        assert route(intake, 2) == 2
        assert len(shop.quarantined()) == 3
        assert sum(map(len, routed(shop))) == 1


class TestDoor:
    def test_it_refuses_by_lag_before_anything_is_taken(self, shop, intake):
        door = Door(shop.client, shop.keys, lag_limit=10)
        shop.put(EVENTS[:11])
        with pytest.raises(BusyError, match="11 events wait"):
            door.emit(map(Arrival, EVENTS))
        assert not shop.client.exists(shop.keys.intake())
        shop.drain()
        assert door.emit(map(Arrival, EVENTS)) == 50

    def test_what_waits_in_the_intake_counts(self, shop, intake):
        door = Door(shop.client, shop.keys, lag_limit=10)
        assert door.emit(map(Arrival, EVENTS[:11])) == 11
        with pytest.raises(BusyError, match="11 events wait"):
            door.emit(map(Arrival, EVENTS[11:]))
        assert door.take(map(Arrival, EVENTS[11:13])) == 2, "whose message is gone is not refused"
        assert door.unrouted() == 13
        route(intake, 2)
        assert door.unrouted() == 0
        with pytest.raises(BusyError, match="13 events wait"):
            door.check()
        shop.drain()
        assert door.emit(map(Arrival, EVENTS[13:])) == 37

    def test_it_refuses_by_memory_before_the_server_does(self, shop):
        door = Door(shop.client, shop.keys, memory_ratio=0.7)
        used, limit = door.memory()
        assert limit == 0
        shop.client.config_set("maxmemory", int(used / 0.8))
        with pytest.raises(BusyError, match="of its memory"):
            door.emit(map(Arrival, EVENTS))
        assert not shop.client.exists(shop.keys.intake())
        shop.client.config_set("maxmemory", used * 3)
        assert door.emit(map(Arrival, EVENTS)) == 50

    def test_a_ring_is_one_however_many_rang(self, shop, door):
        for raw in EVENTS[:5]:
            door.emit([Arrival(raw)])
        assert shop.client.llen(shop.keys.bell("ingest")) == 1

    def test_a_chosen_shard_gets_the_entries_as_they_are(self, shop, door):
        ann = viewed("ann", "tea", "e1")
        assert door.put(shop.keys.shard("ann"), [Arrival(ann), Arrival(ann, quiet=True)]) == 2
        shop.drain()
        assert shop.counters()["applied"] == shop.counters()["duplicates"] == 1


class TestWhatIsHeld:
    def test_a_misnamed_field_is_kept_and_its_replay_is_the_event(self, shop, intake):
        ann = viewed("ann", "tea", "e1")
        shop.client.xadd(shop.keys.intake(), {"data": ann})
        shop.client.xadd(shop.keys.events(shop.keys.shard("ann")), {"payload": ann, "quiet": "1"})
        shop.client.xadd(shop.keys.events(0), {"a": b"\xff", "b": "2"})
        route(intake, 2)
        shop.drain()
        quarantine = Quarantine(shop.client, shop.keys)
        held = quarantine.list(reason="missing_event_field")
        assert sorted(one.event for one in held) == sorted(
            [ann, ann, b'{"a": "\\udcff", "b": "2"}']
        )
        quarantine.replay([one for one in held if one.event == ann])
        route(intake, 2)
        shop.drain()
        assert (shop.counters()["applied"], shop.counters()["duplicates"]) == (1, 1)

    def test_what_came_quietly_is_replayed_quietly(self, shop, intake):
        late = viewed("ann", "tea", "e1").replace(b"2024", b"2999")
        shop.client.xadd(shop.keys.events(shop.keys.shard("ann")), {"event": late, "quiet": "1"})
        shop.client.xadd(shop.keys.intake(), {"event": b"{", "quiet": "1"})
        shop.client.xadd(shop.keys.intake(), {"event": b"["})
        route(intake, 2)
        shop.drain()
        quarantine = Quarantine(shop.client, shop.keys)
        quarantine.replay(quarantine.list())
        again = {entry.event: entry.quiet for entry in intake.read(10)}
        assert again == {late: True, b"{": True, b"[": False}

    def test_the_intake_takes_no_entries_but_events(self, shop, intake):
        shop.client.xadd(shop.keys.intake(), {"kind": "erase", "event": EVENTS[0]})
        route(intake, 2)
        (held,) = Quarantine(shop.client, shop.keys).list()
        assert (held.reason, held.event) == ("unknown_kind", EVENTS[0])

    def test_how_large_and_deep_an_event_may_be_holds_on_the_way_too(self, shop, door, intake):
        door.emit(map(Arrival, EVENTS[:1]))
        route(intake, 2, reading=Reading(max_bytes=20))
        assert [one.reason for one in Quarantine(shop.client, shop.keys).list()] == ["too_large"]


class TestLag:
    def test_it_is_what_commits_have_not_covered(self, shop, door):
        ids = shop.put(EVENTS)
        now_ms = int(ids[-1].split("-")[0]) + 5_000
        assert sum(lag.entries for lag in door.lag()) == 50
        assert max(lag.age_ms for lag in door.lag(now_ms)) == 5_000 + 49_000
        shop.ingest(batch_size=10).round([0, 1])
        assert sum(lag.entries for lag in door.lag()) == 30
        shop.drain()
        assert door.lag(now_ms) == [Lag(0, 0, 0), Lag(1, 0, 0)]

    def test_trimming_and_deleting_by_hand_leave_no_lag_behind(self, shop, door):
        shop.put(EVENTS)
        shop.drain()
        for shard in (0, 1):
            shop.client.xtrim(shop.keys.events(shard), maxlen=0, approximate=False)
        assert sum(lag.entries for lag in door.lag()) == 0
        (last,) = shop.put(EVENTS[:1])
        assert sum(lag.entries for lag in door.lag()) == 1
        shop.client.xdel(shop.keys.events(shop.shard_of(EVENTS[0])), last)
        assert sum(lag.entries for lag in door.lag()) == 0


def test_the_whole_way_through_intake_and_router_equals_the_direct_one(redis_client):
    shop = Installation(redis_client, shards=4).create()
    shop.put(EVENTS)
    shop.drain()
    expected = shop.profiles()
    redis_client.flushall()
    shop = Installation(redis_client, shards=4).create()
    Door(redis_client, shop.keys).emit(map(Arrival, EVENTS))
    while route(Intake(redis_client, shop.keys), 4, limit=20):
        shop.drain()
    assert shop.profiles() == expected

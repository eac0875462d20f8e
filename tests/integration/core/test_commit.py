"""The commit of a batch on a real server: all or nothing, once, whoever tries and however often."""

import itertools

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from tests.builders import (
    DAY_S,
    T0,
    WEEK_S,
    Installation,
    dump,
    facts,
    failing,
    folded,
    order,
    refund,
    refusing,
    rules,
    track,
    viewed,
)
from worker import batch as batches
from worker.profile import codec, fold
from worker.store.commits import commit_arguments
from worker.store.scripts import source

CUSTOMERS = ["ann", "bob", "cem", "dia"]
WINDOW_S = 1_000
ONE_BATCH = (1000, 1000, 1)

#: Applied before the batch under test: closed weeks, and memories that are due for compaction.
BEFORE = [
    *(viewed(c, "tea", f"{c}{n}", T0 + n * WEEK_S) for c in CUSTOMERS for n in range(6)),
    *(viewed("ann", "cup", f"ann-more{n}", T0 + n) for n in range(20)),
    order("bob", "o1", "bob-o1", T0, revenue="10", items={"tea": 2}),
]
#: Rewrites cold parts, compacts memories, adds customers, is quarantined, repeats.
BATCH = [
    viewed("ann", "pot", "late", T0 + 2 * WEEK_S),
    viewed("ann", "pot", "newer", T0 + 8 * WEEK_S),
    viewed("ann", "tea", "ann-again", T0 + 2 * WEEK_S + 1),
    refund("bob", "o1", "bob-refund", T0 + 9 * WEEK_S, revenue="4"),
    order("bob", "o1", "bob-earlier", T0 - WEEK_S, revenue="9"),
    viewed("cem", "cup", "cem-late", T0 + WEEK_S),
    viewed("cem", "cup", "cem-late", T0 + WEEK_S),
    viewed("dia", "cup", "dia-new", T0 + 7 * WEEK_S),
    order("eve", "o9", "eve-o9", T0 + 3 * WEEK_S, revenue="7"),
    viewed("fay", "tea", "fay-1", T0),
    b"no json",
    track("ann", "", "nameless"),
]
#: What a repeated attempt may add to: a delta more is read once more, and harmless.
REPEATED = (":deltas",)


def prepared(client, **options):
    """The installation just before the batch: one shard, so that one commit has it all."""
    client.flushall()
    limits = rules(1, window_s=WINDOW_S)
    shop = Installation(client, shards=1, rules_=limits, **options).create()
    shop.put(BEFORE)
    shop.drain(batch_size=1000)
    shop.client.delete(shop.keys.deltas(0))
    shop.wait(2 * WINDOW_S)
    shop.put(BATCH)
    return shop


def arguments(shop, *, tries=1):
    """The keys and arguments that the commit of the waiting batch has."""
    store = shop.store(lease_ms=60_000)
    (batch,) = store.begin([0], ONE_BATCH)
    batch = batch._replace(tries=tries)
    read = batches.read(batch, shop.rules)
    stored = store.load(0, dict.fromkeys(read.by_customer, True))
    commit = batches.build(batch, read, stored, shop.rules)
    return commit_arguments(shop.keys, commit)


def run(client, text, keys, args):
    return client.eval(text, len(keys), *keys, *args)


def finished(client):
    """The state after an uninterrupted run."""
    shop = prepared(client)
    shop.drain(batch_size=1000)
    return shop, dump(client)


def test_the_batch_does_all_that_a_commit_can_do(redis_client):
    """Else the tests below prove less than they say."""
    shop = prepared(redis_client)
    keys, args = arguments(shop)
    writes = args[-2 * (len(keys) - 11) :]
    offsets = writes[::2]
    assert -1 in offsets, "whole profiles"
    assert -2 in offsets, "replaced cold parts and compacted memories"
    assert any(offset > 0 for offset in offsets), "appended memories"
    loud, quiet, new, bad = args[8:12]
    assert (loud, quiet, new, bad) == (6, 0, 2, 2)


class TestAnswers:
    def test_1_applied_then_2_already_there(self, redis_client):
        shop = prepared(redis_client)
        keys, args = arguments(shop)
        assert run(redis_client, source("commit"), keys, args) == 1
        after = dump(redis_client)
        assert [run(redis_client, source("commit"), keys, args) for _ in range(3)] == [2, 2, 2]
        assert dump(redis_client) == after

    def test_0_when_the_epoch_is_another_one(self, redis_client):
        shop = prepared(redis_client)
        keys, args = arguments(shop)
        redis_client.set(shop.keys.epoch(0), "restored")
        before = dump(redis_client)
        assert run(redis_client, source("commit"), keys, args) == 0
        redis_client.delete(shop.keys.epoch(0))
        assert run(redis_client, source("commit"), keys, args) == 0
        redis_client.set(shop.keys.epoch(0), "restored")
        assert dump(redis_client) == before

    def test_0_when_somebody_else_moved_the_cursor(self, redis_client):
        shop = prepared(redis_client)
        keys, args = arguments(shop)
        redis_client.delete(shop.keys.lease(0, "ingest"))
        shop.ingest(batch_size=3).round([0])
        before = dump(redis_client)
        assert run(redis_client, source("commit"), keys, args) == 0
        assert dump(redis_client) == before


def test_a_batch_of_many_customers_is_written_whole(redis_client):
    """Profiles are written some hundred at a time."""
    shop = Installation(redis_client, shards=1).create()
    bought = [order(f"c{n}", f"o{n}", f"f{n}", T0, revenue="1") for n in range(1000)]
    seen = [viewed(f"c{n}", "tea", f"e{n}", T0) for n in range(1000)]
    shop.put([*bought, *seen])
    assert [shop.ingest(batch_size=1000).round().applied for _ in range(3)] == [1000, 1000, 0]
    assert shop.profiles() == {
        f"c{n}": codec.canonical(folded(facts([bought[n], seen[n]]))) for n in range(1000)
    }
    assert redis_client.zcard("t:{s0}:dirty") == 1000


class TestRefusals:
    @pytest.mark.parametrize("broken", ["short", "long", "count", "loud", "keys"])
    def test_arguments_that_do_not_add_up_write_nothing(self, redis_client, broken):
        shop = prepared(redis_client)
        keys, args = arguments(shop)
        if broken == "short":
            args = args[:-1]
        elif broken == "long":
            args = [*args, "x"]
        elif broken == "count":
            args = [args[0] + 1, *args[1:], "x"]
        elif broken == "loud":
            args[8] += 1
        else:
            keys = keys[:-1]
        before = dump(redis_client)
        with pytest.raises(ResponseError, match="commit:"):
            run(redis_client, source("commit"), keys, args)
        assert dump(redis_client) == before

    def test_any_key_of_another_type_writes_nothing(self, redis_client):
        shop = prepared(redis_client)
        keys, args = arguments(shop)
        for key in dict.fromkeys(keys):
            held = redis_client.dump(key)
            redis_client.delete(key)
            redis_client.lpush(key, "of another type")
            before = dump(redis_client)
            with pytest.raises(ResponseError, match="WRONGTYPE commit:"):
                run(redis_client, source("commit"), keys, args)
            assert dump(redis_client) == before, key
            redis_client.delete(key)
            if held is not None:
                redis_client.restore(key, 0, held)
        assert run(redis_client, source("commit"), keys, args) == 1


class TestInjectedErrors:
    def test_the_same_call_after_an_error_behind_any_write_ends_in_the_same_state(
        self, redis_client
    ):
        """As redis-py repeats a call whose reply never came."""
        _, expected = finished(redis_client)
        answers = []
        for at in itertools.count(1):
            shop = prepared(redis_client)
            keys, args = arguments(shop)
            try:
                run(redis_client, failing(source("commit"), at), keys, args)
            except ResponseError as error:
                assert "injected" in str(error)  # noqa: PT017
            else:
                break
            answers.append(run(redis_client, source("commit"), keys, args))
            assert _without(dump(redis_client)) == _without(expected), at
        assert answers == [1] * (len(answers) - 1) + [2], "the cursor is the last write"
        assert len(answers) >= 15, "it fails behind each of its writes"

    @pytest.mark.parametrize("size", [1000, 3, 1])
    def test_a_batch_read_anew_after_an_error_loses_and_doubles_nothing(
        self, redis_client, fail_script, size
    ):
        """As the next drainer does: from what the failed script left, and in other batches."""
        reference, _ = finished(redis_client)
        profiles, ids = reference.profiles(), reference.remembered()
        held, marks = reference.quarantined(), redis_client.zrange("t:{s0}:dirty", 0, -1)
        for at in itertools.count(1):
            fail_script("commit", 0)
            shop = prepared(redis_client)
            fail_script("commit", at)
            try:
                shop.ingest(batch_size=1000).round([0])
            except ResponseError as error:
                assert "injected" in str(error)  # noqa: PT017
            else:
                break
            fail_script("commit", 0)
            shop.drain(batch_size=size)
            assert shop.profiles() == profiles, at
            assert shop.remembered().keys() == ids.keys()
            for customer, known in shop.remembered().items():
                assert set(known) >= set(ids[customer]), at
            assert shop.quarantined() == held, at
            assert sorted(redis_client.zrange(shop.keys.dirty(0), 0, -1)) == sorted(marks), at
            assert shop.changed(0) == set(profiles), at

    def test_a_delta_is_told_again_when_its_profiles_came_later(self, redis_client, fail_script):
        """A reader of deltas may have looked between the failed script and its repetition."""
        shop = self.failed_with(redis_client, fail_script, "deltas")
        ((seen, _),) = redis_client.xrange(shop.keys.deltas(0))
        shop.drain(batch_size=1000)
        ((_, row),) = redis_client.xrange(shop.keys.deltas(0), min=b"(" + seen)
        assert b"eve" in row[b"changed"]

    def test_what_is_refused_behind_a_failed_attempt_is_held_too(
        self, redis_client, fail_script, monkeypatch
    ):
        """Its id may be below the newest that the failed attempt put there."""
        shop = self.failed_with(redis_client, fail_script, "quarantine")
        monkeypatch.setattr(fold, "apply", refusing("late", ValueError("not today")))
        shop.drain(batch_size=1000)
        reasons = sorted(reason for _, reason, _, _ in shop.quarantined())
        assert reasons == ["missing_field", "not_applicable", "not_json"]

    @staticmethod
    def failed_with(client, fail_script, name):
        """The installation behind a commit that failed as soon as both quarantined, or a delta."""
        for at in itertools.count(1):
            fail_script("commit", 0)
            shop = prepared(client)
            fail_script("commit", at)
            with pytest.raises(ResponseError, match="injected"):
                shop.ingest(batch_size=1000).round([0])
            if client.xlen(f"t:{{s0}}:{name}") == (2 if name == "quarantine" else 1):
                break
        fail_script("commit", 0)
        return shop


def _without(state):
    return {name: value for name, value in state.items() if not name.endswith(REPEATED)}


class TestZombies:
    def test_who_reads_before_and_commits_behind_another_changes_nothing(self, redis_client):
        shop = prepared(redis_client)
        zombie = shop.store()
        (batch,) = zombie.begin([0], ONE_BATCH)
        read = batches.read(batch, shop.rules)
        stored = zombie.load(0, dict.fromkeys(read.by_customer, True))
        commit = batches.build(batch, read, stored, shop.rules)
        shop.drain(batch_size=4)
        shop.put([viewed("ann", "tea", "one more", T0)])
        before = dump(redis_client, without=[":lease:ingest"])
        assert zombie.commit([commit]) == [2]  # the cursor is where it wanted it
        assert dump(redis_client, without=[":lease:ingest"]) == before
        shop.drain()
        before = dump(redis_client, without=[":lease:ingest"])
        assert zombie.commit([commit]) == [0]
        assert dump(redis_client, without=[":lease:ingest"]) == before

    def test_an_emptied_server_begins_anew_and_refuses_who_read_before(self, redis_client):
        shop = prepared(redis_client)
        ingest, zombie = shop.ingest(), shop.store()
        (batch,) = zombie.begin([0], ONE_BATCH)
        read = batches.read(batch, shop.rules)
        stored = zombie.load(0, dict.fromkeys(read.by_customer, True))
        redis_client.flushall()
        shop.put([viewed("ann", "tea", "first of the new", T0)])
        assert zombie.commit([batches.build(batch, read, stored, shop.rules)]) == [0]
        assert ingest.drain() == 1  # the drainer that worked before goes on, without a restart
        assert set(shop.profiles()) == {"ann"}


class TestRepetition:
    def test_the_same_events_twice_change_nothing_but_the_counters(self, redis_client):
        shop = Installation(redis_client).create()
        events = [*BEFORE, *BATCH]
        shop.put(events)
        shop.drain()
        profiles, ids, counted = shop.profiles(), shop.remembered(), shop.counters()
        names = [shop.keys.dirty(s) for s in range(2)] + [shop.keys.deltas(s) for s in range(2)]
        marks = [redis_client.dump(name) for name in names]
        shop.put(events)
        shop.drain()
        assert (shop.profiles(), shop.remembered()) == (profiles, ids)
        assert [redis_client.dump(name) for name in names] == marks, "nobody is refreshed again"
        again = shop.counters()
        assert again["applied"] == counted["applied"]
        assert again["duplicates"] == counted["duplicates"] + counted["applied"] + 1

    def test_an_event_past_the_window_counts_again(self, redis_client):
        shop = Installation(redis_client, rules_=rules(2, window_s=DAY_S)).create()
        shop.put([viewed("ann", "tea", "e1", T0)])
        shop.drain()
        shop.wait(DAY_S)
        shop.put([viewed("ann", "tea", "e1", T0)])
        shop.drain()
        assert shop.counters()["applied"] == 2

    def test_an_order_past_the_window_is_still_one_order(self, redis_client):
        """What it states is in the ledger already."""
        shop = Installation(redis_client, rules_=rules(2, window_s=DAY_S)).create()
        shop.put([order("ann", "o1", "e1", T0, revenue="5")])
        shop.drain()
        before = shop.profiles()
        shop.wait(DAY_S)
        shop.put([order("ann", "o1", "e1", T0, revenue="5")])
        shop.drain()
        assert shop.profiles() == before


class TestTrimming:
    def test_a_commit_trims_what_is_older_than_the_retention_and_nothing_unapplied(
        self, redis_client
    ):
        shop = Installation(redis_client, shards=1, rules_=rules(1, retention_s=500)).create()
        shop.put(viewed("ann", "tea", f"e{n}", T0) for n in range(400))
        shop.wait(600)
        ids = shop.put(viewed("ann", "tea", f"f{n}", T0) for n in range(400))
        shop.ingest(batch_size=450).round([0])
        left = [entry_id.decode() for entry_id, _ in redis_client.xrange(shop.keys.events(0))]
        assert left[-400:] == ids, "what is not applied stays"
        assert len(left) < 520, "whole nodes of what is old are gone"
        assert shop.lag() == 350, "the lag counts entries, trimmed or not"
        shop.drain()
        assert (shop.counters()["applied"], shop.lag()) == (800, 0)

    def test_it_also_happens_every_64th_commit(self, redis_client):
        shop = Installation(redis_client, shards=1, rules_=rules(1, retention_s=150)).create()
        shop.put(viewed("ann", "tea", f"e{n}", T0) for n in range(640))
        shop.drain(batch_size=10)
        assert redis_client.xlen(shop.keys.events(0)) < 300

    def test_where_memory_is_tight_no_applied_entry_is_kept(self, redis_client):
        shop = Installation(redis_client, shards=1).create()
        shop.put(viewed("ann", "tea", f"e{n}", T0) for n in range(640))
        redis_client.config_set("maxmemory", int(redis_client.info("memory")["used_memory"] / 0.7))
        shop.drain(batch_size=250)
        redis_client.config_set("maxmemory", 0)
        assert redis_client.xlen(shop.keys.events(0)) < 300, "but for a node that is not yet full"
        assert shop.counters()["applied"] == 640


def test_a_commit_passes_where_the_server_takes_no_more_data(redis_client):
    shop = prepared(redis_client)
    redis_client.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        redis_client.set("x", "y")
    shop.drain()
    redis_client.config_set("maxmemory", 0)
    assert set(shop.profiles()) == {*CUSTOMERS, "eve", "fay"}


def test_scripts_that_a_server_forgot_are_loaded_again(redis_client):
    shop = prepared(redis_client)
    for _ in BATCH:
        redis_client.script_flush()
        shop.ingest(batch_size=1).round([0])
    assert shop.lag() == 0


def test_a_server_error_in_one_shard_is_raised_and_the_others_are_done(redis_client):
    shop = Installation(redis_client, lease_ms=1).create()
    shop.put([viewed("ann", "tea", "a"), viewed("dia", "tea", "d")])
    assert {shop.keys.shard("ann"), shop.keys.shard("dia")} == {0, 1}
    redis_client.lpush(shop.keys.quarantine(shop.keys.shard("ann")), "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        shop.ingest().round([0, 1])
    assert shop.lag() == 1
    redis_client.delete(shop.keys.quarantine(shop.keys.shard("ann")))
    shop.drain()
    assert set(shop.profiles()) == {"ann", "dia"}


def test_scripts_of_the_core_declare_what_they_may_do():
    for name in ("begin", "commit", "release", "route", "advance", "insights", "claim", "settle"):
        assert source(name).startswith("#!lua flags=allow-oom\n"), name

"""A profile is a function of the set of its events: order, doubles and batches cannot change it."""

import itertools
import json

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.facts import customer_of
from tests.builders import (
    DAY_S,
    ENTERED_S,
    T0,
    WEEK_S,
    DictShard,
    entries,
    event,
    facts,
    folded,
    identify,
    lines,
    order,
    refund,
    rules,
    track,
    viewed,
)
from worker.profile import codec, derive, memory, merge
from worker.profile.block import Block
from worker.store.envelope import pack, unpack
from worker.store.keys import shard_of

CUSTOMERS = ["ann", "bob"]
ITEMS = ["tea", "cup", "pot"]
ORDERS = ["o1", "o2", "o3"]
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

#: Few instants, so that they meet: in one week, in neighboring weeks, far apart, equal.
INSTANTS = st.builds(
    lambda week, second: T0 + week * WEEK_S + second,
    st.sampled_from([0, 1, 2, 3, 9, 10]),
    st.sampled_from([0, 1, 3 * DAY_S, WEEK_S - 1]),
)
QUANTITIES = st.dictionaries(st.sampled_from(ITEMS), st.integers(1, 3), max_size=2)
MONEY = st.sampled_from([None, "0", "2.50", "10.00"])


@st.composite
def signals(draw, customer, event_id, at_s):
    name = draw(
        st.sampled_from(
            ["Product Viewed", "Product Added", "Email Opened", "Quiz Ended", "Unsubscribed"]
        )
    )
    item = draw(st.sampled_from([*ITEMS, None]))
    return track(customer, name, event_id, at_s, product_id=item)


@st.composite
def lists(draw, customer, event_id, at_s):
    found = draw(st.lists(st.sampled_from(ITEMS), max_size=3))
    return track(
        customer, "Product List Viewed", event_id, at_s, products=lines(dict.fromkeys(found, 1))
    )


@st.composite
def orders(draw, customer, event_id, at_s):
    name = draw(st.sampled_from(["Order Completed", "Order Completed", "Order Updated"]))
    order_id = draw(st.sampled_from(ORDERS if name == "Order Updated" else [*ORDERS, ""]))
    more = {"items": draw(QUANTITIES), "revenue": draw(MONEY)}
    return order(customer, order_id, event_id, at_s, name=name, **more)


@st.composite
def refunds(draw, customer, event_id, at_s):
    order_id = draw(st.sampled_from([*ORDERS, ""]))
    items, revenue = draw(QUANTITIES), draw(MONEY)
    if not order_id and not items:
        items = {"tea": 1}
    return refund(customer, order_id, event_id, at_s, items=items, revenue=revenue)


@st.composite
def cancellations(draw, customer, event_id, at_s):
    order_id = draw(st.sampled_from(ORDERS))
    return order(customer, order_id, event_id, at_s, name="Order Cancelled")


@st.composite
def registers(draw, customer, event_id, at_s):
    if draw(st.booleans()):
        return identify(customer, event_id, at_s, country=draw(st.sampled_from(["DE", "FR", None])))
    kind, field = draw(st.sampled_from([("alias", "previousId"), ("group", "groupId")]))
    return event(kind, customer, event_id, at_s, **{field: draw(st.sampled_from(["x", "y"]))})


KINDS = [signals, lists, orders, refunds, cancellations, registers]


@st.composite
def stories(draw, customers=CUSTOMERS, max_size=14):
    """Events with distinct ids, of any kind, in any order of their times."""
    size = draw(st.integers(1, max_size))
    return [
        draw(
            draw(st.sampled_from(KINDS))(
                draw(st.sampled_from(customers)), f"e{number}", draw(INSTANTS)
            )
        )
        for number in range(size)
    ]


def batched(data, found):
    """The same entries, cut into batches anywhere."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(found)))))
    bounds = [0, *cuts, len(found)]
    return [found[a:b] for a, b in itertools.pairwise(bounds) if a < b]


class TestFunctionOfTheSet:
    @QUICK
    @given(stories(), st.data())
    def test_any_permutation_duplication_and_batching_gives_the_same_bytes(self, story, data):
        once = DictShard(rules()).run([entries(story)])
        again = data.draw(st.lists(st.sampled_from(story), max_size=len(story)))
        shuffled = data.draw(st.permutations([*story, *again]))
        other = DictShard(rules()).run(batched(data, entries(shuffled)))
        assert once.refused == other.refused == []
        assert other.canonical() == once.canonical()
        assert other.position.applied == len(story)
        assert other.position.duplicates == len(again)
        assert other.position.covered == len(shuffled)

    @QUICK
    @given(stories(), st.data())
    def test_the_store_holds_what_a_fold_without_a_store_gives(self, story, data):
        """So every cold write, applied at its offset to what is stored, gave the same bytes."""
        shuffled = data.draw(st.permutations(story))
        shard = DictShard(rules()).run(batched(data, entries(shuffled)))
        for customer in shard.customers:
            told = [fact for fact in facts(story) if fact.customer_id == customer]
            assert shard.canonical()[customer] == codec.canonical(folded(told))

    @QUICK
    @given(st.lists(st.tuples(INSTANTS, st.sampled_from(ITEMS)), min_size=3, max_size=8), st.data())
    def test_signals_of_closed_weeks_find_the_cold_part_they_need(self, seen, data):
        """The open week moves within a batch: what is late is known only on the way."""
        story = [
            track("ann", "Product Viewed", f"e{n}", at_s, product_id=item)
            for n, (at_s, item) in enumerate(seen)
        ]
        shard = DictShard(rules()).run(batched(data, entries(story)))
        assert shard.refused == []
        assert shard.canonical()["ann"] == codec.canonical(folded(facts(story)))

    @QUICK
    @given(stories(customers=["ann"]), st.data())
    def test_memories_hold_the_same_ids_whatever_the_order(self, story, data):
        shuffled = data.draw(st.permutations(story))
        shard = DictShard(rules()).run(batched(data, entries(shuffled)))
        held = {(one.id_hash, one.digest) for one in memory.records(shard.memory("ann"))}
        assert held == {(fact.id_hash, fact.digest) for fact in facts(story)}

    @QUICK
    @given(stories(customers=["ann"], max_size=10), st.data())
    def test_derived_orders_and_signals_do_not_depend_on_the_order_either(self, story, data):
        told = facts(story)
        first = folded(told)
        second = folded(data.draw(st.permutations(told)))
        cut_s = data.draw(INSTANTS)
        for before_s in (None, cut_s):
            assert derive.orders(first, before_s) == derive.orders(second, before_s)
        assert sorted(derive.signals(first)) == sorted(derive.signals(second))
        before = [fact for fact in told if fact.at_s < cut_s]
        assert derive.orders(first, cut_s) == derive.orders(folded(before))


class TestMigration:
    """An entry of the kind `migrate` writes a profile anew in the current format; that is all."""

    @QUICK
    @given(stories(), st.data())
    def test_older_formats_are_read_and_brought_along(self, story, data):
        current = DictShard(rules()).run([entries(story)])
        cut = data.draw(st.integers(0, len(story)))
        mixed = DictShard(rules()).run(batched(data, entries(story[:cut])))
        for customer in mixed.customers:
            mixed.values["profile", customer] = in_format_1(mixed.values["profile", customer])
        rest = [*entries(story[cut:], after=cut), *migrations(CUSTOMERS, after=len(story))]
        mixed.run(batched(data, data.draw(st.permutations(rest))))
        mixed.run([migrations(CUSTOMERS, after=2 * len(story))])
        assert mixed.canonical() == current.canonical()
        versions = [codec.version_of(mixed.envelope(who).hot) for who in mixed.customers]
        assert set(versions) == {codec.VERSION}
        assert mixed.refused == []
        assert mixed.position.applied == len(story)

    def test_it_writes_the_canonical_bytes_once_and_marks_nobody(self):
        shard = DictShard(rules()).run([entries([order("ann", "o1", "e1", T0, revenue="9")])])
        before = dict(shard.values)
        commit = shard.apply(migrations(["ann", "nobody"], after=1))
        assert (commit.writes, commit.refused, shard.values) == ([], [], before)
        assert (commit.loud, commit.quiet, commit.new, commit.delta) == ([], [], [], b"")
        assert commit.position == shard.position
        assert (commit.position.covered, commit.position.applied) == (3, 1)
        shard.values["profile", "ann"] = in_format_1(before["profile", "ann"])
        commit = shard.apply(migrations(["ann"], after=3))
        assert [write.part for write in commit.writes] == ["profile"]
        assert (commit.loud, commit.quiet, commit.delta) == ([], [], b"")
        assert shard.apply(migrations(["ann"], after=4)).writes == []
        assert shard.values == before

    def test_what_a_release_of_format_1_wrote_is_the_same_profile(self):
        week = T0 + WEEK_S
        story = [
            viewed("ann", "tea", "e1", T0),
            viewed("ann", "tea", "e2", week),
            track("ann", "Email Opened", "e3", week),
            identify("ann", "e4", week, country="DE"),
            order("ann", "o1", "e5", week, revenue="9.50", items={"tea": 2, "cup": 1}),
        ]
        old = codec.decode(FORMAT_1_HOT, FORMAT_1_COLD)
        assert codec.canonical(old) == codec.canonical(folded(facts(story)))

    def test_who_lives_elsewhere_or_cannot_be_read_is_refused(self):
        shard = DictShard(rules(2), shard=shard_of("ann", 2))
        shard.run([entries([viewed("ann", "tea", "e1")])])
        shard.values["profile", "ann"] = shard.values["profile", "ann"][:-3]
        other = next(name for name in "abcdef" if shard_of(name, 2) != shard.shard)
        shard.apply(migrations(["ann", other], after=1))
        assert shard.refused == [("not_applicable", b"ann"), ("wrong_shard", other.encode())]


def migrations(customers, *, after):
    """Entries that have customers migrated."""
    found = entries([name.encode() for name in customers], after=after)
    return [entry._replace(kind="migrate") for entry in found]


def in_format_1(value):
    """A stored profile as a release of format 1 wrote it: orders and signals as maps."""
    envelope = unpack(value)
    _, *fields, orders, signals = msgpack.unpackb(envelope.hot, strict_map_key=False)
    block = Block(orders, signals)
    return pack(envelope._replace(hot=msgpack.packb([1, *fields, block.orders, block.signals])))


#: Written by the last release of format 1.
FORMAT_1_HOT = (
    b"\x99\x01\xcee\x92\x00\x80\xcee\x9b;\x00\x10\x81\xadtrait:country\x93\xcee\x9b;\x00\xc4"
    b"\x08\xc8=jZ\xce\xc1)\xd1\xa2DE\x83\xa1E\xcee\x9b;\x00\xa1O\xcee\x9b;\x00\xa1v\xcee\x9b;"
    b"\x00\xcd\x0b\x03\x81\xa2o1\xc4+\x93\x91\x96\xcee\x9b;\x00\xc4\x08I\xb7&\xbffE\x00\x88"
    b"\x01\xa3EUR\xcd\x03\xb6\x94\xa3cup\xcd\x03\xe8\xa3tea\xcd\x07\xd0\x90\x90\x82\xa1E\x01"
    b"\xa5v\x1ftea\x01"
)
FORMAT_1_COLD = b"\x0b\x02\x00\x00\x00\n\x92\x80\x81\xa5v\x1ftea\x01"


class TestRefused:
    """What is refused depends on the stream's order alone, never on how it was cut into batches."""

    @QUICK
    @given(stories(), st.data())
    def test_batches_decide_nothing(self, story, data):
        shards = 2
        wrong = viewed(next(n for n in "abcdef" if shard_of(n, shards) != 0), "tea", "stray")
        told = [raw for raw in story if shard_of(customer_of(raw), shards) == 0]
        other = [raw.replace(b"2024-0", b"2023-0") for raw in told]
        bad = [b"no json", b"{}", wrong, b"x" * 300_000]
        mixed = data.draw(st.permutations([*told, *other, *bad]))
        strange = data.draw(st.sets(st.integers(0, len(mixed) - 1)))
        found = [
            entry._replace(kind="erase") if n in strange else entry
            for n, entry in enumerate(entries(mixed))
        ]
        once = DictShard(rules(shards)).run([found])
        cut = DictShard(rules(shards)).run(batched(data, found))
        assert cut.canonical() == once.canonical()
        assert cut.refused == once.refused
        assert cut.position._replace(seq=0) == once.position._replace(seq=0)
        expected = {
            "unknown_kind": len(strange),
            "wrong_shard": sum(n not in strange for n, raw in enumerate(mixed) if raw == wrong),
        }
        reasons = [reason for reason, _ in once.refused]
        assert {reason: reasons.count(reason) for reason in expected} == expected
        assert once.position.applied + once.position.quarantined == len(mixed)

    def test_the_first_of_two_contents_under_one_id_holds_and_the_other_is_kept(self):
        first, second = viewed("ann", "tea", "one"), viewed("ann", "cup", "one")
        for story in ([first, second, first], [second, first, second]):
            shard = DictShard(rules()).run([[one] for one in entries(story)])
            assert shard.canonical() == {"ann": codec.canonical(folded(facts(story[:1])))}
            assert shard.refused == [("conflict", story[1])]
            assert shard.position.duplicates == 1

    def test_ids_of_different_sources_are_different_ids(self):
        def cloud(source):
            event = {"specversion": "1.0", "type": "t", "source": source, "id": "1"}
            call = json.loads(viewed("ann", "tea", ""))
            return json.dumps({**event, "subject": "ann", "data": call}).encode()

        shard = DictShard(rules()).run([entries([cloud("/a"), cloud("/b"), cloud("/a")])])
        assert shard.refused == []
        assert (shard.position.applied, shard.position.duplicates) == (2, 1)


class TestCodec:
    @QUICK
    @given(stories(customers=["ann"]))
    def test_a_profile_read_back_is_the_profile(self, story):
        profile = folded(facts(story))
        encoded = codec.encode(profile)
        cold = (
            (profile.cold or b"")[: encoded.cold.offset] + encoded.cold.data
            if encoded.cold
            else b""
        )
        back = codec.decode(encoded.hot, cold)
        assert codec.canonical(back) == codec.canonical(profile) == encoded.hot + cold
        codec.thaw(back)
        assert codec.canonical(back) == codec.canonical(profile)

    @QUICK
    @given(stories(customers=["ann"]))
    def test_what_lies_behind_the_cold_part_does_not_count(self, story):
        shard = DictShard(rules()).run([[one] for one in entries(story)])
        hot, cold = shard.envelope("ann").hot, shard.values.get(("cold", "ann"), b"")
        longer = codec.decode(hot, cold + b"left by a commit that failed")
        assert codec.canonical(longer) == shard.canonical()["ann"]

    @QUICK
    @given(stories(customers=["ann"], max_size=6), st.data())
    def test_damaged_bytes_are_refused_or_read_and_nothing_else(self, story, data):
        """A flipped byte may still be a profile; it must never be another kind of failure."""
        shard = DictShard(rules()).run([entries(story)])
        hot, cold = shard.envelope("ann").hot, shard.values.get(("cold", "ann"), b"")
        at = data.draw(st.integers(0, len(hot) - 1))
        flipped = hot[:at] + bytes([hot[at] ^ data.draw(st.integers(1, 255))]) + hot[at + 1 :]
        for damaged in (flipped, hot[:at], hot + b"\0"):
            try:
                profile = codec.decode(damaged, cold)
                held = (profile.registers, profile.block.orders, profile.block.signals)
            except codec.CodecError:
                continue
            assert list(map(type, held)) == [dict, dict, dict]

    @QUICK
    @given(stories(customers=["ann"]), st.data())
    def test_a_cold_part_cut_short_is_refused(self, story, data):
        shard = DictShard(rules()).run([entries(story)])
        cold = shard.values.get(("cold", "ann"), b"")
        length = shard.profile("ann").cold_len
        if length:
            cut = data.draw(st.integers(0, length - 1))
            with pytest.raises(codec.CodecError):
                codec.decode(shard.envelope("ann").hot, cold[:cut])


class TestMerge:
    @QUICK
    @given(stories(customers=["ann"]), st.data())
    def test_merging_gives_the_profile_of_both_sets(self, story, data):
        """Also where both sides hold the same events: their memories tell."""
        shared = data.draw(st.sets(st.sampled_from(story)))
        left = [raw for raw in story if raw in shared or data.draw(st.booleans())]
        right = [raw for raw in story if raw in shared or raw not in left]
        sides = [DictShard(rules()).run([entries(side)]) for side in (left, right) if side]
        parts = [(shard.profile("ann"), shard.memory("ann")) for shard in sides]
        parts += [(codec.Profile(), b"")] * (2 - len(parts))
        turned = data.draw(st.permutations(parts))
        joined, ids = merge.merge(*turned[0], *turned[1])
        assert codec.canonical(joined) == codec.canonical(folded(facts(story)))
        held = [(one.id_hash, one.cell) for one in memory.records(ids)]
        assert len(held) == len(set(held))
        assert {id_hash for id_hash, _ in held} == {fact.id_hash for fact in facts(story)}

    @QUICK
    @given(stories(customers=["ann"], max_size=9), st.data())
    def test_three_parts_merge_to_the_same_in_any_grouping(self, story, data):
        part_of = [data.draw(st.sets(st.integers(0, 2), min_size=1)) for _ in story]

        def part(number):
            mine = [raw for raw, parts in zip(story, part_of, strict=True) if number in parts]
            if not mine:
                return codec.Profile(), b""
            shard = DictShard(rules()).run([entries(mine)])
            return shard.profile("ann"), shard.memory("ann")

        left = merge.merge(*merge.merge(*part(0), *part(1)), *part(2))
        right = merge.merge(*part(0), *merge.merge(*part(1), *part(2)))
        assert codec.canonical(left[0]) == codec.canonical(right[0])
        assert set(memory.records(left[1])) == set(memory.records(right[1]))

    @QUICK
    @given(stories(customers=["ann"]), st.data())
    def test_a_merged_profile_goes_on_like_any_other(self, story, data):
        """It knows the events of both sides, and its cold write fits the left one."""
        cut = data.draw(st.integers(1, len(story)))
        left = DictShard(rules()).run([entries(story[:cut])])
        right = DictShard(rules())
        if story[cut:]:
            right.run([entries(story[cut:])])
        side = (
            (right.profile("ann"), right.memory("ann")) if story[cut:] else (codec.Profile(), b"")
        )
        joined, ids = merge.merge(left.profile("ann"), left.memory("ann"), *side)
        encoded = codec.encode(joined)
        cold = left.values.get(("cold", "ann"), b"")
        if encoded.cold:
            cold = cold[: encoded.cold.offset] + encoded.cold.data
        envelope = left.envelope("ann")._replace(
            hot=encoded.hot, memory_len=len(ids), open_week=joined.open_week
        )
        from worker.store.envelope import pack

        left.values = {
            ("profile", "ann"): pack(envelope),
            ("memory", "ann"): ids,
            ("cold", "ann"): cold,
        }
        left.apply(entries(story, after=1_000))
        assert left.canonical()["ann"] == codec.canonical(folded(facts(story)))
        assert left.commits[-1].position.duplicates == len(story)


class TestMemory:
    WINDOW = memory.Limits(window_s=100, records=16)

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 400)), max_size=60))
    def test_compaction_forgets_nothing_that_counts_below_the_limit(self, seen):
        limits = self.WINDOW._replace(records=1000)
        held, lost, now_s = b"", 0, 1000
        for number, step in seen:
            now_s += step % 7
            held += memory.remember(bytes([number]) * 8, number, now_s, [])
            held, dropped = memory.compact(held, now_s, limits)
            lost += dropped
        assert lost == 0
        for number in range(10):
            newest = max(
                (one.entry_s for one in memory.records(held) if one.digest == number), default=None
            )
            known = memory.look_up(held, bytes([number]) * 8, number, now_s, limits)
            live = newest is not None and newest > now_s - limits.window_s
            assert (known is memory.Seen.DUPLICATE) == live
            other = memory.look_up(held, bytes([number]) * 8, number + 1, now_s, limits)
            assert (other is memory.Seen.CONFLICT) == live

    @given(st.integers(1, 80))
    def test_the_limit_cuts_the_oldest_and_counts_them(self, count):
        held, lost = b"", 0
        for number in range(count):
            held += memory.remember(number.to_bytes(8, "big"), number, 1000, [])
            held, dropped = memory.compact(held, 1000, self.WINDOW)
            lost += dropped
        left = [one.digest for one in memory.records(held)]
        assert len(left) <= self.WINDOW.records
        assert left == list(range(count))[count - len(left) :]
        assert lost == count - len(left)

    def test_past_the_window_an_id_is_new_again(self):
        held = memory.remember(b"12345678", 7, 1000, [])
        known = [memory.look_up(held, b"12345678", 7, at, self.WINDOW) for at in (1099, 1100)]
        assert known == [memory.Seen.DUPLICATE, memory.Seen.NEW]

    def test_an_id_that_straddles_two_records_is_no_match(self):
        held = memory.remember(b"aaaaaaaa", 1, 1000, []) + memory.remember(b"bbbbbbbb", 2, 1000, [])
        straddling = held[16:24]
        assert memory.look_up(held, straddling, 1, 1000, self.WINDOW) is memory.Seen.NEW

    def test_one_event_of_several_items_is_one_event(self):
        listed = track("ann", "Product List Viewed", "e1", products=lines({"tea": 1, "cup": 1}))
        shard = DictShard(rules()).run([entries([listed, listed, listed])])
        assert shard.position.duplicates == 2
        assert len(memory.records(shard.memory("ann"))) == 2
        assert [one.times for one in derive.signals(shard.profile("ann"))] == [1, 1]


def test_all_stories_happen_before_they_enter():
    """Else the rule about the future would make permutations unequal."""
    assert T0 + 11 * WEEK_S < ENTERED_S

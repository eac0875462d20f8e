"""Every move between segments and rule segments is recorded once, with its reason."""

import json
from dataclasses import replace

import numpy as np
import pytest
from redis.exceptions import ResponseError

from models.segments.examples import on_a_line
from models.segments.geometry import Centroids
from models.segments.lifecycle import BROWSING, LEAD, NEWCOMER
from models.segments.scaling import Scaling
from models.segments.state import to_state
from tests.builders import DAY_S, ENTERED_S, RULES, Installation, identify, order, refresher, viewed
from worker.clock import ManualClock
from worker.rules.book import RuleBook
from worker.rules.reading import parse
from worker.store.models import ModelStore
from worker.store.population import Population
from worker.store.refreshing import Stream

NOW_S = ENTERED_S + DAY_S - ENTERED_S % DAY_S
RECENT, LAPSED = 1, 2
STREAM = "reactions"


def segments(lapsed_days=60):
    """Two segments apart in recency: who has just bought, and who did so `lapsed_days` ago."""
    centers = np.log1p([[0.0, 1.0, 1000.0], [lapsed_days, 1.0, 1000.0]]) / 3.0
    scaling = Scaling(np.zeros(3), np.full(3, 3.0))
    apart = (centers[1, 0] - centers[0, 0]) ** 2
    model = replace(on_a_line(0.0, 2.0), scaling=scaling, geometry=Centroids(centers))
    return replace(model, inertia=0.3 * apart)


def swapped():
    """The same two segments, with each other's centers."""
    model = segments()
    return replace(model, geometry=Centroids(model.geometry.centers[::-1].copy()))


class Shop:
    """One shard, live segments and rules, a clock, and a stream that wants transitions."""

    def __init__(self, client):
        client.flushall()
        self.client = client
        self.shop = Installation(client, shards=1).create()
        self.keys = self.shop.keys
        self.clock = ManualClock(NOW_S)
        self.models = ModelStore(client, self.keys)
        self.population = Population(client, self.keys)
        self.number = 0
        self.reasons = Stream(STREAM).reasons

    def publish(self, model):
        arrays, meta = to_state(model)
        return self.models.publish("segments", arrays, {"model": meta}, self.clock.now_s())

    def follow(self, model):
        """A minor version; no customer is refreshed for it."""
        current = self.models.current()
        version = (current.versions["segments"], current.minors["segments"] + 1)
        arrays, meta = to_state(model)
        assert self.models.publish_minor("segments", version, arrays, {"model": meta}, 0)

    def rules(self, **whens):
        document = {"segments": [{"id": id_, "when": when} for id_, when in whens.items()]}
        return self.book().add(parse(document), segments())

    def book(self):
        return RuleBook(self.models, self.population, self.clock)

    def refresher(self):
        stage = refresher(self.client, self.keys, self.clock)
        stage._rules = RULES._replace(streams=(Stream(STREAM, self.reasons),))
        return stage

    def tell(self, *events):
        self.shop.wait(max(1, self.clock.now_s() - ENTERED_S - self.shop._entered))
        self.shop.put(events)
        self.shop.drain()

    def buys(self, customer="ann", ago_s=60):
        self.number += 1
        name = f"{customer}-{self.number}"
        return order(customer, name, name, self.clock.now_s() - ago_s, revenue="10")

    def refresh(self):
        self.clock.advance(1)
        self.refresher().drain()

    def sleep(self, days):
        """Days go by; the clock refreshes everybody on each."""
        for _ in range(days):
            self.clock.advance(DAY_S)
            self.refresh()

    def moves(self, customer="ann", kind=None):
        """(from, to, reason) in the sequence in which they happened."""
        rows = [json.loads(one) for one in self.client.zrange(self.keys.transitions(0), 0, -1)]
        assert len({row["id"] for row in rows}) == len(rows)
        mine = [row for row in rows if row["customer_id"] == customer]
        mine.sort(key=lambda row: (row["insight_version"], row["kind"] == "rule"))
        return [(r["from"], r["to"], r["reason"]) for r in mine if kind in {None, r["kind"]}]

    def lane(self, customer="ann"):
        """What the stream was given, in its sequence."""
        rows = self.client.lrange(self.keys.lane(0, STREAM, customer), 0, -1)
        return [json.loads(row.split(b"|", 2)[2]) for row in rows]


@pytest.fixture
def shop(redis_client):
    return Shop(redis_client)


class TestReasons:
    def test_an_event_moves_then_silence_then_an_event(self, shop):
        shop.publish(segments())
        shop.tell(shop.buys())
        shop.refresh()
        shop.sleep(20)
        shop.tell(shop.buys())
        shop.refresh()
        assert shop.moves() == [
            (None, RECENT, "event"), (RECENT, LAPSED, "clock"), (LAPSED, RECENT, "event"),
        ]  # fmt: skip
        first, second, third = shop.lane()
        assert (first["cause"], third["cause"]) == ("ann-1", "ann-2")
        assert second["cause"].isdigit()
        assert (second["from_name"], second["to_name"]) == ("Champions", "Loyal")
        assert {one["model_version"] for one in shop.lane()} == {"1"}

    def test_what_a_new_model_does_is_the_models_doing(self, shop):
        shop.tell(shop.buys())
        shop.refresh()
        shop.publish(segments())
        shop.population.ripen(shop.clock.now_s(), 0)
        shop.refresh()
        shop.publish(replace(segments(), ids=np.array([7, 9]), next_id=10))
        shop.population.ripen(shop.clock.now_s(), 0)
        shop.refresh()
        assert shop.moves() == [(None, RECENT, "model"), (RECENT, 7, "model")]
        assert shop.lane() == [], "recorded, and told to nobody who has not asked for it"

    def test_a_destination_that_asks_is_told_what_new_models_do_too(self, shop):
        shop.reasons = {"event", "model"}
        shop.tell(shop.buys())
        shop.refresh()
        shop.publish(segments())
        shop.population.ripen(shop.clock.now_s(), 0)
        shop.refresh()
        shop.sleep(20)
        shop.tell(shop.buys())
        shop.refresh()
        assert [move["reason"] for move in shop.lane()] == ["model", "event"]

    def test_an_event_that_moves_is_the_cause_though_a_minor_version_is_new(self, shop):
        shop.publish(segments())
        shop.tell(shop.buys())
        shop.refresh()
        shop.sleep(20)
        shop.follow(segments(lapsed_days=61))
        shop.tell(shop.buys())
        shop.refresh()
        assert shop.moves()[-1] == (LAPSED, RECENT, "event")
        assert shop.lane()[-1]["model_version"] == "1.1"

    def test_an_event_beside_a_model_that_moves_anyway_is_not_the_cause(self, shop):
        shop.publish(segments())
        shop.tell(shop.buys())
        shop.refresh()
        shop.sleep(1)
        shop.follow(swapped())
        shop.tell(viewed("ann", "tea", "v", shop.clock.now_s()))
        shop.refresh()
        assert shop.moves()[-1] == (RECENT, LAPSED, "model")

    def test_rules_by_event_by_silence_and_by_their_own_change(self, shop):
        shop.tell(identify("ann", "i", NOW_S - 9, country="DE"))
        shop.refresh()
        shop.rules(
            german={"trait": "country", "is": "DE"},
            buyer={"count": "orders", "at_least": 1},
            silent={"days_since": "last_order", "above": 3},
        )
        shop.refresh()
        assert shop.moves(kind="rule") == [(None, "german", "model")]
        shop.tell(shop.buys())
        shop.refresh()
        shop.sleep(5)
        shop.tell(shop.buys())
        shop.refresh()
        shop.book().remove("german")
        shop.refresh()
        assert shop.moves(kind="rule") == [
            (None, "german", "model"), (None, "buyer", "event"), (None, "silent", "clock"),
            ("silent", None, "event"), ("german", None, "model"),
        ]  # fmt: skip
        assert shop.moves(kind="segment") == [(None, NEWCOMER, "event"), (NEWCOMER, None, "event")]

    def test_a_rule_over_segments_follows_them_for_their_reasons(self, shop):
        shop.publish(segments())
        shop.rules(gone={"segment": LAPSED})
        shop.tell(shop.buys())
        shop.refresh()
        shop.sleep(20)
        assert shop.moves(kind="rule") == [(None, "gone", "clock")]
        shop.publish(swapped())
        shop.population.ripen(shop.clock.now_s(), 0)
        shop.refresh()
        assert shop.moves()[-2:] == [(LAPSED, RECENT, "model"), ("gone", None, "model")]

    def test_who_has_not_bought_is_somewhere_too(self, shop):
        shop.publish(segments())
        shop.tell(identify("ann", "i", shop.clock.now_s() - 60, country="DE"))
        shop.refresh()
        shop.sleep(8)
        shop.follow(segments(61))
        shop.tell(viewed("ann", "tea", "v", shop.clock.now_s() - 60))
        shop.refresh()
        shop.sleep(31)
        shop.tell(shop.buys())
        shop.refresh()
        assert shop.moves() == [
            (None, NEWCOMER, "event"), (NEWCOMER, LEAD, "clock"), (LEAD, BROWSING, "event"),
            (BROWSING, LEAD, "clock"), (LEAD, RECENT, "event"),
        ]  # fmt: skip

    def test_a_quiet_refresh_records_nothing(self, shop):
        shop.publish(segments())
        shop.tell(shop.buys())
        shop.client.rename(shop.keys.dirty(0), shop.keys.quiet(0))
        shop.refresh()
        assert shop.moves() == []
        shop.sleep(20)
        assert shop.moves() == [(RECENT, LAPSED, "clock")]


class TestOnce:
    def test_coalescing_and_repeated_refreshes_of_a_day_end_in_the_same_place(self, shop):
        """A model in which a customer would stay wherever the margin last left it."""
        ends = []
        for rounds in ("each", "once", "thrice"):
            shop.client.flushall()
            shop.shop.create()
            shop.clock = ManualClock(NOW_S)
            shop.publish(segments(lapsed_days=12))
            shop.tell(shop.buys(ago_s=5 * DAY_S))
            shop.refresh()
            shop.clock.advance(DAY_S)
            for ago_s in (4 * DAY_S, 2 * DAY_S):
                shop.tell(shop.buys(ago_s=ago_s))
                if rounds != "once":
                    shop.refresh()
            shop.refresh()
            if rounds == "thrice":
                for _ in range(2):
                    shop.population.ripen(shop.clock.now_s(), 0)
                    shop.refresh()
            held = json.loads(shop.client.get(shop.keys.insight(0, "ann")).partition(b"\n")[2])
            ends.append(held["segment"])
        assert ends[0] == ends[1] == ends[2]

    def test_there_and_back_on_one_day_is_told_and_leaves_no_trace_in_the_standing(self, shop):
        shop.publish(segments())
        shop.tell(shop.buys())
        shop.refresh()
        shop.sleep(20)
        since = self.segment(shop)["since"]
        shop.clock.advance(DAY_S)
        again = shop.buys()
        shop.tell(again)
        shop.refresh()
        assert self.segment(shop)["id"] == RECENT
        name = json.loads(again)["properties"]["order_id"]
        shop.tell(order("ann", name, "back", shop.clock.now_s(), name="Order Cancelled"))
        shop.refresh()
        assert self.segment(shop)["since"] == since
        assert shop.moves()[-2:] == [(LAPSED, RECENT, "event"), (RECENT, LAPSED, "event")]

    def segment(self, shop):
        return json.loads(shop.client.get(shop.keys.insight(0, "ann")).partition(b"\n")[2])[
            "segment"
        ]

    def test_rivals_and_repeats_record_a_move_once(self, shop):
        shop.publish(segments())
        shop.rules(buyer={"count": "orders", "at_least": 1})
        shop.tell(shop.buys())
        shop.clock.advance(1)
        one, two = shop.refresher(), shop.refresher()
        calls = []
        commit = one._store.commit

        def late(*args):
            calls.append(args)
            two.drain()  # a rival is faster
            return commit(*args)

        one._store.commit = late
        one.round()
        assert commit(*calls[0]) == [False]
        assert shop.moves() == [(None, RECENT, "event"), (None, "buyer", "event")]
        assert [move["to"] for move in shop.lane()] == [RECENT, "buyer"]

    def test_a_script_that_fails_at_any_write_records_and_tells_each_move_once(
        self, shop, fail_script
    ):
        at, failed = 0, True
        while failed:
            at, failed = at + 1, False
            shop.client.flushall()
            shop.shop.create()
            shop.clock = ManualClock(NOW_S)
            shop.number = 0
            shop.publish(segments())
            shop.rules(buyer={"count": "orders", "at_least": 1})
            shop.tell(shop.buys())
            fail_script("insights", at)
            try:
                shop.refresh()
            except ResponseError:
                failed = True
            fail_script("insights", 0)
            shop.refresh()
            assert shop.moves() == [(None, RECENT, "event"), (None, "buyer", "event")], at
            assert [move["to"] for move in shop.lane()] == [RECENT, "buyer"], at
        assert at > 6


class TestMinorVersions:
    def test_one_follows_the_other_and_goes_back_with_its_major(self, shop):
        shop.publish(segments())
        shop.follow(segments(61))
        shop.follow(segments(62))
        arrays, meta = to_state(segments(63))
        late = ("segments", (1, 2), arrays, {"model": meta}, 0)
        assert not shop.models.publish_minor(*late), "computed from what is out of date"
        assert shop.publish(segments(90)) == 2
        assert not shop.models.publish_minor("segments", (1, 3), arrays, {"model": meta}, 0)
        assert shop.models.current().minors == {"segments": 0}
        shop.models.promote("segments", 1, 0)
        current = shop.models.current()
        assert (current.versions["segments"], current.minors["segments"]) == (1, 2)

    def test_a_script_that_fails_at_any_write_leaves_a_version_that_can_be_read(
        self, shop, fail_script
    ):
        at, failed = 0, True
        arrays, meta = to_state(segments(61))
        while failed:
            at, failed = at + 1, False
            shop.client.flushall()
            shop.publish(segments())
            fail_script("follow", at)
            try:
                shop.models.publish_minor("segments", (1, 1), arrays, {"model": meta}, 0)
            except ResponseError:
                failed = True
            shop.models.read("segments", 1, shop.models.current().minors["segments"])
            fail_script("follow", 0)
            assert shop.models.publish_minor("segments", (1, 1), arrays, {"model": meta}, 0)
            assert shop.models.current().minors == {"segments": 1}
        assert at > 3

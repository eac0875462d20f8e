"""The delivery engine on a real server, against vendors that behave as theirs do."""

import contextlib
import itertools
import json
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from integrations.mapping import MappedField
from integrations.outbound.abilities import Progress
from integrations.outbound.contract import (
    OMIT,
    Capabilities,
    Credentials,
    HttpCall,
    Matching,
    Outcome,
    Response,
    Verdict,
)
from integrations.outbound.errors import TransportError
from tests.builders import channel, deliverer
from tests.servers import eventually
from worker.clock import ManualClock, SystemClock
from worker.delivery.engine import Deliver
from worker.store.delivering import DeliverStore, Row
from worker.store.destinations import REFUSALS, Destinations, Ended
from worker.store.keys import Keys
from worker.store.letters import Filter, Letters
from worker.store.refreshing import Mark, Push, Refreshed, RefreshStore, Stream, Transition

KEYS = Keys("t", 4)
OK = Outcome(Verdict.OK)
FIELDS = (
    MappedField(source="segment.name", target="segment"),
    MappedField(source="p_alive", target="alive", round=2, dead_band=0.05),
    MappedField(source="historic_number_of_orders", target="orders"),
)


class Vendor:
    """A CRM that takes batches: adapter, transport and contacts in one.

    calls   the rows of every call, in the order of arrival
    held    key -> fields
    ends    what befalls the next calls, in turn: an error to raise, or a Verdict for all rows
    refuse  keys that make it refuse a call as a whole
    bad     keys that it refuses alone
    """

    name = "vendor"

    def __init__(self, max_rows=100, **capabilities):
        options = {"max_rows": max_rows, "max_bytes": 1_000_000, "matching": Matching.KEY}
        self.capabilities = Capabilities(**{**options, **capabilities})
        self.calls = []
        self.held = {}
        self.ends = []
        self.refuse = set()
        self.bad = set()

    def encode(self, rows, *, credentials, at_s):
        sent = [[row.key, dict(row.fields), row.delivery_id, row.body.decode()] for row in rows]
        return HttpCall("vendor", "POST", "", {}, json.dumps(sent).encode())

    def send(self, call):
        rows = json.loads(call.body)
        self.calls.append(rows)
        end = self.ends.pop(0) if self.ends else None
        if isinstance(end, Exception):
            raise end
        if end is not None:
            return Response(400, {}, end.encode())
        keys = {row[0] for row in rows}
        if keys & self.refuse:
            return Response(400, {}, b"split")
        for key, fields, _, _ in rows:
            if key not in self.bad:
                self.held.setdefault(key, {}).update(fields)
        return Response(200, {}, b"")

    def classify(self, rows, response, *, at_s):
        if response.status == 400:
            return (Outcome(Verdict(response.body.decode()), "http_400"),) * len(rows)
        return tuple(
            Outcome(Verdict.PERMANENT, "bad_row") if row.key in self.bad else OK for row in rows
        )


class Shop:
    """Insights as refresh writes them, and the engine behind them."""

    def __init__(self, client):
        self.client = client
        self.store = DeliverStore(client, KEYS)
        self.destinations = Destinations(client, KEYS)
        self.letters = Letters(client, KEYS)
        self.refresh = RefreshStore(client, KEYS, lease_ms=1)
        self.versions = Counter()

    def tell(self, customer, names=("crm",), streams=(), moves=(), **fields):
        """A new insight of a customer, with its outbox rows and events."""
        version = self.versions[customer]
        self.versions[customer] += 1
        body = json.dumps({"customer_id": customer, "n": version + 1, **fields}).encode()
        row = Refreshed(
            mark=Mark(KEYS.shard(customer), customer, version + 1, loud=True),
            expected_version=version, seq=version + 1, generation=1, as_of_s=1000 + version,
            material=f"m{version}", json=body, push=Push.ALL,
            transitions=tuple(
                Transition("event", json.dumps({"id": one, "kind": "segment"}).encode())
                for one in moves
            ),
            next_due_s=5000,
        )  # fmt: skip
        assert self.refresh.commit([row], names, tuple(map(Stream, streams))) == [True]

    def deliver(self, vendor, *, clock=None, **options):
        """Everything that is due now; the engine is ended afterwards."""
        stage = deliverer(
            self.client, KEYS, clock or ManualClock(time.time()), vendor, lease=5000, **options
        )
        stage.drain()
        stage.close()
        return stage

    def let_go(self, name="crm"):
        """Waits are over."""
        for shard in range(KEYS.shards):
            for customer in self.client.zrange(KEYS.outbox(shard, name), 0, -1):
                self.client.zadd(KEYS.outbox(shard, name), {customer: 0})
        self.destinations.resume(name)

    def waiting(self, name="crm"):
        return {row.customer_id for row, _ in self.store.waiting([name])}


@pytest.fixture
def shop(redis_client):
    return Shop(redis_client)


class TestBatches:
    def test_they_are_filled_across_shards(self, shop):
        vendor = Vendor(max_rows=10)
        for n in range(35):
            shop.tell(f"c{n}")
        shop.deliver(vendor, concurrency=4)
        assert [len(rows) for rows in vendor.calls] == [10, 10, 10, 5]
        assert set(vendor.held) == {f"c{n}" for n in range(35)}
        assert shop.waiting() == set()

    def test_no_key_is_twice_in_one_call_and_the_bytes_are_kept_to(self, shop):
        vendor = Vendor(max_bytes=2000)
        for n in range(12):
            shop.tell(f"c{n}", email=f"E{n % 4}@x", pad="p" * 300)
        shop.deliver(vendor, key=("email",), concurrency=8)
        shop.let_go()
        shop.deliver(vendor, key=("email",), concurrency=8)
        assert sum(map(len, vendor.calls)) == 12
        for rows in vendor.calls:
            assert len({row[0] for row in rows}) == len(rows)
            assert len(json.dumps(rows)) <= 2000

    def test_a_customer_without_the_key_is_given_up_with_the_reason(self, shop):
        vendor = Vendor()
        shop.tell("a", email="a@x")
        shop.tell("b")
        shop.deliver(vendor, key=("email",))
        assert set(vendor.held) == {"a@x"}
        (letter,) = shop.letters.find()
        assert (letter.row.customer_id, letter.code) == ("b", "no_key")

    @settings(
        deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(refused=st.sets(st.integers(0, 39), max_size=4))
    def test_a_refused_batch_is_halved_until_the_rows_at_fault_are_alone(
        self, redis_client, refused
    ):
        redis_client.flushall()
        shop, vendor = Shop(redis_client), Vendor(max_rows=40)
        vendor.refuse = {f"c{n}" for n in refused}
        for n in range(40):
            shop.tell(f"c{n}")
        shop.deliver(vendor)
        assert {one.row.customer_id for one in shop.letters.find()} == vendor.refuse
        assert set(vendor.held) == {f"c{n}" for n in range(40)} - vendor.refuse
        assert shop.waiting() == set()
        assert len(vendor.calls) <= 1 + 2 * 6 * len(refused)

    def test_halves_outlive_the_worker(self, shop):
        vendor = Vendor(max_rows=16)
        vendor.refuse = {"c3"}
        for n in range(16):
            shop.tell(f"c{n}")
        for _ in range(9):  # a worker that lives for one round each
            stage = deliverer(shop.client, KEYS, SystemClock(), vendor, lease=5000)
            stage.round()
            stage.finish()
            stage.close()
        assert set(vendor.held) == {f"c{n}" for n in range(16)} - {"c3"}
        assert [one.row.customer_id for one in shop.letters.find()] == ["c3"]

    def test_a_row_that_is_refused_alone_keeps_no_other(self, shop):
        vendor = Vendor()
        vendor.bad = {"c1"}
        for n in range(4):
            shop.tell(f"c{n}")
        shop.deliver(vendor)
        assert [(one.row.customer_id, one.code) for one in shop.letters.find()] == [
            ("c1", "bad_row")
        ]
        assert set(vendor.held) == {"c0", "c2", "c3"}
        assert len(vendor.calls) == 1


class TestRefusals:
    """Whose fault it is: a row's, or the destination's, which then takes nothing."""

    def test_who_refuses_everything_is_given_nothing_up_but_rested_with_an_alarm(self, shop):
        vendor = Vendor(max_rows=1)
        vendor.bad = {f"c{n}" for n in range(40)}
        for n in range(40):
            shop.tell(f"c{n}")
        shop.deliver(vendor)
        assert shop.letters.find() == []
        assert len(vendor.calls) < REFUSALS + 8
        state = shop.destinations.state("crm")
        assert state.is_open
        assert state.alarm == "takes nothing: bad_row"
        vendor.bad = {"c7"}  # it was mended, and one row is really wrong
        for _ in range(2):
            shop.let_go()
            shop.deliver(vendor)
        assert set(vendor.held) == {f"c{n}" for n in range(40)} - {"c7"}
        assert [(one.row.customer_id, one.code) for one in shop.letters.find()] == [
            ("c7", "bad_row")
        ]
        assert shop.waiting() == set()
        assert not shop.destinations.state("crm").alarm

    def test_batches_that_are_all_refused_as_a_whole_are_not_cut_to_pieces_for_ever(self, shop):
        vendor = Vendor(max_rows=100)
        vendor.refuse = {f"c{n}" for n in range(300)}
        for n in range(300):
            shop.tell(f"c{n}")
        shop.deliver(vendor, concurrency=3)
        assert shop.letters.find() == []
        assert len(vendor.calls) < REFUSALS + 8
        assert shop.destinations.state("crm").alarm == "takes nothing: http_400"
        vendor.refuse = set()
        shop.let_go()
        shop.deliver(vendor)
        assert len(vendor.held) == 300

    def test_a_breaker_that_a_refusal_opened_is_not_closed_by_a_look_up(self, shop):
        vendor = Lookups(max_rows=1)
        vendor.bad = {f"c{n}" for n in range(40)}
        for n in range(40):
            shop.tell(f"c{n}")
        shop.deliver(vendor)
        assert shop.letters.find() == []
        assert shop.destinations.state("crm").alarm.startswith("takes nothing")

    def test_a_job_in_which_every_row_failed_gives_none_up(self, shop):
        vendor = Working()
        vendor.bad = {"a", "b"}
        for customer in sorted(vendor.bad):
            shop.tell(customer)
        shop.deliver(vendor)
        TestJobs().finish(shop, vendor)
        assert shop.letters.find() == []
        assert shop.waiting() == {"a", "b"}

    def test_what_was_under_way_when_it_began_to_refuse_says_nothing_for_it(self, shop):
        """A call that began before the outage, and was taken, is no proof against a row."""
        policy = channel(Vendor(), lease=60_000)
        (earlier,) = shop.destinations.permits(policy, 1).calls
        vendor = Vendor(max_rows=1)
        vendor.bad = {"ann"}
        shop.tell("ann")
        shop.deliver(vendor)
        shop.destinations.run([shop.destinations.report("crm", Ended(earlier, "taken"))])
        shop.let_go()
        shop.deliver(vendor)
        assert shop.letters.find() == []
        shop.tell("bob")
        shop.let_go()
        for _ in range(2):
            shop.deliver(vendor)
            shop.let_go()
        assert [one.row.customer_id for one in shop.letters.find()] == ["ann"]


class TestFields:
    def send(self, shop, vendor, **fields):
        shop.tell("ann", **fields)
        shop.deliver(vendor, fields=FIELDS)
        return vendor.calls[-1][0][1] if vendor.calls else None

    def test_only_what_changed_beyond_its_dead_band_goes(self, shop):
        vendor = Vendor()
        first = {"segment": {"name": "vip"}, "p_alive": 0.5, "historic_number_of_orders": 1}
        assert self.send(shop, vendor, **first) == {"segment": "vip", "alive": 0.5, "orders": 1}
        assert self.send(shop, vendor, **{**first, "historic_number_of_orders": 2}) == {"orders": 2}
        for n in range(1, 5):  # drift is measured from what was sent, so that it cannot creep
            self.send(
                shop, vendor, **{**first, "historic_number_of_orders": 2, "p_alive": 0.5 + n / 100}
            )
        assert len(vendor.calls) == 2
        last = {**first, "historic_number_of_orders": 2, "p_alive": 0.55}
        assert self.send(shop, vendor, **last) == {"alive": 0.55}
        assert self.send(shop, vendor, **{**last, "segment": None}) == {"segment": None}
        assert vendor.held["ann"] == {"segment": None, "alive": 0.55, "orders": 2}

    def test_what_cannot_be_cleared_is_left_out(self, shop):
        vendor = Vendor(clear_value=OMIT)
        self.send(shop, vendor, segment={"name": "vip"}, p_alive=0.5)
        self.send(shop, vendor, segment=None, p_alive=0.5)
        assert len(vendor.calls) == 1
        assert shop.waiting() == set()

    def test_a_field_is_cleared_by_the_value_that_the_vendor_takes_for_it(self, shop):
        vendor = Vendor(clear_value="")
        self.send(shop, vendor, segment={"name": "vip"}, p_alive=0.5)
        self.send(shop, vendor, segment=None, p_alive=0.5)
        assert vendor.calls[-1][0][1] == {"segment": ""}
        self.send(shop, vendor, segment=None, p_alive=0.5)
        assert len(vendor.calls) == 2, "what is cleared is not cleared again"

    def test_a_retry_sends_the_same_fields_under_the_same_id(self, shop):
        vendor = Vendor()
        vendor.ends = [TransportError("reset"), None]
        self.send(shop, vendor, segment={"name": "vip"}, p_alive=0.5)
        shop.let_go()
        shop.deliver(vendor, fields=FIELDS)
        assert vendor.calls[0] == vendor.calls[1]

    def test_what_a_lost_answer_may_have_changed_is_written_over(self, shop):
        """vip -> lost, whose answer was lost -> vip again: the CRM may hold lost."""
        vendor = Vendor()
        self.send(shop, vendor, segment={"name": "vip"}, p_alive=0.5)
        vendor.ends = [TransportError("reset")]
        self.send(shop, vendor, segment={"name": "lost"}, p_alive=0.5)
        shop.tell("ann", segment={"name": "vip"}, p_alive=0.5)
        shop.let_go()
        shop.deliver(vendor, fields=FIELDS)
        assert vendor.calls[-1][0][1] == {"segment": "vip"}

    def test_a_resync_sends_everything(self, shop):
        vendor = Vendor()
        self.send(shop, vendor, segment={"name": "vip"}, p_alive=0.5)
        shop.store.send_again([Row(KEYS.shard("ann"), "crm", "ann")], 7)
        shop.deliver(vendor, fields=FIELDS, coalesce_ms=60_000, coalesce_max_ms=60_000)
        assert vendor.calls[-1][0][1] == {"segment": "vip", "alive": 0.5, "orders": None}
        assert vendor.calls[-1][0][2] != vendor.calls[0][0][2]

    @pytest.mark.parametrize("end", [None, TransportError("reset")])
    def test_a_resync_of_what_is_under_way_or_waits_sends_everything_afterwards(self, shop, end):
        vendor = Vendor()
        self.send(shop, vendor, segment={"name": "vip"}, p_alive=0.5)
        vendor.held.clear()  # somebody emptied the CRM
        send = vendor.send

        def meanwhile(call):
            shop.store.send_again([Row(KEYS.shard("ann"), "crm", "ann")], 7)
            vendor.send = send
            return send(call)

        vendor.send = meanwhile
        vendor.ends = [end]
        self.send(shop, vendor, segment={"name": "vip"}, p_alive=0.6)
        assert vendor.calls[1][0][1] == {"alive": 0.6}
        shop.let_go()
        shop.deliver(vendor, fields=FIELDS)
        shop.let_go()
        shop.deliver(vendor, fields=FIELDS)
        assert vendor.held["ann"] == {"segment": "vip", "alive": 0.6, "orders": None}
        assert shop.waiting() == set()

    def test_a_resync_of_what_waits_for_another_attempt_sends_everything(self, shop):
        vendor = Vendor()
        self.send(shop, vendor, segment={"name": "vip"}, p_alive=0.5)
        vendor.ends = [TransportError("reset")]
        self.send(shop, vendor, segment={"name": "vip"}, p_alive=0.6)
        vendor.held.clear()
        shop.store.send_again([Row(KEYS.shard("ann"), "crm", "ann")], 7)
        shop.let_go()
        shop.deliver(vendor, fields=FIELDS)
        assert vendor.held["ann"] == {"segment": "vip", "alive": 0.6, "orders": None}
        assert shop.waiting() == set()


class TestCoalescing:
    WINDOW = {"coalesce_ms": 80, "coalesce_max_ms": 250}  # noqa: RUF012

    def test_the_first_change_goes_at_once_later_ones_together(self, shop):
        vendor = Vendor()
        for _ in range(3):
            shop.tell("ann")
            shop.deliver(vendor, **self.WINDOW)
        assert len(vendor.calls) == 1
        eventually(lambda: shop.deliver(vendor, **self.WINDOW) and len(vendor.calls) == 2)
        assert json.loads(vendor.calls[1][0][3])["n"] == 3
        assert shop.waiting() == set()

    def test_a_customer_who_never_rests_waits_no_longer_than_the_maximum(self, shop):
        vendor = Vendor()
        sent_at = []
        send = vendor.send
        vendor.send = lambda call: (sent_at.append(time.monotonic()), send(call))[1]
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            shop.tell("ann")
            shop.deliver(vendor, **self.WINDOW)
            time.sleep(0.01)
        gaps = [after - before for before, after in itertools.pairwise(sent_at)]
        assert len(gaps) >= 2
        assert max(gaps) < 0.6
        assert min(gaps) > 0.15, "it was put off while it changed"

    def test_who_is_in_a_hurry_does_not_wait(self, shop):
        vendor = Vendor()
        window = {"coalesce_ms": 60_000, "coalesce_max_ms": 60_000}
        for _ in range(2):
            shop.tell("ann")
            shop.deliver(vendor, **window)
        assert len(vendor.calls) == 1
        assert shop.store.hasten([row for row, _ in shop.store.waiting(["crm"])]) == 1
        shop.deliver(vendor, **window)
        assert len(vendor.calls) == 2
        assert shop.waiting() == set()

    def test_what_is_under_way_is_not_hastened(self, shop):
        shop.tell("ann")
        policy = channel(Vendor(), lease=60_000)
        (claimed,) = shop.store.claim(policy, shop.store.due({"crm": 9})["crm"])
        assert shop.store.hasten([claimed.row]) == 0
        assert shop.store.claim(policy, [claimed.row]) == []


class TestManyDestinations:
    def test_a_dead_one_costs_the_others_nothing(self, shop):
        """It hangs, and has more rows than anybody; the other one's rows go at once."""
        vendor, dead = Vendor(max_rows=1), Vendor(max_rows=1)

        def hang(call):
            time.sleep(0.4)
            raise TransportError("no answer")

        dead.send = hang
        for n in range(60):
            shop.tell(f"c{n}", ("dead", "crm"))
        channels = [
            channel(dead, name="dead", lease=60_000, concurrency=2),
            channel(vendor, lease=60_000, concurrency=2),
        ]
        stage = Deliver(
            shop.store, shop.destinations, channels, SystemClock(), shards=4, max_attempts=3
        )
        begun = time.monotonic()
        while shop.waiting():
            stage.round()
            assert time.monotonic() - begun < 5
        assert time.monotonic() - begun < 2
        assert len(vendor.calls) == 60
        eventually(lambda: stage.round() and shop.destinations.state("dead").is_open)
        assert len(shop.waiting("dead")) == 60
        stage.close()
        failed = shop.destinations.state("dead").used
        assert failed < 12, "the breaker keeps it from being called"


class Lookups(Vendor):
    """It must be asked for its id of a record before it is written."""

    def __init__(self, **options):
        super().__init__(**options)
        self.ids = {}
        self.asked = []

    def lookup(self, rows, *, credentials):
        body = json.dumps([row.key for row in rows]).encode()
        return HttpCall("vendor", "GET", "", {}, body)

    def send(self, call):
        if call.method == "GET":
            keys = json.loads(call.body)
            self.asked.append(keys)
            return Response(200, {}, json.dumps([self.ids.get(key, "") for key in keys]).encode())
        return super().send(call)

    def read_lookup(self, rows, response, *, at_s):
        return tuple(Outcome(Verdict.OK, vendor_id=one) for one in json.loads(response.body))

    def classify(self, rows, response, *, at_s):
        ends = super().classify(rows, response, at_s=at_s)
        for row in rows:
            known = self.ids.get(row.key, "")
            assert row.vendor_id == known, "a record that is there is not created again"
            self.ids[row.key] = known or f"id-{row.key}"
        return tuple(
            Outcome(end.verdict, vendor_id=self.ids[row.key])
            for end, row in zip(ends, rows, strict=True)
        )


class TestLookups:
    def test_what_was_found_is_kept_and_what_is_new_is_told_by_the_answer(self, shop):
        vendor = Lookups()
        vendor.ids = {"a": "id-of-a"}
        for _ in range(2):
            for customer in "ab":
                shop.tell(customer)
            shop.deliver(vendor)
        assert vendor.asked == [["a", "b"]]
        assert vendor.ids == {"a": "id-of-a", "b": "id-b"}
        assert len(vendor.calls) == 2
        assert shop.destinations.state("crm").used == 3, "each call has a permit"

    def test_an_id_that_leads_nowhere_is_looked_up_again(self, shop):
        vendor = Lookups()
        shop.tell("a")
        shop.deliver(vendor)
        shop.tell("a")
        vendor.classify = lambda rows, response, *, at_s: (
            Outcome(Verdict.RETRY, "gone", vendor_id=""),
        )
        shop.deliver(vendor)
        del vendor.classify
        vendor.ids = {}
        shop.let_go()
        shop.deliver(vendor)
        assert vendor.asked == [["a"], ["a"]]
        assert shop.waiting() == set()


class Tokens(Vendor):
    """It gives tokens; it takes those in `good` only."""

    def __init__(self, **options):
        super().__init__(**options)
        self.given = 0
        self.good = {"t1"}
        self.expires_in_s = 3600

    def token_call(self, *, at_s):
        return HttpCall("vendor", "POST", "/token", {}, b"")

    def read_token(self, response, *, at_s):
        if response.status != 200:
            return Outcome(Verdict.AUTH, f"http_{response.status}")
        return Credentials(response.body.decode(), "", at_s + self.expires_in_s)

    def encode(self, rows, *, credentials, at_s):
        call = super().encode(rows, credentials=credentials, at_s=at_s)
        return HttpCall("vendor", "POST", "", {"token": credentials.token}, call.body)

    def send(self, call):
        if call.url == "/token":
            self.given += 1
            return Response(200 if self.given < 9 else 401, {}, f"t{self.given}".encode())
        if call.headers["token"] not in self.good:
            return Response(400, {}, b"auth")
        return super().send(call)


class TestTokens:
    def test_one_is_got_for_all_and_used_until_it_expires(self, shop):
        vendor, clock = Tokens(), ManualClock(time.time())
        for n in range(3):
            shop.tell(f"c{n}")
            shop.deliver(vendor, clock=clock)
        assert vendor.given == 1
        clock.advance(3590)
        vendor.good = {"t2"}
        shop.tell("later")
        shop.deliver(vendor, clock=clock)
        assert vendor.given == 2
        assert len(vendor.held) == 4

    def test_one_that_is_refused_is_renewed_once(self, shop):
        vendor = Tokens()
        shop.tell("a")
        shop.deliver(vendor)
        vendor.good = {"t2"}
        shop.tell("b")
        shop.deliver(vendor)
        assert set(vendor.held) == {"a", "b"}
        assert vendor.given == 2
        assert shop.destinations.state("crm").alarm == ""
        claim, delivered = shop.store.find(Row(KEYS.shard("b"), "crm", "b"))
        assert (claim, delivered.version) == (None, 1)

    def test_when_the_new_one_is_refused_too_it_pauses_with_an_alarm(self, shop):
        vendor = Tokens()
        vendor.good = set()
        shop.tell("a")
        shop.deliver(vendor)
        state = shop.destinations.state("crm")
        assert vendor.given == 2
        assert state.alarm == "refused: http_400"
        assert state.wait_ms > 200_000
        claim, _ = shop.store.find(Row(KEYS.shard("a"), "crm", "a"))
        assert claim.attempts == 0, "that is not the row's fault"
        vendor.good = {"t3"}
        shop.let_go()
        shop.deliver(vendor)
        assert set(vendor.held) == {"a"}

    def test_without_a_token_nothing_is_sent_and_people_are_told(self, shop):
        vendor = Tokens()
        vendor.given = 9
        shop.tell("a")
        shop.deliver(vendor)
        assert vendor.calls == []
        assert shop.destinations.state("crm").alarm == "no token: http_401"
        assert shop.waiting() == {"a"}

    def test_a_token_does_not_print(self, shop):
        vendor = Tokens()
        shop.tell("a")
        shop.deliver(vendor)
        assert "t1" not in repr(shop.destinations.token("crm"))


class Working(Vendor):
    """It takes calls as jobs; a job ends when it has been asked about twice."""

    def __init__(self, **options):
        super().__init__(is_job=True, **options)
        self.jobs = {}
        self.asked = Counter()

    def classify(self, rows, response, *, at_s):
        job = f"job-{len(self.calls)}"
        self.jobs[job] = [row.key for row in rows]
        return (Outcome(Verdict.ACCEPTED, job=job),) * len(rows)

    def poll(self, job, *, credentials):
        return HttpCall("vendor", "GET", "", {}, job.encode())

    def send(self, call):
        if call.method == "GET":
            return Response(200, {}, call.body)
        return super().send(call)

    def read_poll(self, job, rows, response, *, at_s):
        self.asked[job] += 1
        if self.asked[job] < 2:
            return Progress(None, job, 0.0)
        assert [row.key for row in rows] == self.jobs[job]
        return Progress(
            tuple(Outcome(Verdict.PERMANENT, "bad") if row.key in self.bad else OK for row in rows)
        )


class TestJobs:
    def finish(self, shop, vendor):
        """Let the job's times pass, with a worker of its own for each look."""
        for _ in range(3):
            for job in shop.client.zrange(KEYS.jobs("crm"), 0, -1):
                shop.client.zadd(KEYS.jobs("crm"), {job: 0})
            shop.deliver(vendor)

    def test_rows_end_as_the_job_says(self, shop):
        vendor = Working()
        vendor.bad = {"c1"}
        for n in range(3):
            shop.tell(f"c{n}")
        shop.deliver(vendor)
        assert shop.waiting() == {"c0", "c1", "c2"}, "accepted is not done"
        assert shop.destinations.state("crm").jobs == 1
        self.finish(shop, vendor)
        assert shop.waiting() == set()
        assert [one.row.customer_id for one in shop.letters.find()] == ["c1"]
        assert shop.destinations.state("crm").jobs == 0
        assert len(vendor.calls) == 1

    def test_a_change_meanwhile_goes_behind_it(self, shop):
        vendor = Working()
        shop.tell("a")
        shop.deliver(vendor)
        shop.tell("a")
        shop.let_go("nothing of ours")
        shop.deliver(vendor)
        assert len(vendor.calls) == 1, "no row is under way twice"
        self.finish(shop, vendor)
        shop.deliver(vendor)
        assert len(vendor.calls) == 2
        assert json.loads(vendor.calls[1][0][3])["n"] == 2

    def test_a_token_that_expires_while_a_job_is_asked_about_is_renewed(self, shop):
        class WithTokens(Working):
            good = 1

            def token_call(self, *, at_s):
                return HttpCall("vendor", "POST", "token", {}, b"")

            def read_token(self, response, *, at_s):
                return Credentials(f"token-{self.good}")

            def poll(self, job, *, credentials):
                self.asked_with = credentials.token
                return super().poll(job, credentials=credentials)

            def send(self, call):
                return Response(200, {}, b"") if call.url == "token" else super().send(call)

            def read_poll(self, job, rows, response, *, at_s):
                if self.asked_with != f"token-{self.good}":
                    refused = Outcome(Verdict.AUTH, "http_401")
                    return Progress(None, job, 0.0, refused)
                return super().read_poll(job, rows, response, at_s=at_s)

        vendor = WithTokens()
        shop.tell("a")
        shop.deliver(vendor)
        vendor.good = 2
        for _ in range(2):
            self.finish(shop, vendor)
        assert vendor.asked_with == "token-2"
        assert not shop.destinations.state("crm").is_open
        assert shop.waiting() == set()

    def test_who_died_while_asking_is_followed(self, shop):
        vendor = Working()
        shop.tell("a")
        shop.deliver(vendor)
        shop.client.zadd(KEYS.jobs("crm"), {"job-1": 0})
        assert shop.destinations.take_jobs("crm", 30, 9)
        assert shop.destinations.take_jobs("crm", 30, 9) == []
        time.sleep(0.04)
        assert shop.destinations.take_jobs("crm", 30, 9)


class TestEvents:
    STREAM = {"name": "events"}  # noqa: RUF012

    def vendor(self, **options):
        return Vendor(max_rows=options.pop("max_rows", 10), is_stream=True, **options)

    def sent(self, vendor):
        """Event ids by customer, in the order of arrival."""
        found = {}
        for rows in vendor.calls:
            for key, _, _, body in rows:
                found.setdefault(key, []).append(json.loads(body)["id"])
        return found

    def test_every_one_goes_in_order_and_none_is_coalesced(self, shop):
        vendor = self.vendor()
        for n in range(4):
            for customer in ("ann", "bob"):
                shop.tell(customer, (), ("events",), moves=[f"{customer}{n}a", f"{customer}{n}b"])
        shop.deliver(vendor, **self.STREAM, coalesce_ms=60_000, coalesce_max_ms=60_000)
        expected = {c: [f"{c}{n}{x}" for n in range(4) for x in "ab"] for c in ("ann", "bob")}
        assert self.sent(vendor) == expected
        assert shop.waiting("events") == set()
        assert list(shop.client.scan_iter("*lane*")) == []

    def test_a_failing_customer_holds_up_no_other(self, shop):
        vendor = self.vendor(max_rows=1)
        send = vendor.send

        def failing(call):
            if b"ann0" in call.body:
                vendor.calls.append(json.loads(call.body))
                raise TransportError("reset")
            return send(call)

        vendor.send = failing
        for n in range(3):
            for customer in ("ann", "bob"):
                shop.tell(customer, (), ("events",), moves=[f"{customer}{n}"])
        shop.deliver(vendor, **self.STREAM)
        assert self.sent(vendor) == {"ann": ["ann0"], "bob": ["bob0", "bob1", "bob2"]}
        vendor.send = send
        shop.let_go("events")
        shop.deliver(vendor, **self.STREAM)
        assert self.sent(vendor)["ann"] == ["ann0", "ann0", "ann1", "ann2"]
        ids = [rows[0][2] for rows in vendor.calls if rows[0][0] == "ann"]
        assert ids[0] == ids[1], "one id over all attempts"
        assert len(set(ids)) == 3

    def test_one_is_given_up_after_its_attempts_and_the_next_one_goes(self, shop):
        vendor = self.vendor()
        vendor.ends = [Verdict.RETRY, Verdict.RETRY]
        for n in range(2):
            shop.tell("ann", (), ("events",), moves=[f"ann{n}"])
        for _ in range(3):
            shop.deliver(vendor, **self.STREAM, max_attempts=2)
            shop.let_go("events")
        assert self.sent(vendor) == {"ann": ["ann0", "ann0", "ann1"]}
        (letter,) = shop.letters.find(Filter("events", code="http_4"))
        assert letter.attempts == 2
        assert shop.letters.replay([letter], 7) == 1
        shop.deliver(vendor, **self.STREAM)
        assert self.sent(vendor)["ann"][-1] == "ann0"
        assert vendor.calls[-1][0][2] == vendor.calls[0][0][2], "the very event, under its id"
        assert shop.letters.find() == []

    def test_what_it_waited_behind_a_pause_or_a_failing_head_is_not_held_against_it(self, shop):
        vendor = self.vendor()
        vendor.ends = [Verdict.RETRY] * 2
        shop.tell("ann", (), ("events",), moves=["ann0"])
        for days in (4, 8):
            clock = ManualClock(time.time() + days * 86_400)
            shop.deliver(vendor, **self.STREAM, clock=clock, max_attempts=12)
            shop.let_go("events")
            assert shop.letters.find() == []
        shop.deliver(vendor, **self.STREAM)
        assert self.sent(vendor) == {"ann": ["ann0"] * 3}

    def test_one_that_is_refused_while_others_are_taken_is_given_up(self, shop):
        vendor = self.vendor(max_rows=1)
        vendor.bad = {"ann"}
        for n in range(3):
            for customer in ("ann", "bob"):
                shop.tell(customer, (), ("events",), moves=[f"{customer}{n}"])
        for n in range(1, 4):
            for _ in range(2):
                shop.deliver(vendor, **self.STREAM)
                shop.let_go("events")
            shop.tell("bob", (), ("events",), moves=[f"bob{2 + n}"])
        shop.deliver(vendor, **self.STREAM)
        shop.let_go("events")
        shop.deliver(vendor, **self.STREAM)
        assert len(shop.letters.find(Filter("events", code="bad_row"))) == 3
        assert self.sent(vendor)["bob"] == [f"bob{n}" for n in range(6)]

    def test_a_crash_between_lane_and_claim_loses_and_doubles_nothing(self, shop, fail_script):
        for at in range(1, 12):
            shop.client.flushall()
            shop.versions.clear()
            vendor = self.vendor()
            for n in range(2):
                shop.tell("ann", (), ("events",), moves=[f"ann{n}"])
            fail_script("settle", at)
            stage = deliverer(shop.client, KEYS, SystemClock(), vendor, lease=1, **self.STREAM)
            with contextlib.suppress(ResponseError):
                stage.drain()
            stage.close()
            fail_script("settle", 0)
            eventually(lambda vendor=vendor: not self.look(shop, vendor))
            sent = self.sent(vendor)["ann"]
            assert sorted(set(sent)) == ["ann0", "ann1"]
            assert sent.index("ann0") < sent.index("ann1")
            assert sent == sorted(sent)

    def look(self, shop, vendor):
        shop.deliver(vendor, **self.STREAM)
        return shop.waiting("events") or list(shop.client.scan_iter("*lane*"))


class TestLetters:
    def test_they_are_found_by_destination_customer_reason_and_time(self, shop):
        vendor = Vendor()
        for n in range(4):
            shop.tell(f"c{n}", ("crm", "other"))
        shop.tell("taken")
        vendor.bad = {f"c{n}" for n in range(4)}
        shop.deliver(vendor)
        vendor.bad = {"c2"}
        shop.deliver(vendor, name="other")
        find = shop.letters.find
        assert len(find()) == 5
        assert len(find(Filter("crm"))) == 4
        assert len(find(Filter("other", code="bad"))) == 1
        assert len(find(Filter(customers=frozenset({"c2"})))) == 2
        now_ms = int(time.time() * 1000)
        assert find(Filter(since_ms=now_ms + 60_000)) == []
        assert len(find(Filter(since_ms=now_ms - 60_000, until_ms=now_ms + 60_000))) == 5
        assert shop.letters.replay(find(Filter("crm")), now_ms) == 4
        vendor.bad = set()
        shop.deliver(vendor)
        assert len(find()) == 1

"""The delivery engine on a real server: batches, refusals, fields, many destinations."""

import itertools
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.mapping import MappedField
from integrations.outbound.contract import (
    OMIT,
)
from integrations.outbound.errors import TransportError
from tests.builders import channel, deliverer
from tests.integration.core.deliveries import KEYS, Lookups, Shop, Vendor, Working
from tests.servers import eventually
from worker.clock import SystemClock
from worker.delivery.engine import Deliver
from worker.store.delivering import Row
from worker.store.destinations import REFUSALS, Ended

FIELDS = (
    MappedField(source="segment.name", target="segment"),
    MappedField(source="p_alive", target="alive", round=2, dead_band=0.05),
    MappedField(source="historic_number_of_orders", target="orders"),
)


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
        shop.finish_jobs(vendor)
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


class TestOutages:
    def fail(self, shop, *, is_broken):
        """One call that fails, as a probe of an open breaker or as any other."""
        shop.let_go()
        if is_broken:
            shop.client.hset(KEYS.control("crm"), mapping={"opened": 1, "opens": 10})
        vendor = Vendor()
        vendor.ends = [TransportError("down")]
        shop.deliver(vendor)
        assert len(vendor.calls) == 1
        (claim,) = [shop.store.find(row)[0] for row, _ in shop.store.waiting(["crm"])]
        (due_ms,) = [due_ms for _, due_ms in shop.store.waiting(["crm"])]
        return claim.attempts, due_ms / 1000 - time.time()

    def test_a_state_waits_no_longer_for_having_been_a_probe(self, shop):
        shop.tell("c1")
        for _ in range(12):
            attempts, wait_s = self.fail(shop, is_broken=True)
            assert attempts == 0
            assert wait_s <= 61
        assert self.fail(shop, is_broken=False)[0] == 1, "its own failures count"

    def test_an_event_that_was_a_probe_has_been_tried(self, shop):
        shop.tell("c1", (), streams=("crm",), moves=("m1",))
        shop.client.hset(KEYS.control("crm"), mapping={"opened": 1, "opens": 10})
        vendor = Vendor(is_stream=True)
        vendor.ends = [TransportError("down")]
        shop.deliver(vendor)
        (row,) = [row for row, _ in shop.store.waiting(["crm"])]
        assert shop.store.find(row)[0].attempts == 1


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

"""Events in order per customer, and what was given up."""

import contextlib
import json
import time

import pytest
from redis.exceptions import ResponseError

from integrations.outbound.contract import (
    Verdict,
)
from integrations.outbound.errors import TransportError
from tests.builders import deliverer
from tests.integration.core.deliveries import KEYS, Shop, Vendor
from tests.servers import eventually
from worker.clock import ManualClock, SystemClock
from worker.store.letters import Filter


@pytest.fixture
def shop(redis_client):
    return Shop(redis_client)


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

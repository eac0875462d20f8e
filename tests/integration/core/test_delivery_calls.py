"""Calls beside those that deliver: look-ups, tokens, jobs that a vendor works on."""

import json
import time

import pytest

from integrations.outbound.abilities import Progress
from integrations.outbound.contract import (
    Credentials,
    HttpCall,
    Outcome,
    Response,
    Verdict,
)
from tests.integration.core.deliveries import KEYS, Lookups, Shop, Vendor, Working
from worker.clock import ManualClock
from worker.store.delivering import Row


@pytest.fixture
def shop(redis_client):
    return Shop(redis_client)


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


class TestJobs:
    def test_rows_end_as_the_job_says(self, shop):
        vendor = Working()
        vendor.bad = {"c1"}
        for n in range(3):
            shop.tell(f"c{n}")
        shop.deliver(vendor)
        assert shop.waiting() == {"c0", "c1", "c2"}, "accepted is not done"
        assert shop.destinations.state("crm").jobs == 1
        shop.finish_jobs(vendor)
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
        shop.finish_jobs(vendor)
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
            shop.finish_jobs(vendor)
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

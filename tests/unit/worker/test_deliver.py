"""What each end of an attempt leaves behind: a fake receiver, a real store."""

import json
import threading
import time

import pytest

from integrations.outbound.contract import (
    Capabilities,
    HttpCall,
    Matching,
    Outcome,
    Response,
    Verdict,
)
from integrations.outbound.errors import DeadlineError, ForbiddenTargetError
from tests.builders import channel, deliverer
from worker.clock import ManualClock
from worker.delivery.content import parcel
from worker.store.delivering import DeliverStore, Row
from worker.store.destinations import FOREVER, REFUSED_MS, Destinations, Ended
from worker.store.keys import Keys
from worker.store.letters import Letters

KEYS = Keys("t", 1)
ROW = Row(0, "crm", "ann")
OK = Outcome(Verdict.OK)
RETRY = Outcome(Verdict.RETRY, "http_500", "it broke")


class Half:
    """Jitter of one half: the mean delay."""

    def random(self):
        return 0.5


class Receiver:
    """Answers with the programmed outcomes or errors, in turn; the last one stays."""

    name = "crm"
    capabilities = Capabilities(1, 1_000_000, Matching.ALL_OR_NOTHING)

    def __init__(self, *ends):
        self.ends = list(ends)
        self.calls = []

    def encode(self, rows, *, credentials, at_s):
        (row,) = rows
        return HttpCall("crm", "POST", "", {"id": row.delivery_id}, row.body)

    def send(self, call):
        self.calls.append((call.headers["id"], call.body))
        if isinstance(self.ends[0], Exception):
            raise self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        return Response(200, {}, b"")

    def classify(self, rows, response, *, at_s):
        return (self.ends.pop(0) if len(self.ends) > 1 else self.ends[0],) * len(rows)


class Bench:
    """A store with one row to send."""

    def __init__(self, client):
        self.client = client
        self.clock = ManualClock(time.time())
        self.store = DeliverStore(client, KEYS)
        self.destinations = Destinations(client, KEYS)
        self.letters = Letters(client, KEYS)
        self.change(1, {"n": 1})

    def change(self, version, fields, digest=None, customer="ann"):
        """A new insight, with its outbox row, as refresh writes them."""
        body = json.dumps({"customer_id": customer, **fields}).encode()
        head = f"{version}|1|1|1|{digest or f'digest{version}'}\n".encode()
        self.client.set(KEYS.insight(0, customer), head + body)
        self.client.zadd(KEYS.outbox(0, "crm"), {customer: 0}, nx=True)
        return body

    def send(self, receiver, **options):
        """All that is due, once; seconds until the row is due again, None if there is none."""
        options = {"lease": 60_000, "rng": Half(), **options}
        deliver = deliverer(self.client, KEYS, self.clock, receiver, **options)
        deliver.round()
        deliver.finish()
        deliver.close()
        waiting = self.store.waiting(["crm"])
        return round(waiting[0][1] / 1000 - time.time()) if waiting else None

    def take_another(self):
        """The destination takes another customer's row."""
        (call,) = self.destinations.permits(channel(Receiver(OK), lease=60_000), 1).calls
        self.destinations.run([self.destinations.report("crm", Ended(call, "taken"))])

    def due(self):
        """Let the wait pass."""
        self.client.zadd(KEYS.outbox(0, "crm"), {"ann": 0})
        self.destinations.resume("crm")

    def attempts(self):
        claim, _ = self.store.find(ROW)
        return claim.attempts if claim else None


@pytest.fixture
def bench(redis_client):
    return Bench(redis_client)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("end", "waits_s", "paused_ms", "attempts"),
        [
            (OK, None, 0, None),
            (RETRY, 5, 0, 1),
            (DeadlineError("too slow"), 5, 0, 1),
            (Outcome(Verdict.THROTTLED, retry_after_s=90.0), 0, 90_000, 0),
            (Outcome(Verdict.THROTTLED), 0, 5_000, 0),
            (Outcome(Verdict.THROTTLED, retry_after_s=0.0), 0, 1_000, 0),
            (Outcome(Verdict.THROTTLED, retry_after_s=1e9), 0, 3_600_000, 0),
            (Outcome(Verdict.OK, retry_after_s=7.0), None, 7_000, None),
            (Outcome(Verdict.AUTH), 0, REFUSED_MS, 0),
            (ForbiddenTargetError("a private address"), 0, REFUSED_MS, 0),
            (Outcome(Verdict.GONE), 0, FOREVER, 0),
            (Outcome(Verdict.PERMANENT), 5, 0, 1),
            (Outcome(Verdict.SPLIT), 5, 0, 1),
        ],
        ids=lambda end: getattr(getattr(end, "verdict", None), "name", type(end).__name__),
    )
    def test_what_it_leaves(self, bench, end, waits_s, paused_ms, attempts):
        waits = bench.send(Receiver(end))
        assert waits == (None if waits_s is None else pytest.approx(waits_s, abs=1))
        assert bench.destinations.paused_ms("crm") == pytest.approx(paused_ms, abs=500)
        assert bench.attempts() == attempts
        is_ok = isinstance(end, Outcome) and end.verdict is Verdict.OK
        assert (bench.store.find(ROW)[1].version == 1) == is_ok
        assert bench.letters.find() == [], "nobody knows whose fault it is"

    @pytest.mark.parametrize(
        ("end", "alarm"),
        [
            (Outcome(Verdict.AUTH, "http_401"), "refused: http_401"),
            (Outcome(Verdict.GONE, "http_410"), "gone: http_410"),
            (Outcome(Verdict.THROTTLED), ""),
        ],
    )
    def test_people_are_told_until_it_works_again(self, bench, end, alarm):
        receiver = Receiver(end, OK)
        bench.send(receiver)
        assert bench.destinations.state("crm").alarm == alarm
        bench.client.hset(KEYS.control("crm"), mapping={"opened": 1, "until": 1})
        bench.client.hdel(KEYS.control("crm"), "paused")
        bench.send(receiver)
        assert bench.destinations.state("crm").alarm == ""
        assert not bench.destinations.state("crm").is_open

    def test_a_state_is_tried_for_ever_an_hour_apart_at_most(self, bench):
        receiver = Receiver(RETRY)
        waits = []
        for _ in range(14):
            waits.append(bench.send(receiver))
            bench.due()
        assert waits[:4] == pytest.approx([5, 10, 20, 40], abs=1)
        assert waits[-3:] == pytest.approx([1800] * 3, abs=1)
        assert bench.letters.find() == []
        assert len({*receiver.calls}) == 1, "one body under one id, each time"

    def test_what_is_given_up_is_kept_with_its_reason(self, bench):
        receiver = Receiver(RETRY, Outcome(Verdict.PERMANENT, "http_400", "no such field"))
        for _ in range(3):
            assert bench.letters.find() == []
            bench.send(receiver)
            bench.take_another()
            bench.due()
        (letter,) = bench.letters.find()
        assert (letter.row, letter.code, letter.detail) == (ROW, "http_400", "no such field")
        assert (letter.attempts, letter.version) == (3, 1)
        assert letter.delivery_id == receiver.calls[0][0]

    def test_throttling_uses_no_attempt_up(self, bench):
        receiver = Receiver(Outcome(Verdict.THROTTLED))
        for _ in range(5):
            bench.send(receiver)
            bench.due()
        assert bench.attempts() == 0
        assert len(receiver.calls) == 5

    def test_a_success_clears_a_dead_letter(self, bench):
        first = Receiver(Outcome(Verdict.PERMANENT))
        for _ in range(2):
            bench.send(first)
            bench.take_another()
            bench.due()
        assert bench.letters.replay(bench.letters.find(), 7) == 1
        receiver = Receiver(OK)
        assert bench.send(receiver, coalesce_ms=60_000, coalesce_max_ms=60_000) is None
        assert bench.letters.find() == []
        assert len(receiver.calls) == 1
        assert receiver.calls[0][0] != first.calls[0][0], "another delivery"

    def test_a_failing_adapter_gives_up_the_row_that_it_cannot_write(self, bench):
        class Broken(Receiver):
            def encode(self, rows, *, credentials, at_s):
                raise KeyError("secret value")

        receiver = Broken(OK)
        bench.send(receiver)
        (letter,) = bench.letters.find()
        assert (letter.code, "KeyError" in letter.detail) == ("not_encodable", True)
        assert "secret value" not in letter.detail
        assert receiver.calls == []
        assert bench.destinations.state("crm").used == 0

    def test_a_row_that_is_too_large_is_given_up_without_a_call(self, bench):
        bench.change(2, {"n": "x" * 1000})
        receiver = Receiver(OK)
        receiver.capabilities = Capabilities(1, 100, Matching.ALL_OR_NOTHING)
        bench.send(receiver)
        assert [one.code for one in bench.letters.find()] == ["too_large"]
        assert receiver.calls == []

    def test_an_answer_that_does_not_account_for_a_row_is_no_success(self, bench):
        receiver = Receiver(OK)
        receiver.classify = lambda rows, response, *, at_s: ()
        bench.send(receiver)
        assert bench.attempts() == 1


class TestWhatIsSent:
    def test_the_newest_insight_goes_and_attempts_begin_anew(self, bench):
        receiver = Receiver(RETRY, OK)
        bench.send(receiver)
        body = bench.change(2, {"n": 2})
        bench.due()
        assert bench.send(receiver) is None
        assert receiver.calls[1][1] == body != receiver.calls[0][1]
        assert len({delivery_id for delivery_id, _ in receiver.calls}) == 2
        assert bench.store.find(ROW)[1].version == 2

    def test_what_the_destination_holds_is_not_sent_again(self, bench):
        receiver = Receiver(OK)
        bench.send(receiver)
        bench.change(2, {"n": 2}, digest="digest1")
        assert bench.send(receiver) is None
        assert len(receiver.calls) == 1

    def test_what_an_attempt_may_have_left_there_is_sent_over(self, bench):
        """It went from 1 to 2 without an answer and is 1 again: the destination may hold 2."""
        receiver = Receiver(OK, RETRY, OK)
        bench.send(receiver)
        bench.change(2, {"n": 2})
        bench.send(receiver)
        body = bench.change(3, {"n": 1}, digest="digest1")
        bench.due()
        assert bench.send(receiver) is None
        assert receiver.calls[2][1] == body

    def test_a_sender_that_died_is_followed_under_the_same_id(self, bench):
        policy = channel(Receiver(OK), lease=60_000)
        (claimed,) = bench.store.claim(policy, [ROW])
        claim = parcel(policy, claimed, 1).claim
        assert bench.store.hold([(ROW, claim)]) == [True]
        bench.due()
        receiver = Receiver(OK)
        assert bench.send(receiver) is None
        assert [delivery_id for delivery_id, _ in receiver.calls] == [claim.delivery_id]

    def test_nothing_goes_to_a_paused_destination(self, bench):
        receiver = Receiver(OK)
        for by in ("operator", "gone"):
            bench.destinations.pause("crm", by)
            assert bench.send(receiver) is not None
        assert bench.destinations.resume("crm")
        assert not bench.destinations.resume("crm")
        assert receiver.calls == []
        assert bench.send(receiver) is None

    def test_a_row_of_another_destination_is_left(self, bench):
        bench.client.rename(KEYS.outbox(0, "crm"), KEYS.outbox(0, "elsewhere"))
        receiver = Receiver(OK)
        bench.send(receiver)
        assert receiver.calls == []

    def test_calls_overlap(self, bench):
        """A slow receiver holds up nobody else."""
        meet = threading.Barrier(4)
        for n in range(3):
            bench.change(1, {}, customer=f"c{n}")

        class Slow(Receiver):
            def send(self, call):
                meet.wait(10)
                return super().send(call)

        receiver = Slow(OK)
        deliver = deliverer(bench.client, KEYS, bench.clock, receiver, lease=60_000)
        deliver.drain()
        deliver.close()
        assert len(receiver.calls) == 4
        assert bench.store.waiting(["crm"]) == []

    def test_a_call_that_waited_too_long_for_its_turn_is_not_made(self, bench):
        """Its claim may be another's before the answer would come."""
        receiver = Receiver(OK)
        deliver = deliverer(bench.client, KEYS, bench.clock, receiver, lease=60_000)
        claim = bench.store.claim

        def slow(policy, rows):
            claimed = claim(policy, rows)
            bench.clock.advance(31)
            return claimed

        deliver._store.claim = slow
        deliver.round()
        deliver.finish()
        deliver.close()
        assert receiver.calls == []
        assert bench.destinations.state("crm").used == 0
        assert len(bench.store.waiting(["crm"])) == 1
        assert bench.send(receiver) is None

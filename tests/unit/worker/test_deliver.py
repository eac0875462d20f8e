"""What each end of an attempt leaves behind: a fake receiver, a real store."""

import threading
import time

import pytest

from integrations.outbound.contract import HttpCall, Outcome, Response, Verdict
from integrations.outbound.errors import DeadlineError, ForbiddenTargetError
from worker.clock import ManualClock
from worker.deliver import AUTH_PAUSE_S, THROTTLE_DEFAULT_S, Deliver, Endpoint
from worker.store.delivering import DISABLED, DeliverStore, Row
from worker.store.keys import Keys

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
        return (self.ends.pop(0) if len(self.ends) > 1 else self.ends[0],)


class Bench:
    """A store with one row to send."""

    def __init__(self, client):
        self.client = client
        self.clock = ManualClock(time.time() + 5)
        self.store = DeliverStore(client, KEYS, lease_ms=60_000, coalesce_ms=0)
        self.change(1, b'{"n":1}')

    def change(self, version, body, digest=None):
        """A new insight, with its outbox row, as refresh writes them."""
        head = f"{version}|1|1|1|{digest or f'digest{version}'}\n".encode()
        self.client.set(KEYS.insight(0, "ann"), head + body)
        self.client.zadd(KEYS.outbox(0), {ROW.name: 0}, nx=True)

    def send(self, receiver, *, max_attempts=3, endpoint=True):
        """All that is due, once; seconds until the row is due again, None if there is none."""
        deliver = Deliver(
            self.store,
            Endpoint("crm", receiver, receiver) if endpoint else None,
            self.clock,
            concurrency=1,
            max_attempts=max_attempts,
            rng=Half(),
        )
        deliver.round()
        deliver.finish()
        deliver._threads().shutdown()
        waiting = self.store.waiting()
        return round(waiting[0][1] / 1000 - time.time()) if waiting else None

    def due(self):
        """Let the wait pass."""
        self.client.zadd(KEYS.outbox(0), {ROW.name: 0})
        self.store.resume("crm")


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
            (Outcome(Verdict.THROTTLED, retry_after_s=90.0), 90, 90_000, 0),
            (Outcome(Verdict.THROTTLED), THROTTLE_DEFAULT_S, 5_000, 0),
            (Outcome(Verdict.AUTH), AUTH_PAUSE_S, 300_000, 0),
            (Outcome(Verdict.GONE), 0, DISABLED, 0),
            (Outcome(Verdict.PERMANENT), None, 0, None),
            (ForbiddenTargetError("a private address"), None, 0, None),
        ],
        ids=lambda end: getattr(getattr(end, "verdict", None), "name", type(end).__name__),
    )
    def test_what_it_leaves(self, bench, end, waits_s, paused_ms, attempts):
        waits = bench.send(Receiver(end))
        assert waits == (None if waits_s is None else pytest.approx(waits_s, abs=1))
        assert bench.store.paused_ms("crm") == pytest.approx(paused_ms, abs=500)
        claim, delivered, dead = bench.store.find(ROW)
        assert (claim.attempts if claim else None) == attempts
        assert (delivered.version == 1) == (end is OK)
        gone = isinstance(end, ForbiddenTargetError) or (
            isinstance(end, Outcome) and end.verdict is Verdict.PERMANENT
        )
        assert (dead is not None) == gone

    def test_it_is_given_up_after_so_many_attempts_and_kept_with_what_was_sent(self, bench):
        receiver = Receiver(RETRY)
        for waits in (5, 300, None):
            assert bench.send(receiver) == pytest.approx(waits, abs=1)
            if waits:
                bench.due()
        (letter,) = bench.store.dead_letters()
        assert (letter.row, letter.detail) == (ROW, "it broke")
        assert (letter.claim.attempts, letter.claim.body) == (3, b'{"n":1}')
        assert len({*receiver.calls}) == 1, "one body under one id, three times"

    def test_throttling_uses_no_attempt_up(self, bench):
        receiver = Receiver(Outcome(Verdict.THROTTLED))
        for _ in range(5):
            bench.send(receiver)
            bench.due()
        assert bench.store.dead_letters() == []
        assert len(receiver.calls) == 5

    def test_a_success_clears_a_dead_letter(self, bench):
        bench.send(Receiver(Outcome(Verdict.PERMANENT)))
        assert bench.store.replay([ROW], 0) == 1
        receiver = Receiver(OK)
        assert bench.send(receiver) is None
        assert bench.store.dead_letters() == []
        assert len(receiver.calls) == 1


class TestWhatIsSent:
    def test_the_newest_insight_goes_and_attempts_begin_anew(self, bench):
        receiver = Receiver(RETRY, OK)
        bench.send(receiver)
        bench.change(2, b'{"n":2}')
        bench.due()
        assert bench.send(receiver) is None
        assert [body for _, body in receiver.calls] == [b'{"n":1}', b'{"n":2}']
        assert len({delivery_id for delivery_id, _ in receiver.calls}) == 2
        assert bench.store.find(ROW)[1].version == 2

    def test_what_the_destination_holds_is_not_sent_again(self, bench):
        receiver = Receiver(OK)
        bench.send(receiver)
        bench.change(2, b'{"n":2}', digest="digest1")
        assert bench.send(receiver) is None
        assert len(receiver.calls) == 1

    def test_a_sender_that_died_is_followed_under_the_same_id(self, bench):
        first = Receiver(OK)
        (claimed,) = bench.store.claim([ROW])
        dead = Deliver(
            bench.store, Endpoint("crm", first, first), bench.clock, concurrency=1, max_attempts=3
        )
        claim = dead._prepare(claimed)
        assert bench.store.hold([(ROW, claim)]) == [True]
        bench.due()
        receiver = Receiver(OK)
        assert bench.send(receiver) is None
        assert receiver.calls == [(claim.delivery_id, claim.body)]

    def test_nothing_goes_to_a_paused_destination_or_to_none(self, bench):
        receiver = Receiver(OK)
        bench.store.pause("crm", 60_000)
        assert bench.send(receiver) is not None
        bench.store.disable("crm")
        assert bench.send(receiver) is not None
        assert bench.store.resume("crm")
        assert not bench.store.resume("crm")
        assert bench.send(receiver, endpoint=False) is not None
        assert receiver.calls == []
        assert bench.send(receiver) is None

    def test_a_row_of_another_destination_is_left(self, bench):
        bench.client.delete(KEYS.outbox(0))
        bench.client.zadd(KEYS.outbox(0), {"elsewhere\x1fann": 0})
        receiver = Receiver(OK)
        bench.send(receiver)
        assert receiver.calls == []

    def test_calls_overlap(self, bench):
        """A slow receiver holds up nobody else."""
        meet = threading.Barrier(3)
        for n in range(3):
            bench.client.set(KEYS.insight(0, f"c{n}"), b"1|1|1|1|d\n{}")
            bench.client.zadd(KEYS.outbox(0), {f"crm\x1fc{n}": 0})
        bench.client.zrem(KEYS.outbox(0), ROW.name)

        class Slow(Receiver):
            def send(self, call):
                meet.wait(10)
                return super().send(call)

        receiver = Slow(OK)
        deliver = Deliver(
            bench.store, Endpoint("crm", receiver, receiver), bench.clock,
            concurrency=3, max_attempts=3,
        )  # fmt: skip
        deliver.drain()
        deliver._threads().shutdown()
        assert len(receiver.calls) == 3
        assert bench.store.waiting() == []

    def test_a_call_that_waited_too_long_for_its_turn_is_not_made(self, bench):
        """Its claim may be another's before the answer would come."""
        receiver = Receiver(OK)
        deliver = Deliver(
            bench.store, Endpoint("crm", receiver, receiver), bench.clock,
            concurrency=1, max_attempts=3,
        )  # fmt: skip
        (claimed,) = bench.store.claim([ROW])
        bench.clock.advance(31)
        sent = deliver._send(deliver._endpoint, claimed, bench.clock.monotonic() - 31)
        assert sent.outcome.verdict is Verdict.THROTTLED
        assert receiver.calls == []

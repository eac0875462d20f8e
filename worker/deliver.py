"""Deliver: outbox rows become calls to the CRM: the newest insight, at least once, under one id."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from hashlib import blake2b
from random import Random
from typing import Final, NamedTuple, Protocol

from integrations.outbound import registry
from integrations.outbound.contract import (
    Adapter,
    Credentials,
    HttpCall,
    Outcome,
    Response,
    Row,
    Verdict,
)
from integrations.outbound.errors import ForbiddenTargetError, TransportError
from integrations.outbound.http import HttpSender
from integrations.outbound.schedule import delay_s
from worker.clock import Clock
from worker.settings import Settings
from worker.store.delivering import Claim, Claimed, DeliverStore, Settled
from worker.telemetry import logger

log = logger(__name__)

#: A destination that refuses our credentials is asked again after so long.
AUTH_PAUSE_S: Final = 300.0
THROTTLE_DEFAULT_S: Final = 5.0
WAIT_S: Final = 0.02
#: While calls are under way, the outbox is looked at no more often than this.
LOOK_EVERY_S: Final = 0.01
WEBHOOK: Final = "webhook"


class Transport(Protocol):
    """What carries a call."""

    def send(self, call: HttpCall) -> Response:
        """Send it; raises TransportError when no answer came."""


class Endpoint(NamedTuple):
    """A destination: its name in rows, how its calls look, and what carries them."""

    name: str
    adapter: Adapter
    transport: Transport


class Sent(NamedTuple):
    """How one attempt ended."""

    outcome: Outcome
    detail: str


class Deliver:
    """Sends due rows; `round` after `round`, calls overlap across rounds.

    concurrency   calls under way at once
    max_attempts  a delivery is given up after so many
    """

    def __init__(
        self,
        store: DeliverStore,
        endpoint: Endpoint | None,
        clock: Clock,
        *,
        concurrency: int,
        max_attempts: int,
        rng: Random | None = None,
    ) -> None:
        self._store = store
        self._endpoint = endpoint
        self._clock = clock
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._rng = rng or Random()
        self._pool: ThreadPoolExecutor | None = None
        self._pending: dict[Future[Sent], Claimed] = {}
        self._looked = float("-inf")

    def round(self) -> int:
        """Settle what has ended and send what is due; how many rows it moved."""
        settled = self._settle_finished(wait_s=0.0)
        started = self._start(4 * self._concurrency - len(self._pending))
        if not settled and not started and self._pending:
            return self._settle_finished(wait_s=WAIT_S) or 1
        return settled + started

    def finish(self) -> int:
        """Wait for the calls under way and settle them."""
        total = 0
        while self._pending:
            total += self._settle_finished(wait_s=1.0)
        return total

    def drain(self) -> int:
        """Rounds until nothing is due."""
        total = 0
        while done := self.round():
            total += done
        return total + self.finish()

    def _start(self, room: int) -> int:
        endpoint = self._endpoint
        now = self._clock.monotonic()
        if endpoint is None or room <= 0 or (self._pending and now - self._looked < LOOK_EVERY_S):
            return 0
        self._looked = now
        rows = [
            row
            for row in self._store.due(self._clock.now_ms(), room)
            if row.destination == endpoint.name
        ]
        if not rows or self._store.paused_ms(endpoint.name):
            return 0
        started_at = self._clock.monotonic()
        unchanged, ready = [], []
        for claimed in self._store.claim(rows[:room]):
            if not claimed.insight.json or _is_known(claimed):
                claim = claimed.claim._replace(version=claimed.insight.version)
                unchanged.append(Settled(claimed.row, claim, "unchanged", "", 0, ""))
            else:
                ready.append(claimed._replace(claim=self._prepare(claimed)))
        if unchanged:
            self._store.settle(unchanged)
        held = self._store.hold([(one.row, one.claim) for one in ready])
        for claimed, ours in zip(ready, held, strict=True):
            if ours:
                task = self._threads().submit(self._send, endpoint, claimed, started_at)
                self._pending[task] = claimed
        return len(unchanged) + len(ready)

    def _prepare(self, claimed: Claimed) -> Claim:
        """The delivery to attempt: the one begun while the insight stands, else a new one."""
        claim, insight = claimed.claim, claimed.insight
        if claim.body and claim.version == insight.version:
            return claim
        last_ms = claimed.delivered.sent_ms  # so that a replay is another delivery
        name = f"{claimed.row.name}\x1f{insight.version}\x1f{insight.material}\x1f{last_ms}"
        delivery_id = "msg_" + blake2b(name.encode(), digest_size=15).hexdigest()
        first_ms = claim.first_ms or self._clock.now_ms()
        return Claim(claim.token, 0, delivery_id, insight.version, first_ms, insight.json)

    def _send(self, endpoint: Endpoint, claimed: Claimed, started_at: float) -> Sent:
        claim = claimed.claim
        if (self._clock.monotonic() - started_at) * 1000 > self._store.lease_ms / 2:
            return Sent(Outcome(Verdict.THROTTLED, "lease", retry_after_s=0.0), "waited too long")
        at_s = self._clock.now_s()
        customer = claimed.row.customer_id
        row = Row(customer, customer, {}, claim.version, claim.delivery_id, claim.body)
        call = endpoint.adapter.encode([row], credentials=Credentials(), at_s=at_s)
        try:
            answer = endpoint.transport.send(call)
        except ForbiddenTargetError as error:
            return Sent(Outcome(Verdict.PERMANENT, "forbidden"), str(error))
        except TransportError as error:
            return Sent(Outcome(Verdict.RETRY, "transport"), f"{type(error).__name__}: {error}")
        (outcome,) = endpoint.adapter.classify([row], answer, at_s=self._clock.now_s())
        return Sent(outcome, outcome.detail or outcome.code)

    def _settle_finished(self, wait_s: float) -> int:
        if not self._pending:
            return 0
        done, _ = wait(self._pending, timeout=wait_s, return_when=FIRST_COMPLETED)
        settled = []
        for task in done:
            claimed = self._pending.pop(task)
            settled.append(self._end(claimed, task.result()))
        if settled:
            self._store.settle(settled)
        return len(settled)

    def _end(self, claimed: Claimed, sent: Sent) -> Settled:
        verdict, claim = sent.outcome.verdict, claimed.claim
        digest = claimed.insight.material
        if verdict is Verdict.OK:
            return Settled(claimed.row, claim, "ok", digest, 0, sent.detail)
        if verdict is Verdict.GONE:
            self._store.disable(claimed.row.destination)
            return self._retry(claimed, claim, 0.0, sent)
        if verdict is Verdict.AUTH:
            self._store.pause(claimed.row.destination, int(1000 * AUTH_PAUSE_S))
            return self._retry(claimed, claim, AUTH_PAUSE_S, sent)
        if verdict is Verdict.THROTTLED:
            asked_s = sent.outcome.retry_after_s
            wait_s = THROTTLE_DEFAULT_S if asked_s is None else asked_s
            if wait_s:
                self._store.pause(claimed.row.destination, int(1000 * wait_s))
            return self._retry(claimed, claim, wait_s, sent)
        attempted = claim._replace(attempts=claim.attempts + 1)
        delay = delay_s(attempted.attempts, self._rng)
        if (
            verdict is Verdict.RETRY
            and delay is not None
            and attempted.attempts < self._max_attempts
        ):
            return self._retry(claimed, attempted, delay, sent)
        log.warning(
            "delivery given up", destination=claimed.row.destination, delivery_id=claim.delivery_id
        )
        return Settled(claimed.row, attempted, "dead", digest, 0, sent.detail)

    def _retry(self, claimed: Claimed, claim: Claim, wait_s: float, sent: Sent) -> Settled:
        return Settled(
            claimed.row, claim, "retry", claimed.insight.material, int(1000 * wait_s), sent.detail
        )

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="deliver")
        return self._pool


def _is_known(claimed: Claimed) -> bool:
    """Does the destination hold this content already, with nothing of ours under way?"""
    return not claimed.claim.body and claimed.delivered.digest == claimed.insight.material


def endpoint_of(settings: Settings) -> Endpoint | None:
    """The destination that the settings name, or None."""
    if settings.webhook_url is None or settings.webhook_secret is None:
        return None
    adapter = registry.build(
        "standard_webhook",
        {"url": str(settings.webhook_url)},
        {"secrets": [settings.webhook_secret]},
    )
    host = settings.webhook_url.host
    trusted = frozenset({host}) if settings.webhook_allow_private and host else frozenset()
    transport = HttpSender(trusted_hosts=trusted, deadline_s=settings.webhook_timeout_s)
    return Endpoint(WEBHOOK, adapter, transport)

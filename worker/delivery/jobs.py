"""Jobs: calls that a destination only accepts. It is asked later what became of their rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final, NamedTuple, cast

from integrations.outbound.abilities import Polling, Progress
from integrations.outbound.contract import Outcome, Row, Verdict
from integrations.outbound.errors import TransportError
from worker.clock import Clock
from worker.delivery.channel import Channel, defect
from worker.delivery.content import Parcel
from worker.delivery.ends import end_of_call, end_of_row, parts_of
from worker.delivery.tokens import Tokens, credentials
from worker.store.delivering import (
    Claimed,
    Delivered,
    DeliverStore,
    Event,
    pack,
    read_claim,
)
from worker.store.delivering import Row as StoredRow
from worker.store.destinations import Destinations, Ended, Token
from worker.store.refreshing import Held

#: Rows of a job that nobody hears of are sent again after so long.
_PATIENCE_MS: Final = 6 * 3_600_000
_FIRST_ASK_MS: Final = 1_000
_ASK_AGAIN_MS: Final = 1_000


class Task(NamedTuple):
    """A permitted call, the token it carries, and when its rows were claimed (monotonic s)."""

    call: str
    token: Token
    claimed_at: float


class Jobs:
    """Begins jobs, and asks about them."""

    patience_ms = _PATIENCE_MS

    def __init__(
        self,
        store: DeliverStore,
        destinations: Destinations,
        tokens: Tokens,
        clock: Clock,
        *,
        max_attempts: int,
        rng: Random,
    ) -> None:
        self._store = store
        self._destinations = destinations
        self._tokens = tokens
        self._clock = clock
        self._max_attempts = max_attempts
        self._rng = rng

    def begin(self, channel: Channel, accepted: Sequence[tuple[Parcel, str]]) -> None:
        """Remember jobs with their rows; before the rows are settled, so that none is forgotten."""
        for job in dict.fromkeys(job for _, job in accepted):
            parcels = [parcel for parcel, one in accepted if one == job]
            record = {"begun_ms": self._clock.now_ms(), "rows": [_packed(one) for one in parcels]}
            self._destinations.put_job(
                channel.name, job, json.dumps(record).encode(), _FIRST_ASK_MS
            )

    def ask(self, channel: Channel, call: str, token: Token, job: str, record: bytes) -> int:
        """Ask about a job, by a permitted call; how many rows it settled."""
        adapter = cast("Polling", channel.adapter)  # only they have jobs
        fields = json.loads(record)
        parcels = [_unpacked(channel, one) for one in fields["rows"]]
        rows = [one.row for one in parcels]
        try:
            answer = channel.transport.send(adapter.poll(job, credentials=credentials(token)))
            progress = adapter.read_poll(job, rows, answer, at_s=self._clock.now_s())
        except Exception as error:  # noqa: BLE001  a defect of one adapter stops no other
            if not isinstance(error, TransportError):
                defect(error)
            self._report(channel, Ended(call, "failed", jitter=self._rng.random()))
            if self._clock.now_ms() - fields["begun_ms"] > _PATIENCE_MS:
                self._destinations.drop_job(channel.name, job)  # its rows are due again by now
            return 0
        spoken = [progress.trouble] if progress.trouble else progress.outcomes or ()
        ended = self._tokens.judged(channel, token, end_of_call(call, spoken, self._rng.random()))
        taken = self._destinations.taken(channel.name) if ended.how == "rejected" else None
        self._report(channel, ended)
        if progress.outcomes is None and self._clock.now_ms() - fields["begun_ms"] < _PATIENCE_MS:
            after_ms = max(_ASK_AGAIN_MS, int(1000 * progress.after_s))
            following = progress.job or job
            self._destinations.put_job(channel.name, following, record, after_ms, follows=job)
            return 0
        return self._settle(channel, job, parcels, progress, taken)

    def _settle(
        self,
        channel: Channel,
        job: str,
        parcels: Sequence[Parcel],
        progress: Progress,
        taken: tuple[int, int] | None,
    ) -> int:
        unheard = Outcome(Verdict.RETRY, "silent", "the job does not account for the row")
        outcomes = [*(progress.outcomes or ()), *[unheard] * len(parcels)][: len(parcels)]
        parts = parts_of(job, outcomes)
        settled = [
            end_of_row(
                channel, parcel, outcome, part=part, max_attempts=self._max_attempts,
                rng=self._rng, taken=taken,
            )
            for parcel, outcome, part in zip(parcels, outcomes, parts, strict=True)
        ]  # fmt: skip
        self._store.settle(channel, settled)
        self._destinations.drop_job(channel.name, job)
        return len(settled)

    def _report(self, channel: Channel, ended: Ended) -> None:
        self._destinations.run([self._destinations.report(channel.name, ended)])


def _packed(parcel: Parcel) -> dict[str, Any]:
    row, claimed = parcel.row, parcel.claimed
    return {
        "shard": claimed.row.shard,
        "customer_id": row.customer_id,
        "key": row.key,
        "claim": pack(parcel.claim).decode(),
        "digest": parcel.digest,
        "before": dict(claimed.delivered.sent.fields),
        "event": [claimed.event.digest, row.event, row.occurred_s],
    }


def _unpacked(channel: Channel, fields: dict[str, Any]) -> Parcel:
    claim = read_claim(fields["claim"].encode())
    customer = fields["customer_id"]
    digest, event, occurred_s = fields["event"]
    row = Row(
        customer, fields["key"], claim.sent.fields, claim.version, claim.delivery_id, b"", event,
        occurred_s, claim.sent.vendor_id,
    )  # fmt: skip
    before = Delivered()
    before = before._replace(sent=before.sent._replace(fields=fields["before"]))
    stored = StoredRow(fields["shard"], channel.name, customer)
    claimed = Claimed(stored, claim, Held(), Event(digest), before)
    return Parcel(claimed, claim, row, fields["digest"])

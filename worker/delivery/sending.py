"""One call: look up, encode, send, read the answer, and record how each row ended. In a thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import Final, cast

from integrations.outbound.abilities import Lookup
from integrations.outbound.contract import HttpCall, Outcome, Response, Row, Verdict
from integrations.outbound.errors import ForbiddenTargetError, TransportError
from worker.clock import Clock
from worker.delivery.channel import Channel, defect
from worker.delivery.content import Parcel
from worker.delivery.ends import end_of_call, end_of_row, kept, parts_of, state_delay_s
from worker.delivery.jobs import Jobs, Task
from worker.delivery.settling import Settler
from worker.delivery.tokens import Tokens, credentials
from worker.store.delivering import DeliverStore, Settled
from worker.store.destinations import Destinations, Ended, Token
from worker.telemetry import logger

log = logger(__name__)

_PERMIT_EVERY_S: Final = 0.05
_SILENT: Final = Outcome(Verdict.RETRY, "silent", "the answer does not account for the row")
_UNSENT: Final = Outcome(Verdict.RETRY, "unsent")


class Sender:
    """Makes calls. What it needs to know comes as arguments; what it learns goes to the stores."""

    def __init__(
        self,
        store: DeliverStore,
        destinations: Destinations,
        tokens: Tokens,
        jobs: Jobs,
        clock: Clock,
        *,
        max_attempts: int,
        rng: Random,
    ) -> None:
        self._destinations = destinations
        self._settler = Settler(store, destinations)
        self._tokens = tokens
        self._jobs = jobs
        self._clock = clock
        self._max_attempts = max_attempts
        self._rng = rng

    def send(
        self,
        channel: Channel,
        call: str,
        parcels: Sequence[Parcel],
        token: Token,
        claimed_at: float,
    ) -> int:
        """Make a permitted call with some rows; how many rows it settled.

        claimed_at  when the rows were claimed, by the monotonic clock
        """
        task = Task(call, token, claimed_at)
        found, task = self._looked_up(channel, parcels, task)
        ready = [at for at, one in enumerate(found) if isinstance(one, Parcel)]
        chosen = [one for one in found if isinstance(one, Parcel)]
        outcomes, ended = self._call(channel, chosen, task)
        by_row = dict(zip(ready, outcomes, strict=True))
        whole = [by_row[at] if isinstance(one, Parcel) else one for at, one in enumerate(found)]
        current = [
            one if isinstance(one, Parcel) else parcel
            for one, parcel in zip(found, parcels, strict=True)
        ]
        return self._record(channel, current, whole, ended)

    def _record(
        self,
        channel: Channel,
        parcels: Sequence[Parcel],
        outcomes: Sequence[Outcome],
        ended: Ended,
    ) -> int:
        accepted = [
            (one, end.job or "")
            for one, end in zip(parcels, outcomes, strict=True)
            if end.verdict is Verdict.ACCEPTED
        ]
        self._jobs.begin(channel, accepted)
        parts = parts_of(ended.call, outcomes)
        taken = self._destinations.taken(channel.name) if ended.how == "rejected" else None
        is_probe = self._destinations.is_probe(ended.call)
        settled = [
            self._end(channel, one, outcome, part, taken, is_probe=is_probe)
            for one, outcome, part in zip(parcels, outcomes, parts, strict=True)
        ]
        for one in settled:
            if one.outcome == "dead":
                log.warning(
                    "delivery given up", destination=channel.name, code=one.code,
                    delivery_id=one.claim.delivery_id,
                )  # fmt: skip
        self._settler.put(channel, settled, ended)
        return len(settled)

    def _end(
        self,
        channel: Channel,
        parcel: Parcel,
        outcome: Outcome,
        part: str,
        taken: tuple[int, int] | None,
        *,
        is_probe: bool,
    ) -> Settled:
        if outcome is _UNSENT:
            return kept(parcel, "unsent")
        if outcome.verdict is Verdict.ACCEPTED:
            return kept(parcel, "accepted", wait_ms=self._jobs.patience_ms)
        return end_of_row(
            channel, parcel, outcome, part=part, max_attempts=self._max_attempts, rng=self._rng,
            taken=taken, is_probe=is_probe,
        )  # fmt: skip

    def _call(
        self, channel: Channel, parcels: Sequence[Parcel], task: Task
    ) -> tuple[list[Outcome], Ended]:
        """The outcomes of the rows, and how the call ended."""
        cleared = channel.capabilities.cleared
        rows = [one.row._replace(fields=cleared(one.row.fields)) for one in parcels]
        unused = Ended(task.call, "unused")
        if not rows:
            return [], unused
        if not task.call or self._is_late(channel, task):
            return [_UNSENT] * len(rows), unused
        try:
            request = channel.adapter.encode(
                rows, credentials=credentials(task.token), at_s=self._clock.now_s()
            )
        except Exception as error:  # noqa: BLE001  one row that an adapter cannot write, alone is given up
            detail = f"the adapter cannot write it: {type(error).__name__}"
            return _refused_as_a_whole(rows, "not_encodable", detail), unused
        if _is_too_large(channel, rows, len(request.body)):
            return _refused_as_a_whole(rows, "too_large", "more bytes than it takes"), unused
        answer = self._exchange(channel, request)
        outcomes = self._read(channel, rows, answer)
        ended = self._end_of_call(channel, task, outcomes)
        if channel.gather_ms and ended.how in {"failed", "rejected"}:
            attempts = 1 + max(parcel.claim.attempts for parcel in parcels)
            rest_ms = int(1000 * state_delay_s(attempts, self._rng))
            ended = ended._replace(how="failed", rest_ms=max(ended.rest_ms, rest_ms))
        if channel.gather_ms and len(rows) == channel.capabilities.max_rows:
            ended = ended._replace(more=True)
        return outcomes, ended

    def _end_of_call(self, channel: Channel, task: Task, outcomes: Sequence[Outcome]) -> Ended:
        ended = end_of_call(task.call, outcomes, self._rng.random())
        return self._tokens.judged(channel, task.token, ended)

    def _exchange(self, channel: Channel, request: HttpCall) -> Response | Outcome:
        try:
            return channel.transport.send(request)
        except ForbiddenTargetError as error:
            return Outcome(Verdict.AUTH, "forbidden", str(error))
        except TransportError as error:
            return Outcome(Verdict.RETRY, "transport", f"{type(error).__name__}: {error}")

    def _read(
        self, channel: Channel, rows: Sequence[Row], answer: Response | Outcome
    ) -> list[Outcome]:
        if isinstance(answer, Outcome):
            return [answer] * len(rows)
        try:
            outcomes = list(channel.adapter.classify(rows, answer, at_s=self._clock.now_s()))
        except Exception as error:  # noqa: BLE001  a defect of one adapter stops no other
            outcomes = [_of_defect(channel, answer, defect(error), len(rows))] * len(rows)
        outcomes += [_SILENT] * (len(rows) - len(outcomes))
        return [_alone(one) if len(rows) == 1 else one for one in outcomes[: len(rows)]]

    def _looked_up(
        self, channel: Channel, parcels: Sequence[Parcel], task: Task
    ) -> tuple[list[Parcel | Outcome], Task]:
        """The rows with the vendor's ids, where it has to be asked, or why there is none.

        The question uses the permit up, and the write gets another: whoever held one while waiting
        for the next would stand in the way of all who do the same. "" where there is none in time.
        """
        unknown = [one for one in parcels if one.row.vendor_id is None]
        if not channel.looks_up or not unknown:
            return list(parcels), task
        if self._is_late(channel, task):
            return [_UNSENT] * len(parcels), task
        outcomes = self._ask(channel, [one.row for one in unknown], task)
        ended = self._end_of_call(channel, task, outcomes)
        if ended.how in {"taken", "rejected"}:  # it has answered, and written nothing
            ended = ended._replace(how="ok")
        self._destinations.run([self._destinations.report(channel.name, ended)])
        end_of = dict(zip((one.claimed.row for one in unknown), outcomes, strict=True))
        found = [_with_id(one, end_of.get(one.claimed.row)) for one in parcels]
        if not any(isinstance(one, Parcel) for one in found):
            return found, task
        return found, task._replace(call=self._permit(channel, task))

    def _ask(self, channel: Channel, rows: Sequence[Row], task: Task) -> list[Outcome]:
        adapter = cast("Lookup", channel.adapter)
        try:
            answer = self._exchange(
                channel, adapter.lookup(rows, credentials=credentials(task.token))
            )
            if isinstance(answer, Outcome):
                return [answer] * len(rows)
            read = adapter.read_lookup(rows, answer, at_s=self._clock.now_s())
        except Exception as error:  # noqa: BLE001  a defect of one adapter stops no other
            return [defect(error)] * len(rows)
        return [*read, *[_SILENT] * (len(rows) - len(read))][: len(rows)]

    def _permit(self, channel: Channel, task: Task) -> str:
        """Leave for one call more, waited for while the lease allows it; "" if there is none."""
        while not self._is_late(channel, task):
            permits = self._destinations.permits(channel, 1)
            if permits.calls:
                return permits.calls[0]
            if permits.why not in {"limit", "concurrency"}:
                return ""
            time.sleep(min(_PERMIT_EVERY_S, permits.wait_ms / 1000))
        return ""

    def _is_late(self, channel: Channel, task: Task) -> bool:
        """Could a call that begins now outlast the lease of its rows?"""
        return 1000 * (self._clock.monotonic() - task.claimed_at) > channel.lease_ms / 2


def _is_too_large(channel: Channel, rows: Sequence[Row], size: int) -> bool:
    capabilities = channel.capabilities
    of_a_row = capabilities.max_row
    if size > capabilities.max_bytes:
        return True
    if of_a_row is None or size <= of_a_row:
        return False
    return len(rows) == 1 or any(len(str(row.fields)) + len(row.body) > of_a_row for row in rows)


def _refused_as_a_whole(rows: Sequence[Row], code: str, detail: str) -> list[Outcome]:
    verdict = Verdict.PERMANENT if len(rows) == 1 else Verdict.SPLIT
    return [Outcome(verdict, code, detail)] * len(rows)


def _of_defect(channel: Channel, answer: Response, outcome: Outcome, rows: int) -> Outcome:
    """The row whose answer the adapter cannot read is found by halves; an outage is no row's."""
    if rows == 1 or answer.status >= 500 or channel.gather_ms:
        return outcome
    return Outcome(Verdict.SPLIT, outcome.code, outcome.detail)


def _alone(outcome: Outcome) -> Outcome:
    """A single row cannot be split: it is what the destination refuses."""
    if outcome.verdict is not Verdict.SPLIT:
        return outcome
    return Outcome(Verdict.PERMANENT, outcome.code, outcome.detail)


def _with_id(parcel: Parcel, outcome: Outcome | None) -> Parcel | Outcome:
    if outcome is None:
        return parcel
    if outcome.verdict is not Verdict.OK or outcome.vendor_id is None:
        return outcome if outcome.verdict is not Verdict.OK else _SILENT
    sent = parcel.claim.sent._replace(vendor_id=outcome.vendor_id)
    return parcel._replace(
        claim=parcel.claim._replace(sent=sent), row=parcel.row._replace(vendor_id=outcome.vendor_id)
    )

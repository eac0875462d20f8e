"""What the end of an attempt means for its row, and for its destination. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Final

from integrations.outbound.contract import Outcome, Verdict
from integrations.outbound.schedule import delay_s
from worker.delivery.channel import DEFECT, REST_MAX_S, Channel
from worker.delivery.content import Parcel
from worker.store.delivering import Claim, Delivered, Sent, Settled
from worker.store.destinations import OPEN_MAX_MS, Ended

#: A state is tried again after 5 s on average at first, then twice as long, at most so long.
STATE_FIRST_S: Final = 5.0
STATE_MAX_S: Final = 3600.0
#: Nothing is tried again sooner: a call that came to no end here has come to one there by then.
RETRY_MIN_S: Final = 1.0
#: A destination that is busy and names no time gets so much rest, and never less than the second.
REST_S: Final = 5.0
REST_MIN_S: Final = 1.0


def state_delay_s(attempts: int, rng: Random) -> float:
    """Full jitter: uniform in [0, min(hour, 10 s x 2^(attempts - 1))); a state never expires.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    longest_s = min(STATE_MAX_S, 2 * STATE_FIRST_S * 2.0 ** min(attempts - 1, 20))
    return max(RETRY_MIN_S, rng.random() * longest_s)


def end_of_row(
    channel: Channel,
    parcel: Parcel,
    outcome: Outcome,
    *,
    part: str,
    max_attempts: int,
    rng: Random,
    taken: tuple[int, int] | None = None,
    is_probe: bool = False,
) -> Settled:
    """How a row's attempt ended.

    A row that is refused is given up where that is its own fault: the destination takes others, in
    the same call or by one that began after the row was first refused. Where it takes nothing, who
    is at fault is not known, and the row is tried again as after an error.

    part          the part it belongs to from now on, where its call is split
    max_attempts  of an event, and of a row whose answers the adapter fails to read
    taken         of a call by which no row was taken: how many calls the destination has taken rows
                  by, and how many are under way (`Destinations.taken`)
    is_probe      the destination fails as a whole: no state's own wait grows by that, so that all
                  are there soon when it is back; other rows go with the next probe
    """
    verdict, claim = outcome.verdict, parcel.claim
    vendor_id = claim.sent.vendor_id if outcome.vendor_id is None else outcome.vendor_id
    is_gone = outcome.vendor_id == "" and verdict is not Verdict.OK  # told to `parcel` by the claim
    claim = claim._replace(sent=Sent(claim.sent.fields, "" if is_gone else vendor_id or None))
    if verdict is Verdict.OK:
        return _settled(parcel, claim, "ok", outcome, holds=parcel.holds(claim.sent))
    is_own = taken is None or 0 < claim.doubt <= taken[0]
    if taken is not None and verdict in {Verdict.SPLIT, Verdict.PERMANENT}:
        claim = claim._replace(doubt=claim.doubt or taken[0] + max(1, taken[1]))
    if verdict is Verdict.SPLIT:
        return _settled(parcel, claim._replace(part=part), "split", outcome)
    if verdict is Verdict.RETRY or (verdict is Verdict.PERMANENT and not is_own):
        if is_probe and not channel.is_stream and not channel.gather_ms and outcome.code != DEFECT:
            rest_ms = 1000 * RETRY_MIN_S + rng.random() * OPEN_MAX_MS
            return _settled(parcel, claim, "retry", outcome, wait_ms=int(rest_ms))
        claim = claim._replace(attempts=claim.attempts + 1)
        wait_s = _delay_s(channel, claim.attempts, max_attempts, rng)
        is_defect = outcome.code == DEFECT and claim.attempts >= max_attempts
        if wait_s is not None and not is_defect:
            return _settled(parcel, claim, "retry", outcome, wait_ms=int(1000 * wait_s))
    elif verdict is not Verdict.PERMANENT:  # the destination as a whole rests, or is paused
        return _settled(parcel, claim, "retry", outcome)
    else:
        claim = claim._replace(attempts=claim.attempts + 1)
    return _settled(parcel, claim, "dead", outcome)


def kept(parcel: Parcel, outcome: str, *, wait_ms: int = 0) -> Settled:
    """The row stays as it is: its call was not made, or the destination works on it."""
    return _settled(parcel, parcel.claim, outcome, Outcome(Verdict.OK), wait_ms=wait_ms)


def parts_of(call: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Of a call that was refused as a whole: the half that each row belongs to from now on."""
    splits = [at for at, one in enumerate(outcomes) if one.verdict is Verdict.SPLIT]
    half = (len(splits) + 1) // 2
    parts = [""] * len(outcomes)
    for number, at in enumerate(splits):
        name = f"{call}\x1f{number < half}"
        parts[at] = blake2b(name.encode(), digest_size=6).hexdigest()
    return parts


def end_of_call(call: str, outcomes: Sequence[Outcome], jitter: float) -> Ended:
    """What the outcomes of all its rows mean for the destination."""
    verdicts = {one.verdict for one in outcomes}
    rests = [one.retry_after_s for one in outcomes if one.retry_after_s is not None]
    rest_s = max(rests, default=0.0)
    if Verdict.THROTTLED in verdicts:
        rest_s = max(rest_s if rests else REST_S, REST_MIN_S)
    rest_ms = int(1000 * min(rest_s, REST_MAX_S))
    for verdict, how in ((Verdict.GONE, "gone"), (Verdict.AUTH, "refused")):
        if verdict in verdicts:
            code = next(one.code for one in outcomes if one.verdict is verdict)
            return Ended(call, how, rest_ms, f"{how}: {code}"[:200], jitter)
    if Verdict.OK in verdicts:
        return Ended(call, "taken", rest_ms, jitter=jitter)
    for one in outcomes:
        if one.verdict in {Verdict.PERMANENT, Verdict.SPLIT}:
            return Ended(call, "rejected", rest_ms, f"takes nothing: {one.code}"[:200], jitter)
    how = "failed" if verdicts == {Verdict.RETRY} else "ok"
    return Ended(call, how, rest_ms, jitter=jitter)


def _delay_s(channel: Channel, attempts: int, max_attempts: int, rng: Random) -> float | None:
    """Seconds until the next attempt; None: there is none."""
    if channel.gather_ms:
        return 0.0  # all rows of a digest wait for one call: the destination rests
    if not channel.is_stream:
        return state_delay_s(attempts, rng)
    wait_s = None if attempts >= max_attempts else delay_s(attempts, rng)
    return None if wait_s is None else max(RETRY_MIN_S, wait_s)


def _settled(
    parcel: Parcel,
    claim: Claim,
    outcome: str,
    why: Outcome,
    *,
    holds: Delivered | None = None,
    wait_ms: int = 0,
) -> Settled:
    return Settled(
        parcel.claimed.row, claim, outcome, holds or Delivered(), wait_ms,
        why.code, why.detail or why.code, parcel.claimed.event,
    )  # fmt: skip

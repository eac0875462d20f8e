"""Work orders: a name, options and one call each. None but `events.emit` carries what exists
nowhere else.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, Final

from celery.exceptions import Reject
from redis.exceptions import RedisError

from worker import pump
from worker.app import EMIT, NO_LIMIT_S, app, send
from worker.process import runtime, settings
from worker.registry.artifact import StorageError
from worker.route import route
from worker.store.door import Arrival, BusyError
from worker.store.models import KINDS, TooFewError
from worker.telemetry import logger
from worker.training.memory import MemoryShortError

log = logger(__name__)

#: What an order for a training may give as its reason; every version keeps it.
LONGEST_REASON = 200
#: An event that finds no room, or no server, comes again after so many seconds.
EMIT_AGAIN_S: Final = 2


class RetrainRequestError(ValueError):
    """An order for a training that asks for nothing that there is; the text says why."""


@app.task(name=EMIT, bind=True, max_retries=None, acks_on_failure_or_timeout=False)
def emit(self: Any, *events: Any, **named: Any) -> None:
    """Append events, single ones and lists of them, to the intake: for applications that already
    run Celery. Here the message is the only copy, so it is kept until the server has taken all of
    it, and nothing is judged: what is no event the router finds, and holds with its reason.
    """
    given = [*events, *named.values()]
    each = [one for part in given for one in (part if isinstance(part, list) else [part])]
    try:
        runtime().door.take(Arrival(_as_bytes(one)) for one in each)
    except (BusyError, RedisError) as error:
        log.warning("events wait", reason=str(error))
        try:
            self.retry(exc=error, countdown=EMIT_AGAIN_S)
        except Reject:  # the broker did not take the copy: then this message has to come again
            raise Reject(error, requeue=True) from None


def _as_bytes(event: Any) -> bytes:
    """The event as its producer wrote it; half a character is left for the reader to refuse."""
    return json.dumps(event, ensure_ascii=False).encode(errors="surrogatepass")


@app.task(name="ingest.pump")
def pump_ingest(slot: int, token: str = "") -> None:
    """Route the intake and drain shards; rings refresh."""
    active = runtime()

    def work() -> int:
        routed = route(active.intake, active.settings.shards, reading=active.reading)
        done = active.ingest.round()
        if done.marked:
            active.bells.ring("refresh")
        if done.asked:
            send("models.train")
        return routed + done.entries

    _pump("ingest", slot, token, work)


@app.task(name="refresh.pump")
def pump_refresh(slot: int, token: str = "") -> None:
    """Refresh marked customers; rings deliver."""
    active = runtime()

    def work() -> int:
        done = active.refresh.round()
        if done.pushed:
            active.bells.ring("deliver")
        return done.customers

    _pump("refresh", slot, token, work)


@app.task(name="deliver.pump")
def pump_deliver(slot: int, token: str = "") -> None:
    """Send what is due."""
    active = runtime()
    if not _pump("deliver", slot, token, active.deliver.round):
        active.deliver.finish()


@app.task(name="ingest.drain")
def drain_ingest(shard: int) -> None:
    """Apply what waits in one shard, whatever the pumps do."""
    active = runtime()
    while active.ingest.round([shard]).entries:
        active.bells.ring("refresh")


@app.task(name="models.retrain", throws=(RetrainRequestError,))
def retrain(kinds: Any = None, reason: Any = "request") -> None:
    """Ask for trainings. They begin behind what lies in the queue, so that requests that came
    while a training ran become one.

    kinds   names of models; None = all
    Raises  RetrainRequestError, and asks for nothing
    """
    try:
        chosen = checked_request(kinds, reason)
    except RetrainRequestError as error:
        log.error("training request refused", reason=str(error))  # noqa: TRY400  no trace
        raise
    if runtime().retrain.request(chosen, reason=reason):
        send("models.train")


def checked_request(kinds: Any, reason: Any) -> list[str]:
    """The models that an order asks for, in the order in which they are trained.

    Raises RetrainRequestError. Whoever sends it may be a program in any language.

    >>> checked_request(["forecasts"], "check"), len(checked_request(None, "check"))
    (['forecasts'], 3)
    """
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON:
        raise RetrainRequestError(f"args.1: the reason is no text of up to {LONGEST_REASON}")
    if kinds is None:
        return list(KINDS)
    if not isinstance(kinds, list) or not kinds:
        raise RetrainRequestError("args.0: the models are neither a list of names nor null")
    for position, kind in enumerate(kinds):
        if kind not in KINDS:
            raise RetrainRequestError(f"args.0.{position}: no model; there are {', '.join(KINDS)}")
    return [kind for kind in KINDS if kind in kinds]


@app.task(name="models.train", acks_late=False, time_limit=NO_LIMIT_S)
def train() -> None:
    """Train what waits and publish it; acknowledged at once, as it may outlast any time limit.
    What waits is kept by the server: an order that is lost is sent again by the tick.
    """
    try:
        published = runtime().retrain.serve()
    except (TooFewError, StorageError) as error:
        log.warning("training put off", reason=str(error))
        return
    except MemoryShortError as error:
        log.error("training refused", reason=str(error))  # noqa: TRY400  no trace
        return
    if published:
        runtime().snapshot_builder.run()
        runtime().bells.ring("refresh")


@app.task(name="models.watch", acks_late=False, time_limit=NO_LIMIT_S)
def watch() -> None:
    """Measure whether the live models still fit; go back from what is clearly worse than before,
    and ask for the trainings that are called for.
    """
    from worker.rollout_guard import guard  # noqa: PLC0415  numpy: only where it is used
    from worker.triggers import watch_of  # noqa: PLC0415  numpy: only where it is used

    guard(runtime())
    if watch_of(runtime()).run():
        send("models.train")


@app.task(name="models.shadow", acks_late=False, time_limit=NO_LIMIT_S)
def shadow() -> None:
    """Let versions in the shadow score some customers; those whose time is over go live or wait."""
    from worker.shadow import shadow_of  # noqa: PLC0415  numpy: only where it is used

    if shadow_of(runtime()).run().promoted:
        runtime().snapshot_builder.run()
        runtime().bells.ring("refresh")


@app.task(name="models.snapshot", acks_late=False, time_limit=NO_LIMIT_S)
def snapshot() -> None:
    """Build a snapshot of the index if one is due."""
    runtime().snapshot_builder.run()


@app.task(name="segments.follow", acks_late=False, time_limit=NO_LIMIT_S)
def follow() -> None:
    """Let the segments follow the customers by a step; refresh reads what comes of it."""
    from worker.follow import follow_of  # noqa: PLC0415  numpy: only where it is used

    follow_of(runtime()).run()


@app.task(name="tick")
def tick() -> None:
    """Look for forgotten work; several beats are harmless."""
    runtime().tick(send).run(settings().tick_interval_s)


@app.task(name="pulse")
def pulse() -> None:
    """Nothing: that a worker receives it shows its watchdog that it is alive."""


def _pump(stage: str, slot: int, token: str, work: Any) -> bool:
    """Work until the budget is spent; does the pump go on?"""
    active, config = runtime(), settings()
    token = token or secrets.token_hex(8)

    def nap() -> None:
        active.bells.wait(stage, config.pump_nap_ms / 1000)

    again = pump.run(
        work,
        nap,
        lock=active.locks,
        name=pump.lock_name(stage, slot),
        token=token,
        ttl_ms=int(1000 * config.lease_s),
        budget_s=config.pump_budget_s,
        clock=active.clock,
    )
    if again:
        send(f"{stage}.pump", slot, token)
    return again

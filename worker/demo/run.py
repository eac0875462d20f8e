"""The demo from begin to end: history in, models trained, weeks replayed, all of it checked."""

from __future__ import annotations

import gc
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from worker.backfill import Backfill, Plan, TrainingHold
from worker.commands.backfill import make_flow
from worker.demo.crew import Crew, environment
from worker.demo.crm import Crm
from worker.demo.gauges import Gauges
from worker.demo.journey import Journey, baskets_with, bought_in, prepare
from worker.demo.reactions import Reactions
from worker.demo.replay import replay
from worker.demo.score import lists_of, score
from worker.demo.screen import Screen
from worker.demo.story import story
from worker.demo.verdict import Expected, Verdict, judge, protagonist
from worker.failures import RefusedError
from worker.position import Position
from worker.session import order, session
from worker.store.inspecting import Inspector, Mailboxes
from worker.store.models import KINDS

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

QUICK_HOUSEHOLDS: Final = 400
_LOOK_EVERY_S: Final = 0.1
_PATIENCE_S: Final = 180.0
_PAUSE_S: Final = 2.0


class Size(NamedTuple):
    """How much the demo shows.

    households      None = all
    replay_seconds  within which the weeks after the history are replayed
    """

    households: int | None
    replay_seconds: float


FULL: Final = Size(None, 60.0)
QUICK: Final = Size(QUICK_HOUSEHOLDS, 15.0)


class StuckError(RefusedError):
    """The demo waits for something that does not come."""


def run(folder: Path, size: Size, screen: Screen, *, pause: bool) -> dict[str, Any]:
    """Play the demo in a folder; the summary, whose `problems` is empty when all is well.

    Raises NoDataError, StuckError, EmbeddedServerError.
    """
    reactions = Reactions()
    crm = Crm(reactions.received)
    environment(folder, {"webhook_url": crm.url, "webhook_secret": crm.secret})
    crm.start()
    try:
        with session(create=True) as active:
            return _Play(active, crm, reactions, screen, pause=pause).play(folder, size)
    finally:
        crm.stop()


class _Play:
    """One run, phase after phase."""

    def __init__(
        self, active: Runtime, crm: Crm, reactions: Reactions, screen: Screen, *, pause: bool
    ) -> None:
        self._active = active
        self._crm = crm
        self._reactions = reactions
        self._screen = screen
        self._pause = pause
        self._seconds: dict[str, float] = {}
        self._crew = Crew(active.url)
        self._gauges = Gauges(active, crm.contacts, reactions, screen.show)
        self._inspector = Inspector(active.client, active.keys)

    def play(self, folder: Path, size: Size) -> dict[str, Any]:
        self._screen.start()
        self._gauges.start()
        try:
            return self._phases(folder, size)
        except StuckError as error:
            told = "\n".join(["", *self._crew.incidents, *self._crew.last_lines])
            raise StuckError(f"{error}{told}") from None
        finally:
            with self._phase("stop", "Stopping"):
                for kind in KINDS:  # the search for better forecasts may go on for minutes
                    self._active.desk.cancel(kind)
                self._crew.stop()
            self._gauges.stop()
            self._screen.stop()

    def _phases(self, folder: Path, size: Size) -> dict[str, Any]:
        self._crew.start("ingest", "training", "beat")
        with self._phase("data", "Shaping the data"):
            journey = prepare(folder, self._active.clock.now_s(), households=size.households)
        self._tell(
            f"{journey.households:,} households of The Complete Journey:"
            f" {journey.baskets:,} baskets of ten months are the history,"
            f" {len(journey.live):,} of the weeks after it are replayed."
        )
        hold = TrainingHold(self._active.locks, secrets.token_hex(8), self._active.clock)
        gc.freeze()  # as in the command: collections need not look at what is loaded
        with self._phase("backfill", "Backfilling the history"):
            job = self._backfill(journey, folder, hold)
        with self._phase("train", "Training the models"):
            self._train(hold)
        with self._phase("insights", "Writing everybody's insight"):
            self._crew.start("refresh", "deliver")
            self._until(self._refreshed, "all insights are written")
            listed = lists_of(self._active)
        self._tell(f"{self._active.population.count():,} customers are known; now it goes live.")
        with self._phase("replay", "Replaying live events"):
            replay(
                journey.live,
                size.replay_seconds,
                door=self._active.door,
                bells=self._active.bells,
                shards=self._active.settings.shards,
                reactions=self._reactions,
                poll=self._crew.poll,
            )
        with self._phase("settle", "Waiting for the last reactions"):
            self._until(self._settled, "the last event reached the CRM")
        with self._phase("check", "Comparing the CRM with what is stored"):
            expected = Expected(job.tally.events, len(journey.live))
            contacts = self._crm.contacts
            verdict = judge(self._active, expected, contacts, self._reactions)
            hero = protagonist(contacts, self._reactions.last_events())
            told = story(self._active, hero) if hero else []
        with self._phase("score", "Comparing the lists with what was bought"):
            scores = score(listed, baskets_with(journey.history), bought_in(journey.live))
        return {**self._summary(journey, job, verdict, hero, told), "lists": scores}

    def _backfill(self, journey: Journey, folder: Path, hold: TrainingHold) -> Backfill:
        active = self._active
        plan = Plan(
            path=journey.history, kind="orders",
            given={
                "customer_id": "household_id", "order_id": "basket_id", "at": "timestamp",
                "item": "item", "quantity": "quantity", "amount": "sales_value",
            },
            time_zone="", time_format="", currency="USD", source="complete-journey", limit=None,
        )  # fmt: skip
        position = Position(folder / "backfill" / "position.json", "demo")
        job = Backfill(
            plan,
            active.rules.reading,
            shards=active.settings.shards,
            position=position,
            clock=active.clock,
        )

        def beat() -> None:
            hold.keep()
            self._crew.poll()
            job.beat(flow, lambda done, _: self._show_phase(f"Backfilling the history {done:.0%}"))

        flow = make_flow(active, quiet=True, tell=self._tell, beat=beat)
        job.run(flow)
        deadline = time.monotonic() + _PATIENCE_S
        if not flow.settle(lambda: time.monotonic() > deadline):
            raise StuckError("the history was not applied in time")
        return job

    def _train(self, hold: TrainingHold) -> None:
        order(self._active, "models.retrain", None, "demo")

        def trained() -> bool:
            hold.keep()
            return all(kind in self._active.models.current().versions for kind in KINDS)

        self._until(trained, "the models are trained")
        hold.release()

    def _boxes(self) -> Mailboxes:
        active = self._active
        return self._inspector.mailboxes(active.clock.now_ms(), active.destination_names)

    def _refreshed(self) -> bool:
        boxes = self._boxes()
        return not boxes.marks and not boxes.quiet_marks

    def _settled(self) -> bool:
        boxes = self._boxes()
        waits = boxes.marks + boxes.quiet_marks + boxes.nudged + boxes.outbox
        return not waits and not any(lag.entries for lag in self._active.door.lag())

    def _until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not done():
            if time.monotonic() > deadline:
                raise StuckError(f"not within {_PATIENCE_S:.0f} s: {what}")
            self._crew.poll()
            time.sleep(_LOOK_EVERY_S)

    @contextmanager
    def _phase(self, name: str, title: str) -> Iterator[None]:
        self._show_phase(title)
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = round(time.monotonic() - started, 2)

    def _show_phase(self, title: str) -> None:
        self._gauges.phase = title

    def _tell(self, message: str) -> None:
        self._screen.tell(message)
        if self._pause:
            time.sleep(_PAUSE_S)

    def _summary(
        self,
        journey: Journey,
        job: Backfill,
        verdict: Verdict,
        hero: str | None,
        told: list[tuple[str, str]],
    ) -> dict[str, Any]:
        contacts, reactions = self._crm.contacts, self._reactions
        live, history = len(journey.live), job.tally.events
        seconds = self._seconds
        return {
            "ok": not verdict.problems,
            "problems": verdict.problems,
            "data": {
                "households": journey.households,
                "products": journey.products,
                "history_lines": journey.lines,
                "history_events": history,
                "live_events": live,
            },
            "seconds": seconds,
            "backfill_events_per_s": round(history / seconds["backfill"]),
            "replay_events_per_s": round(live / seconds["replay"], 1),
            "events": {
                "applied": verdict.applied,
                "duplicates": verdict.duplicates,
                "quarantined": verdict.quarantined,
                "refused": job.tally.refused.total(),
            },
            "reaction_ms": {
                "events": reactions.count(),
                "p50": _rounded(reactions.quantile_ms(0.50)),
                "p95": _rounded(reactions.quantile_ms(0.95)),
                "p99": _rounded(reactions.quantile_ms(0.99)),
            },
            "crm": {
                "contacts": len(contacts.by_id),
                "calls": contacts.calls,
                "calls_per_event": round(contacts.calls / max(1, live), 3),
                "bad_signatures": contacts.bad_signatures,
                "repeated": contacts.repeated,
                "outdated": contacts.outdated,
                "given_up": verdict.dead,
            },
            "segment_moves": verdict.moves,
            "segments": [{"name": name, "customers": size} for name, size in verdict.segments],
            "models": dict(self._active.models.current().versions),
            "restarts": self._crew.incidents,
            "customer": {
                "customer_id": hero,
                "why": [{"about": head, "text": text} for head, text in told],
            },
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)

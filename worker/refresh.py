"""Refresh: marked customers get a new insight, and the outbox a row where it matters."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from integrations.encoding import insight_payload
from integrations.insight import CustomerInsight
from integrations.material import Material, material
from models.segments.settling import DEFAULT
from worker.catalog import Stock
from worker.clock import Clock
from worker.index import InteractionIndex
from worker.insights.listed import Listed, barred
from worker.insights.previous import previous
from worker.insights.shelf import Shelf
from worker.insights.standing import encode
from worker.insights.subject import Options, Previous, Subject
from worker.insights.write import write
from worker.live import Live, LiveModels
from worker.nudging import Nudging
from worker.profile.codec import CodecError
from worker.refresh_rules import RefreshRules
from worker.rollout import Rollout, is_scored
from worker.store.refreshing import Known, Mark, Push, Refreshed, RefreshStore, Transition
from worker.telemetry import logger
from worker.transitions import Told, transitions
from worker.views import Calendar, view

log = logger(__name__)

DUE_EVERY_S: Final = 1.0
FOLLOW_EVERY_S: Final = 0.5


class Round(NamedTuple):
    """What one round did."""

    customers: int = 0
    written: int = 0
    pushed: int = 0


class Refresh:
    """Turns marks into insights. Any number may run side by side: a write compares versions."""

    def __init__(
        self,
        store: RefreshStore,
        models: LiveModels,
        index: InteractionIndex,
        rules: RefreshRules,
        clock: Clock,
        nudging: Nudging,
        stock: Stock | None = None,
        rollout: Rollout | None = None,
    ) -> None:
        self._store = store
        self._nudging = nudging
        self._rollout = rollout
        self._models = models
        self._index = index
        self._rules = rules
        self._clock = clock
        self._calendar = Calendar(rules.time_zone)
        self._stock = stock
        self._options = Options(
            rules.currency,
            rules.similar_customers,
            rules.recommendations,
            shelf=Shelf() if stock is None else stock.shelf,
            holdout=rules.holdout,
            horizons_days=rules.horizons_days,
            policy=rules.policy or DEFAULT,
        )
        self._looked_for_due = self._followed = float("-inf")
        self._listed = Listed()
        self._turn = 0
        self._ripe = False

    def round(self) -> Round:
        """Refresh one batch: live marks first, then quiet ones, then what the clock says."""
        start = self._clock.monotonic()
        live = self._index.settle(self._models.current(), start)
        if self._rollout is not None:
            self._rollout.follow(live)
        self._look_at_stock()
        marks = self._store.lease(self._find(live))
        if not marks:
            self._nudging.put_gathered()
            return Round()
        now_s = self._clock.now_s()
        known = self._store.load([(mark.shard, mark.customer_id) for mark in marks])
        subjects, pairs = self._subjects(marks, known, live)
        index = None
        if live.recommendations is not None:
            index = self._index.use(live.recommendations)
            for at, (mark, one) in enumerate(pairs):
                found = self._index.put(subjects[at].view, one.seq, watch=mark.by_event)
                subjects[at] = subjects[at]._replace(interacted=found)
            self._follow(marks)
        self._options = self._options._replace(rates=self._rules.exchange())
        written = write(subjects, live, index, self._calendar, now_s, self._options)
        for told in written:
            items = [item.item_id for item in (*told.buy_again, *told.new_for_you)]
            self._listed.note(told.customer_id, items)
        moves = self._moves(pairs, subjects, written, live)
        rows = [
            self._row(mark, known_, subject.previous, insight, live, now_s, moved)
            for (mark, known_), subject, insight, moved in zip(
                pairs, subjects, written, moves, strict=True
            )
        ]
        if self._rollout is not None:
            rows = self._rollout.paced(rows, self._rules.destinations, self._rules.streams)
        done = (
            self._store.commit(rows, self._rules.destinations, self._rules.streams) if rows else []
        )
        self._store.release({mark.shard for mark in marks} - {row.mark.shard for row in rows})
        self._nudging.answer(marks)
        if index is not None:
            self._nudging.gather(index.take_nudges())
        self._nudging.rest(marks, start)
        return Round(
            len(rows) + sum(one.hot is None for one in known),
            sum(done),
            sum(ok and bool(row.push) for ok, row in zip(done, rows, strict=True)),
        )

    def _look_at_stock(self) -> None:
        """Take the catalog as it is now; whose lists hold what is gone is looked at again."""
        if self._stock is None:
            return
        before = self._stock.shelf.catalog
        shelf = self._stock.look(self._clock.monotonic())
        if shelf.catalog is not before and (gone := barred(before, shelf.catalog, shelf.rules)):
            self._nudging.put(self._listed.holding(gone))

    def drain(self) -> int:
        """Rounds until no mark is left; the number of customers."""
        total = 0
        while done := self.round().customers:
            total += done
        return total

    def _find(self, live: Live) -> list[Mark]:
        """One batch. What is live comes first and in small batches, since a batch is written as a
        whole; a few of whom others' events have nudged are among it, a few whom new models have not
        scored yet, and each second some of those whose turn has come by the clock. Quiet marks go
        before the clock, which would push what a backfill brought.
        """
        size = self._rules.batch_size
        some = max(1, size // 4)
        loud = self._take_turns(self._store.marked(some), some)
        asked = {mark.customer_id for mark in loud}
        # Small even where nobody is in a hurry: what an event marks meanwhile waits for it.
        room = max(1, some // (6 if loud else 2))
        nudged = self._take_turns(self._nudging.find(room), room)
        loud += [mark for mark in nudged if mark.customer_id not in asked]
        if not loud and (quiet := self._store.quiet(size)):
            return self._take_turns(quiet, size)
        if self._rollout is not None:
            asked = {mark.customer_id for mark in loud}
            stale = self._rollout.find(live, room)
            loud += [mark for mark in stale if mark.customer_id not in asked]
        due = self._due(some if loud else size, hurry=self._ripe and not loud)
        asked = {mark.customer_id for mark in loud}
        return loud + [mark for mark in due if mark.customer_id not in asked]

    def _due(self, limit: int, *, hurry: bool) -> list[Mark]:
        now = self._clock.monotonic()
        if now - self._looked_for_due < DUE_EVERY_S and not hurry:
            return []
        self._looked_for_due = now
        if self._store.quiet(1):
            return []
        found = self._store.due(self._clock.now_s(), limit)
        self._ripe = len(found) > limit
        return self._take_turns(found, limit)

    def _take_turns(self, marks: list[Mark], limit: int) -> list[Mark]:
        """At most `limit` marks, beginning with another shard each time."""
        if len(marks) <= limit:
            return marks
        later = [mark for mark in marks if mark.shard >= self._turn]
        chosen = (later + [mark for mark in marks if mark.shard < self._turn])[:limit]
        self._turn = chosen[-1].shard + 1
        return chosen

    def _follow(self, marks: Sequence[Mark]) -> None:
        """Read what others changed; at once for who was nudged, since the row that caused it may
        have been put by another process, and where there is one, for events: of two customers who
        become alike at the same time, the later one's process must know the other's row.
        """
        now = self._clock.monotonic()
        is_shared = self._rules.processes > 1
        at_once = any(mark.nudged or (is_shared and mark.by_event) for mark in marks)
        if at_once or now - self._followed >= FOLLOW_EVERY_S:
            self._followed = now
            self._index.follow(None if at_once else now)

    def _subjects(
        self, marks: Sequence[Mark], known: Sequence[Known], live: Live
    ) -> tuple[list[Subject], list[tuple[Mark, Known]]]:
        subjects, pairs, gone, idle = [], [], [], []
        for mark, one in zip(marks, known, strict=True):
            if one.hot is None:
                gone.append(mark)
                continue
            before = previous(one.held)
            if mark.stale and is_scored(before.versions, live):
                idle.append(mark)
                continue
            try:
                seen = view(mark.customer_id, one.hot, one.cold)
            except CodecError as error:
                log.warning("profile cannot be read", shard=mark.shard, reason=str(error))
                idle.append(mark)
                continue
            subjects.append(Subject(seen, one.through_event_id, before))
            pairs.append((mark, one))
        if gone:
            self._store.forget(gone)
            self._index.remove([mark.customer_id for mark in gone])
        if self._rollout is not None:
            self._rollout.drop([*gone, *idle], live)
        return subjects, pairs

    def _row(
        self,
        mark: Mark,
        known: Known,
        before: Previous,
        insight: CustomerInsight,
        live: Live,
        now_s: int,
        moved: Sequence[Transition],
    ) -> Refreshed:
        held = Material(known.held.material, known.held.told)
        now = material(insight, held, self._rules.dead_bands)
        return Refreshed(
            mark=mark,
            expected_version=known.held.version,
            seq=known.seq,
            generation=live.generation,
            as_of_s=now_s,
            material=now.digest,
            json=insight_payload(insight),
            push=Push.NOBODY if now == held else _push(mark, before, live),
            transitions=tuple(moved),
            next_due_s=self._next_due_s(mark.customer_id, now_s),
            state=encode(before.opening(self._calendar.day(now_s))),
            scored=live.generation if live.is_complete else 0,
            told=now.told,
        )

    def _moves(
        self,
        pairs: Sequence[tuple[Mark, Known]],
        subjects: Sequence[Subject],
        written: Sequence[CustomerInsight],
        live: Live,
    ) -> list[list[Transition]]:
        """The moves of each customer; none by a quiet mark, nor what the clock tells first."""
        told = {
            at: Told(subject, insight, by_event=mark.seq is not None)
            for at, ((mark, _), subject, insight) in enumerate(
                zip(pairs, subjects, written, strict=True)
            )
            if mark.loud and (subject.previous.version or mark.seq is not None)
        }
        found = transitions(list(told.values()), live, self._calendar, self._options)
        by_place = dict(zip(told, found, strict=True))
        return [by_place.get(at, []) for at in range(len(pairs))]

    def _next_due_s(self, customer_id: str, now_s: int) -> int:
        """The customer's own second of the next interval: the population spreads over it."""
        interval_s = self._rules.interval_s
        offset_s = zlib.crc32(customer_id.encode()) % interval_s
        due_s = now_s - now_s % interval_s + offset_s
        return due_s if due_s > now_s else due_s + interval_s


def _push(mark: Mark, before: Previous, live: Live) -> Push:
    """Whom to tell. What changed by a new model alone is told only where the customer is known:
    so the first training after a backfill does not send everyone. A minor version is none: it
    follows the customers by a step a day.
    """
    if not mark.loud:
        return Push.NOBODY
    by_model = any(before.versions.get(kind) != version for kind, version in live.versions)
    if by_model and mark.seq is None:
        return Push.KNOWN_LATER if mark.nudged else Push.KNOWN
    return Push.ALL_LATER if mark.nudged else Push.ALL

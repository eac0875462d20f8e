"""Who moved between segments, into an audience or out of one, and why. Pure.

event   an event's refresh brought it
clock   silence did: days went by
model   a new model, or a changed rule, would have moved the customer without either
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from integrations.insight import CustomerInsight
from worker.insights.lifecycle import LIFECYCLE
from worker.insights.subject import Options, Previous, Subject
from worker.insights.write import write
from worker.live import Live
from worker.rules.language import uses_models
from worker.store.refreshing import Transition
from worker.views import Calendar

SEGMENT: Final = "segment"
RULE: Final = "rule"


class Move(NamedTuple):
    """One customer's step: between segments, by id; or into a rule segment or out of it, by name.

    kind   `segment` or `rule`
    left, entered   None where there was, or is, none
    """

    kind: str
    left: int | str | None
    entered: int | str | None


class Told(NamedTuple):
    """A refresh whose moves are recorded.

    by_event  an event asked for it, not the clock
    """

    subject: Subject
    insight: CustomerInsight
    by_event: bool


def transitions(
    told: Sequence[Told], live: Live, calendar: Calendar, options: Options
) -> list[list[Transition]]:
    """The moves of each refresh, with an id that is the same whenever it is made again."""
    moves = [_moves(one.subject.previous, one.insight) for one in told]
    suspects = [at for at, found in enumerate(moves) if _may_be_model(told[at], live, found)]
    foretold = _without_news([told[at].subject for at in suspects], live, calendar, options)
    by_model = dict(zip(suspects, foretold, strict=True))
    return [
        [_record(one, move, live, calendar, by_model.get(at)) for move in found]
        for at, (one, found) in enumerate(zip(told, moves, strict=True))
    ]


def _moves(before: Previous, insight: CustomerInsight) -> list[Move]:
    after = insight.segment.id if insight.segment else None
    found = [] if before.segment_id == after else [Move(SEGMENT, before.segment_id, after)]
    is_in = {audience.id for audience in insight.audiences}
    found += [Move(RULE, one, None) for one in sorted(before.audiences.keys() - is_in)]
    found += [Move(RULE, None, one) for one in sorted(is_in - before.audiences.keys())]
    return found


def _may_be_model(told: Told, live: Live, moves: Sequence[Move]) -> bool:
    """Could a new model or a changed rule be what moved the customer?"""
    if not moves or not told.subject.previous.version:
        return False
    before = told.subject.previous.versions
    now = told.insight.model_versions.model_dump()
    same_models = all(
        before.get(name) == now[name] for name in ("segments", "segments_minor", "forecasts")
    )
    return not same_models or any(_rule_changed(move, live, before) for move in moves)


def _rule_changed(move: Move, live: Live, before: Mapping[str, Any]) -> bool:
    if move.kind != RULE:
        return False
    defined = live.rules.get(str(move.left or move.entered))
    return defined is None or defined.since > (before.get("rules") or 0)


def _without_news(
    subjects: Sequence[Subject], live: Live, calendar: Calendar, options: Options
) -> list[CustomerInsight]:
    """What the models of today would have said of each customer when the last insight was written.

    Orders since then are left out; traits are what they are now.
    """
    by_instant: dict[int, list[int]] = {}
    for at, subject in enumerate(subjects):
        by_instant.setdefault(subject.previous.as_of_s, []).append(at)
    found: dict[int, CustomerInsight] = {}
    for at_s, places in by_instant.items():
        then = [_as_of(subjects[at], at_s) for at in places]
        found |= zip(places, write(then, live, None, calendar, at_s, options), strict=True)
    return [found[at] for at in range(len(subjects))]


def _as_of(subject: Subject, at_s: int) -> Subject:
    orders = [order for order in subject.view.orders if order.at_s < at_s]
    return subject._replace(view=subject.view._replace(orders=orders))


def _record(
    told: Told, move: Move, live: Live, calendar: Calendar, without: CustomerInsight | None
) -> Transition:
    insight, before = told.insight, told.subject.previous
    # What came late is dated before the last insight, which did not know it: an event brought it.
    came_late = without is not None and without.historic_number_of_orders != before.orders
    by_model = (
        without is not None
        and not (came_late and told.by_event)
        and _is_foretold(move, before, without, live)
    )
    reason = "model" if by_model else "event" if told.by_event else "clock"
    day = str(calendar.day(int(insight.as_of.timestamp())))
    fields = {
        "customer_id": insight.customer_id,
        "kind": move.kind,
        "from": move.left,
        "to": move.entered,
        "reason": reason,
        "cause": insight.through_event_id if reason == "event" else day,
        "model_version": _version(move, insight, live),
        "insight_version": insight.insight_version,
    }
    name = json.dumps(fields, sort_keys=True).encode()
    named = {"id": blake2b(name, digest_size=12).hexdigest(), **fields, **_names(told, move, live)}
    return Transition(reason, json.dumps(named, sort_keys=True, ensure_ascii=False).encode())


def _is_foretold(move: Move, before: Previous, without: CustomerInsight, live: Live) -> bool:
    if move.kind == SEGMENT and move.entered in LIFECYCLE:
        return False  # no model decides it
    if move.kind == SEGMENT:
        return (without.segment.id if without.segment else None) == move.entered
    defined = live.rules.get(str(move.left or move.entered))
    if defined is None:
        return True
    if not (_rule_changed(move, live, before.versions) or uses_models(defined.rule)):
        return False
    return any(one.id == move.entered for one in without.audiences) == (move.entered is not None)


def _version(move: Move, insight: CustomerInsight, live: Live) -> str | None:
    if move.kind == RULE:
        defined = live.rules.get(str(move.left or move.entered))
        version = insight.model_versions.rules if defined is None else defined.since
        return str(version)
    versions = insight.model_versions
    if versions.segments is None:
        return None
    minor = f".{versions.segments_minor}" if versions.segments_minor else ""
    return f"{versions.segments}{minor}"


def _names(told: Told, move: Move, live: Live) -> dict[str, str | None]:
    """What people call the segments that were left and entered."""
    if move.kind == SEGMENT:
        segment = told.insight.segment
        return {
            "from_name": told.subject.previous.segment_name,
            "to_name": segment.name if segment else None,
        }
    names = {one.rule.id: one.rule.title for one in live.rules.rules}
    left, entered = (
        None if one is None else names.get(str(one), str(one)) for one in (move.left, move.entered)
    )
    return {"from_name": left, "to_name": entered}

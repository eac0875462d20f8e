"""Why the newest insight of a customer says what it says.

From the insight back to its causes: the event, the features, the models, the reasons of the items;
and forward to its delivery. Plain data, for people and for JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from integrations.facts import EventFact, read_events
from integrations.money import major
from models.features import rfm
from models.history import Histories, purchase_stats
from models.segments import state as segments
from models.segments.explaining import explain as explain_segment
from models.segments.lifecycle import INTEREST_DAYS, NEW_DAYS, lifecycle_label
from models.segments.model import SegmentModel, with_names
from worker.customer import Found, delivery
from worker.insights.lifecycle import LIFECYCLE, days_since
from worker.store.inspecting import Entered, Inspector
from worker.store.models import KINDS, ArtifactError
from worker.terminal import instant
from worker.views import Calendar, View, histories, priced, view

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

_ITEMS: Final = 3


def explain(active: Runtime, found: Found) -> dict[str, Any]:
    """Which event, which features, which models, which reasons, which delivery."""
    insight = found.insight
    if insight is None:
        waits = found.standing.dirty_seq is not None or found.standing.quiet_seq is not None
        reason = "a refresh is waiting" if waits else "no refresh has run: does its worker run?"
        return {"customer_id": found.customer_id, "insight": None, "reason": reason}
    seen = view(found.customer_id, found.known.hot or b"", found.known.cold)
    return {
        "customer_id": found.customer_id,
        "insight": {
            "version": insight["insight_version"],
            "as_of": insight["as_of"],
            "profile_moved_since": found.known.seq > found.known.held.seq,
        },
        "event": _event(active, found, insight),
        "features": _features(active, found, seen, insight),
        "audiences": insight.get("audiences", []),
        "models": _models(active, insight),
        "reasons": {name: insight.get(name, [])[:_ITEMS] for name in ("buy_again", "new_for_you")},
        "abstained": insight.get("abstained", {}),
        "delivery": delivery(active, found),
    }


def _event(active: Runtime, found: Found, insight: dict[str, Any]) -> dict[str, Any]:
    """The event up to which the insight knows everything, if the stream still holds it."""
    event_id = insight.get("through_event_id")
    answer: dict[str, Any] = {"event_id": event_id, "in_stream": False}
    if event_id is None:
        return answer
    entry = _find_entry(active, found, event_id)
    if entry is None:
        return answer
    one, fact = entry
    as_of_s = found.known.held.as_of_s
    return {
        "event_id": event_id,
        "in_stream": True,
        "entry_id": one.entry_id,
        "name": fact.signal or "identify",
        "occurred_at": instant(fact.at_s),
        "entered_at": instant(one.at_ms / 1000),
        "insight_after_s": max(0, as_of_s - one.at_ms // 1000),
        "quiet": one.quiet,
    }


def _find_entry(active: Runtime, found: Found, event_id: str) -> tuple[Entered, EventFact] | None:
    inspector = Inspector(active.client, active.keys)
    names = {
        json.dumps(found.customer_id, ensure_ascii=escaped)[1:-1].encode()
        for escaped in (True, False)
    }
    until_ms = 1000 * (found.known.held.as_of_s + 60)
    for entry in inspector.entries(found.shard, until_ms):
        if any(name in entry.event for name in names):
            (fact,) = read_events([entry.event], [entry.at_ms // 1000], active.rules.reading)
            if isinstance(fact, EventFact) and fact.event_id == event_id:
                return entry, fact
    return None


def _features(active: Runtime, found: Found, seen: View, insight: dict[str, Any]) -> dict[str, Any]:
    """What the models were told about the customer's purchases, as of the insight's day."""
    settings = active.settings
    calendar = Calendar(settings.time_zone)
    today = calendar.day(found.known.held.as_of_s)
    told = priced([seen], calendar, active.refresh_rules.exchange())
    past = histories(told, calendar, settings.reporting_currency)
    features = rfm(past, today)
    stats = purchase_stats(past, today)
    bought = features[0, 1] > 0
    money = float(major(int(features[0, 2]), settings.reporting_currency))
    return {
        "recency_days": float(features[0, 0]) if bought else None,
        "frequency_days": int(features[0, 1]),
        "money": money,
        "currency": settings.reporting_currency,
        "repeat_days": int(stats.frequency[0]),
        "active_span_days": int(stats.recency[0]),
        "age_days": int(stats.age[0]),
        "nearest_segments": _nearest(active, past, today, insight) if bought else [],
        "segment": _segment(active, past, today, insight)
        if bought
        else _lifecycle(seen, calendar, today, insight),
    }


def _nearest(
    active: Runtime, past: Histories, today: int, insight: dict[str, Any]
) -> list[dict[str, Any]]:
    """The two nearest segments under the model that spoke, and what speaks for each."""
    model = _spoke(active, insight)
    if model is None:
        return []
    features = model.matrix(past, today)
    points = model.points(features)
    distance = model.geometry.distances(points)[0]
    near = np.argsort(distance, kind="stable")[:2].tolist()
    return [
        {
            "id": int(model.ids[at]),
            "name": model.labels[at].name(),
            "name_zh": model.labels[at].name("zh"),
            "distance": round(float(distance[at]), 4),
            "chosen": int(model.ids[at]) == (insight.get("segment") or {}).get("id"),
        }
        for at in near
    ]


def _segment(
    active: Runtime, past: Histories, today: int, insight: dict[str, Any]
) -> dict[str, Any] | None:
    """Why this segment: the features that set it apart from the other one that was nearest."""
    model, told = _spoke(active, insight), insight.get("segment")
    if model is None or told is None or told["id"] not in model.ids.tolist():
        return None
    why = explain_segment(model, model.matrix(past, today), told["id"])
    label, other = model.label(why.segment_id), model.label(why.runner_up_id)
    return {
        "id": told["id"],
        "name": told["name"],
        "name_zh": label.name("zh"),
        "description": label.description(),
        "description_zh": label.description("zh"),
        "since": told["since"],
        "previous_id": told.get("previous_id"),
        "pending_id": told.get("pending_id"),
        "pending_since": told.get("pending_since"),
        "runner_up": {"id": why.runner_up_id, "name": other.name()},
        "margin": round(why.margin, 4),
        "outlier": round(why.outlier, 4),
        "because": [
            {
                "feature": reason.feature,
                "value": round(reason.value, 2),
                "typical": round(reason.typical, 2),
                "runner_up": round(reason.runner_up, 2),
                "share": round(reason.share, 4),
            }
            for reason in why.reasons
        ],
    }


def _lifecycle(
    seen: View, calendar: Calendar, today: int, insight: dict[str, Any]
) -> dict[str, Any] | None:
    """Why this segment of those who have not bought: the first condition that holds decides."""
    told = insight.get("segment")
    if told is None or told["id"] not in LIFECYCLE:
        return None
    label = lifecycle_label(told["id"])
    looked, came = days_since(seen, calendar, today)
    return {
        "id": told["id"],
        "name": told["name"],
        "name_zh": label.name("zh"),
        "description": label.description(),
        "description_zh": label.description("zh"),
        "since": told["since"],
        "previous_id": told.get("previous_id"),
        "because": [
            _condition("days since a look at a product", looked, INTEREST_DAYS),
            _condition("days since the first event", came, NEW_DAYS),
        ],
    }


def _condition(what: str, days: int | None, at_most: int) -> dict[str, Any]:
    holds = days is not None and days <= at_most
    return {"feature": what, "value": days, "at_most": at_most, "holds": holds}


def _spoke(active: Runtime, insight: dict[str, Any]) -> SegmentModel | None:
    """The segments that spoke, None if they can't be read any more."""
    versions = insight.get("model_versions", {})
    if versions.get("segments") is None:
        return None
    try:
        artifact = active.models.read(
            "segments", versions["segments"], versions.get("segments_minor", 0)
        )
    except ArtifactError:
        return None
    model = segments.from_state(dict(artifact.arrays), dict(artifact.meta["model"]))
    return with_names(model, active.models.names())


def _models(active: Runtime, insight: dict[str, Any]) -> list[dict[str, Any]]:
    """The versions that spoke, and how they were trained."""
    found = []
    for kind in KINDS:
        version = insight.get("model_versions", {}).get(kind)
        row: dict[str, Any] = {"kind": kind, "version": version}
        if version is not None:
            try:
                head = active.models.head(kind, version)
            except ArtifactError as error:
                row["problem"] = str(error)
            else:
                row |= {name: head.get(name) for name in ("trigger", "customers", "buyers")}
                row["as_of"] = instant(head.get("as_of_s"))
        found.append(row)
    return found

"""The part of an insight that tells the rule segments a customer is in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from integrations.insight import Audience
from worker.insights.figures import to_date
from worker.insights.subject import Subject
from worker.live import Live
from worker.rules.evaluating import Known, holds
from worker.views import Calendar


def add_audiences(
    parts: Sequence[dict[str, Any]],
    live: Live,
    subjects: Sequence[Subject],
    calendar: Calendar,
    now_s: int,
    currency: str,
) -> None:
    """The rule segments whose conditions certainly hold, by id, and since what day they do."""
    rules = [one.rule for one in live.rules.rules]
    if not rules:
        return
    today = to_date(calendar.day(now_s))
    for part, subject in zip(parts, subjects, strict=True):
        known = Known(subject.view, part, calendar, now_s, currency)
        held = subject.previous.audiences
        part["audiences"] = tuple(
            Audience(
                id=rule.id,
                name=rule.title,
                since=date.fromisoformat(held[rule.id]) if rule.id in held else today,
            )
            for rule in rules
            if holds(rule.when, known)
        )

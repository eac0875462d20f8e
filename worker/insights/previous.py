"""What of a stored insight the next one goes on from."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from models.segments.model import NOBODY
from worker.insights.figures import to_day
from worker.insights.standing import NOWHERE, Place, decode
from worker.insights.subject import Previous
from worker.store.refreshing import Held


def previous(held: Held) -> Previous:
    """What the next insight takes over from the one that is held."""
    if not held.json:
        return Previous(held.version)
    fields = from_json(held.json)
    segment = fields["segment"]
    return Previous(
        held.version,
        _place(segment) if segment else NOWHERE,
        segment["name"] if segment else None,
        decode(held.state),
        {one["id"]: one["since"] for one in fields.get("audiences", ())},
        fields["model_versions"],
        held.as_of_s,
        fields.get("historic_number_of_orders", 0),
    )


def _place(segment: dict[str, Any]) -> Place:
    before, pending_since = segment.get("previous_id"), segment.get("pending_since")
    return Place(
        segment["id"],
        to_day(segment["since"]),
        NOBODY if pending_since is None else segment["pending_id"],
        0 if pending_since is None else to_day(pending_since),
        NOBODY if before is None else before,
    )

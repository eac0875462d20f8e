"""What the gate says of a challenger, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from models.challenging import Verdict
from worker.training.provenance import iso_day


class Ruling(NamedTuple):
    """The gate's answer.

    promote  it may go live
    ask      it may not by itself, but a person may promote it
    reasons  every rule that was broken, as a sentence
    notes    what could not be compared, and by which rule it is judged then
    figures  what was compared: window, champion's loss, gain, standard error (JSON)
    """

    promote: bool
    ask: bool = False
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[Mapping[str, Any], ...] = ()

    def told(self) -> dict[str, Any]:
        """What was compared, and what was not (JSON)."""
        return {"notes": list(self.notes), "compared": [dict(one) for one in self.figures]}


def figure(of: str, days: list[int], rows: int, found: Verdict) -> dict[str, Any]:
    """One comparison, for the card."""
    return {
        "of": of,
        "windows": [iso_day(day) for day in days],
        "rows": rows,
        "loss": round(found.loss, 5),
        "gain": round(found.gain, 5),
        "se": round(found.error, 5),
    }

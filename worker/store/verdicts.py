"""Whether a version may speak: promoted, refused, waiting for a hand, or in the shadow."""

from __future__ import annotations

import json
from typing import Final, Literal, NamedTuple

State = Literal["promoted", "refused", "waiting", "shadow"]

#: Stored, and not live: a person or the end of the shadow may still promote it.
OPEN: Final = ("waiting", "shadow")


class Verdict(NamedTuple):
    """What was decided about a version, last.

    state    promoted: it went live; refused: only by force; waiting: somebody has to promote it;
             shadow: it scores beside the live one without being pushed
    reasons  sentences: what speaks against it, or what it waits for
    at_s     when that was decided, Unix s
    """

    state: State
    reasons: tuple[str, ...] = ()
    at_s: int = 0

    @property
    def is_live(self) -> bool:
        """The version goes live with it."""
        return self.state == "promoted"

    def told(self) -> str:
        """State and reasons on one line.

        >>> Verdict("waiting", ("12 % of the customers would move",)).told()
        'waiting: 12 % of the customers would move'
        """
        return ": ".join(part for part in (self.state, "; ".join(self.reasons)) if part)


def encode(verdict: Verdict) -> str:
    """The stored form."""
    return json.dumps(verdict._asdict(), ensure_ascii=False)


def decode(value: bytes) -> Verdict:
    """What `encode` wrote."""
    found = json.loads(value)
    return Verdict(found["state"], tuple(found["reasons"]), int(found["at_s"]))

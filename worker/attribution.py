"""Credit for recommendations: what was clicked and bought because it was shown. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final, NamedTuple

from worker.feedback import read_rec_id
from worker.store.feedback import Touched

_Z: Final = 1.959964  # 95 %
DAY_S: Final = 86_400


class Windows(NamedTuple):
    """How long a touch has credit, in seconds."""

    click_s: int = 7 * DAY_S
    after_click_s: int = 7 * DAY_S
    after_view_s: int = DAY_S


class Credited(NamedTuple):
    """An item that was shown, and what became of it.

    position  in the list, from 1; 0 = not told
    version   of the recommendations model; 0 = not told
    """

    customer_id: str
    item_id: str
    list: str
    member: str
    shown_s: int
    clicked: bool
    bought: bool
    position: int = 0
    version: int = 0


@dataclass
class Tally:
    """Sums over credited items."""

    shown: int = 0
    clicked: int = 0
    bought: int = 0

    def told(self) -> dict[str, Any]:
        """Counts, rates, and their 95 % intervals."""
        return {
            "shown": self.shown,
            "clicked": self.clicked,
            "bought": self.bought,
            "click_rate": rate(self.clicked, self.shown),
            "purchase_rate": rate(self.bought, self.shown),
        }


def rate(successes: int, trials: int) -> dict[str, float] | None:
    """A share with its 95 % interval; None without a trial.

    Source  Wilson (1927), JASA 22(158)

    >>> rate(1, 10)
    {'rate': 0.1, 'low': 0.0179, 'high': 0.4042}
    """
    if not trials:
        return None
    share, z2 = successes / trials, _Z * _Z
    center = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    half = _Z * spread / (1 + z2 / trials)
    low, high = max(center - half, 0.0), min(center + half, 1.0)
    return {"rate": round(share, 4), "low": round(low, 4), "high": round(high, 4)}


def credit(
    touches: Iterable[Touched],
    purchases: Mapping[tuple[str, str], Sequence[int]],
    windows: Windows = Windows(),  # noqa: B008  immutable
) -> list[Credited]:
    """Credit the last showing of an item before its click, and before its purchase.

    purchases  (customer, item) -> Unix s of counted orders that hold it still, ascending
    Returns    one a showing, by customer, item and time. A click counts within `click_s` of the
               showing; a purchase within `after_click_s` of the click or `after_view_s` of the
               showing. One purchase is credited once.
    """
    shown: dict[tuple[str, str], list[Touched]] = {}
    clicks: dict[tuple[str, str], list[int]] = {}
    for one in touches:
        key = one.customer_id, one.item_id
        if one.clicked:
            clicks.setdefault(key, []).append(one.at_s)
        else:
            shown.setdefault(key, []).append(one)
    found: list[Credited] = []
    for key in sorted(shown):
        showings = sorted(shown[key], key=lambda one: (one.at_s, one.event))
        times = [one.at_s for one in showings]
        clicked = _clicked(times, sorted(clicks.get(key, ())), windows.click_s)
        bought = _bought(times, clicked, purchases.get(key, ()), windows)
        for place, one in enumerate(showings):
            known = read_rec_id(one.rec_id)
            found.append(
                Credited(
                    one.customer_id,
                    one.item_id,
                    known.list if known else one.list,
                    known.member if known else "",
                    one.at_s,
                    bool(clicked[place]),
                    place in bought,
                    one.position or (known.position if known else 0),
                    one.version or (known.version if known else 0),
                )
            )
    return found


def _clicked(times: Sequence[int], clicks: Sequence[int], within_s: int) -> list[list[int]]:
    """The clicks that each showing has credit for."""
    found: list[list[int]] = [[] for _ in times]
    for at_s in clicks:
        place = bisect_right(times, at_s) - 1
        if place >= 0 and at_s - times[place] <= within_s:
            found[place].append(at_s)
    return found


def _bought(
    times: Sequence[int],
    clicked: Sequence[Sequence[int]],
    purchases: Sequence[int],
    windows: Windows,
) -> set[int]:
    """The showings that have credit for a purchase."""
    found: set[int] = set()
    for at_s in purchases:
        for place in range(bisect_right(times, at_s) - 1, -1, -1):
            at = bisect_left(clicked[place], at_s + 1)
            by_click = at > 0 and at_s - clicked[place][at - 1] <= windows.after_click_s
            if by_click or at_s - times[place] <= windows.after_view_s:
                found.add(place)
                break
    return found


def tallies(credited: Iterable[Credited]) -> dict[str, dict[str, Tally]]:
    """Sums over all, by list, by member, by position and by version of the model."""
    found: dict[str, dict[str, Tally]] = {}
    for one in credited:
        names = {
            "all": "all",
            "list": one.list,
            "member": one.member,
            "position": str(one.position or ""),
            "version": str(one.version or ""),
        }
        for kind, name in names.items():
            tally = found.setdefault(kind, {}).setdefault(name or "not told", Tally())
            tally.shown += 1
            tally.clicked += one.clicked
            tally.bought += one.bought
    return found


def lift(held: Tally, others: Tally) -> dict[str, Any]:
    """Share of customers that bought, in the holdout and outside it, and the difference.

    held, others  shown = customers, bought = those that bought
    """
    told: dict[str, Any] = {
        "holdout": rate(held.bought, held.shown),
        "others": rate(others.bought, others.shown),
        "difference": None,
    }
    if held.shown and others.shown:
        a, b = others.bought / others.shown, held.bought / held.shown
        spread = _Z * sqrt(a * (1 - a) / others.shown + b * (1 - b) / held.shown)
        told["difference"] = {
            "rate": round(a - b, 4),
            "low": round(a - b - spread, 4),
            "high": round(a - b + spread, 4),
        }
    return told

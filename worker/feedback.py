"""What became of recommendations: their ids, who is held out, what rests, and what is credited."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple
from zlib import crc32

from worker.profile.derive import SignalCount

SHOWN: Final = "R"  # codes of worker/profile/signals.py
CLICKED: Final = "K"
REST_AFTER: Final = 5  # times shown without a click
REST_DAYS: Final = 14


class Holdout(NamedTuple):
    """Customers that get no pushed recommendations, so that the others can be compared with them.

    share  0 to 1
    salt   another one picks others
    """

    share: float = 0.05
    salt: str = "holdout"


NO_HOLDOUT: Final = Holdout(0.0)


def in_holdout(customer_id: str, holdout: Holdout) -> bool:
    """Whether a hash of customer and salt puts the customer into the holdout.

    >>> in_holdout("c-1", Holdout(1.0)), in_holdout("c-1", NO_HOLDOUT)
    (True, False)
    """
    return crc32(f"{holdout.salt}\x1f{customer_id}".encode()) < holdout.share * 2**32


class RecId(NamedTuple):
    """What a `rec_id` tells.

    list      buy_again or new_for_you
    member    which spoke loudest for the item
    position  in the list, from 1
    version   of the recommendations model
    """

    list: str
    member: str
    position: int
    version: int


def rec_id_of(told: RecId, customer_id: str, item_id: str) -> str:
    """The `rec_id` of an item on a list: what `Recommendation Shown` and `Clicked` events carry.

    >>> read_rec_id(rec_id_of(RecId("buy_again", "own", 2, 7), "c-1", "tea"))
    RecId(list='buy_again', member='own', position=2, version=7)
    """
    mark = blake2b(f"{customer_id}\x1f{item_id}".encode(), digest_size=4).hexdigest()
    return f"{told.list}.{told.member}.{told.position}.{told.version}.{mark}"


def read_rec_id(text: str) -> RecId | None:
    """What a `rec_id` tells; None if it is none of ours."""
    parts = text.split(".")
    if len(parts) != 5 or not (parts[2].isdecimal() and parts[3].isdecimal()):
        return None
    return RecId(parts[0], parts[1], int(parts[2]), int(parts[3]))


def resting(signals: Sequence[SignalCount], today: int) -> list[str]:
    """Items that rest: shown `REST_AFTER` times without a click, until `REST_DAYS` later.

    signals  counts by day; within one a click forgives `REST_AFTER` showings
    today    days since 1970-01-01

    >>> resting([SignalCount(100, "R", "tea", 5)], 703), resting([], 703)
    (['tea'], [])
    """
    shown: dict[str, int] = {}
    until: dict[str, int] = {}
    told: dict[tuple[int, str], list[int]] = {}
    for one in signals:
        if one.item and one.code in {SHOWN, CLICKED}:
            day = 7 * one.week - 3 + one.weekday  # weeks begin on Mondays, day 0 was a Thursday
            told.setdefault((day, one.item), [0, 0])[one.code == CLICKED] += one.times
    for (day, item), (times, clicks) in sorted(told.items()):
        if clicks:
            until.pop(item, None)
            shown[item] = 0
        shown[item] = max(shown.get(item, 0) + times - REST_AFTER * clicks, 0)
        if shown[item] >= REST_AFTER:
            until[item] = day + REST_DAYS
            shown[item] = 0
    return sorted(item for item, day in until.items() if today < day)

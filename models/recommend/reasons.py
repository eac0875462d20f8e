"""Why an item is on a list, in words to the customer."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.recommend.hybrid import MEMBERS

OWN: Final = MEMBERS.index("own")
SIMILAR: Final = MEMBERS.index("similar")
TOGETHER: Final = MEMBERS.index("together")
POPULAR: Final = MEMBERS.index("popular")
CONTENT: Final = MEMBERS.index("content")
_FEW: Final = 3  # purchases from which a habit has an interval


def habit(count: int, first_day: int, last_day: int, today: int) -> str:
    """Say how often and when the customer bought an item.

    >>> habit(1, 9, 9, 10), habit(2, 0, 10, 40), habit(5, 0, 92, 100)
    ('you bought it yesterday', 'you bought it twice, last 30 days ago', 'you buy it every 23 days')
    """
    if count >= _FEW and last_day > first_day:
        every = max(round((last_day - first_day) / (count - 1)), 1)
        return "you buy it every day" if every == 1 else f"you buy it every {every} days"
    ago = max(today - last_day, 0)
    when = {0: "today", 1: "yesterday"}.get(ago, f"{ago} days ago")
    return f"you bought it {when}" if count == 1 else f"you bought it twice, last {when}"


def novelty(
    parts: NDArray[np.float64], *, holders: int, looked: bool, segment: str | None = None
) -> str:
    """Name what speaks loudest for an item that was never bought.

    parts    what each member adds to the utility
    holders  similar customers that hold it
    segment  name of the customer's segment, where it stands in for similar customers

    >>> novelty(np.array([0.0, 2.0, 0.1, 1.0, 0.0]), holders=14, looked=False)
    'bought by 14 customers like you'
    >>> novelty(np.array([0.0, 0.2, 0.1, 1.0, 0.0]), holders=14, looked=False)
    'popular this month'
    """
    if looked:
        return "you looked at it"
    said = parts.tolist()
    loudest = max((place for place in range(len(said)) if place != OWN), key=said.__getitem__)
    if loudest == SIMILAR and holders:
        if segment is not None:
            return f"popular among {segment}"
        return f"bought by {holders} customer{'s' if holders > 1 else ''} like you"
    if loudest == TOGETHER:
        return "goes well with what you bought"
    if loudest == CONTENT:
        return "like what you bought"
    return "popular this month"

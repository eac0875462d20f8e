"""Why an item is on a list, in words to the customer."""

from typing import Final

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
    when = f"{ago} days ago" if ago > 1 else "yesterday" if ago else "today"
    return f"you bought it {when}" if count == 1 else f"you bought it twice, last {when}"


def novelty(loudest: int, *, holders: int, looked: bool, segment: str | None = None) -> str:
    """Name what speaks loudest for an item that was never bought.

    loudest  the member that adds most to the utility, as a place in `MEMBERS`; not `OWN`
    holders  similar customers who bought it
    segment  name of the customer's segment, where it stands in for similar customers

    >>> novelty(SIMILAR, holders=14, looked=False)
    'bought by 14 customers like you'
    >>> novelty(POPULAR, holders=14, looked=False)
    'popular this month'
    """
    if looked:
        return "you looked at it"
    if segment is not None and holders:
        return f"popular among {segment}"
    if loudest == SIMILAR:
        return _bought_by(holders)
    if loudest == TOGETHER:
        return "goes well with what you bought"
    if loudest == CONTENT:
        return "like what you bought"
    return "popular this month"


def _bought_by(holders: int) -> str:
    if not holders:
        return "customers like you looked at it"
    return f"bought by {holders} customer{'s' if holders > 1 else ''} like you"

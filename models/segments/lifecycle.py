"""Segments of customers who have not bought: newcomer, browsing, lead.

Their ids are below zero and fixed, so that no model ever gives one of them to buyers.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import DomainError, require, same_shape
from models.segments.labels import Label

Days: TypeAlias = NDArray[np.integer]
Ids: TypeAlias = NDArray[np.int64]

LEAD = -2  # known, silent
BROWSING = -3  # has shown interest in a product lately
NEWCOMER = -4  # has come a few days ago
NEVER = -1  # the day of what has not happened

NEW_DAYS = 7
INTEREST_DAYS = 30
LIFECYCLE = {LEAD: Label("lead"), BROWSING: Label("browsing"), NEWCOMER: Label("newcomer")}


def lifecycle_ids(first_day: Days, interest_day: Days, today: int) -> Ids:
    """Place n customers without a purchase; interest says more than having come lately.

    first_day     (n,) days since 1970-01-01 of the first event, NEVER if unknown
    interest_day  (n,) day of the newest view, click, cart or wish, NEVER without one
    Returns       (n,) int64 of LEAD, BROWSING, NEWCOMER
    Raises        ShapeError, DomainError (a day after today)

    >>> lifecycle_ids(np.array([99, 50, 50]), np.array([-1, 80, -1]), 100)
    array([-4, -3, -2])
    """
    same_shape(first_day=first_day, interest_day=interest_day)
    require((first_day <= today) & (interest_day <= today), "no day after today")
    came = (first_day != NEVER) & (today - first_day <= NEW_DAYS)
    looked = (interest_day != NEVER) & (today - interest_day <= INTEREST_DAYS)
    found = np.where(looked, BROWSING, np.where(came, NEWCOMER, LEAD))
    return found.astype(np.int64)


def lifecycle_label(segment_id: int) -> Label:
    """Return the label of a lifecycle segment; raise DomainError for another id.

    >>> lifecycle_label(BROWSING).name()
    'Browsing'
    """
    if segment_id not in LIFECYCLE:
        raise DomainError(f"{segment_id} is no lifecycle segment: {sorted(LIFECYCLE)}")
    return LIFECYCLE[segment_id]

"""Feature matrices of customers, read off their histories."""

import numpy as np
from numpy.typing import NDArray

from models.history import Histories, purchase_stats


def rfm(histories: Histories, as_of_day: int) -> NDArray[np.float64]:
    """Return recency, frequency and money of every customer.

    Returns  (n, 3) float64: days since the last purchase day, purchase days, total minor units;
             a customer without a purchase has 0 purchase days and is a row of zeros
    Raises   ShapeError, DomainError

    >>> from models.history import from_orders
    >>> h = from_orders(1, np.array([0, 0]), np.array([3, 9]), np.array([50, 70]))
    >>> rfm(h, 13)
    array([[  4.,   2., 120.]])
    """
    stats = purchase_stats(histories, as_of_day)
    bought = stats.orders > 0
    days = np.where(bought, stats.frequency + 1, 0.0)
    return np.column_stack((stats.age - stats.recency, days, stats.total_minor.astype(np.float64)))

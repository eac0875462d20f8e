"""What refreshing and training depend on besides profiles and models."""

from __future__ import annotations

from typing import NamedTuple

from worker.feedback import NO_HOLDOUT, Holdout


class RefreshRules(NamedTuple):
    """What refresh depends on besides profiles and models.

    batch_size    customers computed together
    interval_s    a customer without events is refreshed after so long
    destinations  who gets what changed
    streams       who gets transitions, each as an event
    holdout       who gets no recommendations
    service_items  ids or patterns of what is no product
    """

    batch_size: int
    interval_s: int
    time_zone: str
    currency: str
    similar_customers: int
    recommendations: int
    min_customers: int
    destinations: tuple[str, ...]
    streams: tuple[str, ...] = ()
    holdout: Holdout = NO_HOLDOUT
    service_items: tuple[str, ...] = ()

"""The shop's rules of recommendation, as the settings state them."""

from __future__ import annotations

from decimal import Decimal

from integrations.money import MINOR_DIGITS, to_minor
from models.recommend.filters import Rules
from worker.settings import Settings


def list_rules(settings: Settings) -> Rules:
    """What may be recommended. Raises DomainError where nothing could meet the rules."""
    digits = MINOR_DIGITS[settings.reporting_currency]

    def minor(amount: Decimal | None) -> int | None:
        return None if amount is None else to_minor(amount, digits)

    return Rules(
        allow_categories=settings.allow_categories,
        deny_categories=settings.deny_categories,
        least_price=minor(settings.least_price),
        most_price=minor(settings.most_price),
        least_margin=settings.least_margin,
        exclude=frozenset(settings.exclude_items),
        service_items=tuple(settings.service_items),
        item_share=settings.item_share,
        most_per_category=settings.most_per_category,
    )

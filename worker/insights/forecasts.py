"""The part of an insight that forecasts: orders, spend, churn, the next order."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import Any, Final

from integrations.insight import HorizonForecast, NextOrderWindow, Range
from models.forecast.bundle import Bundle, Outlook, predict_bundle, prior_bundle
from models.forecast.drivers import describe
from models.forecast.fitting import TOO_SHORT
from models.forecast.forecast import Forecasts, reliability
from models.history import Histories
from worker.insights.figures import CURRENCY_UNKNOWN, NO_MODEL, NO_ORDER, major, to_date
from worker.insights.subject import Options
from worker.live import Live

_NO_MONEY: Final = "too few paid orders in the shop's reporting currency"
_MONEY: Final = ("clv_12m", "expected_spend_90d")
_YEAR: Final = ("clv_12m", "predicted_number_of_orders")
_NO_HORIZON: Final = "the live model was trained without this horizon"
_MOST_WINDOW_DAYS: Final = 30  # a single date only where it means something


def add_forecasts(
    parts: Sequence[dict[str, Any]],
    live: Live,
    past: Histories,
    today: int,
    options: Options,
    unknown: Sequence[bool],
) -> None:
    """What the customer is likely to do; reads `historic_clv` of the part.

    unknown  whose money is in part of an unknown currency: no money is forecast

    All figures of a batch come from one version and one day: level 2 costs microseconds, so it is
    never left for later. Before the first version, what is known of other shops speaks.
    """
    bundle = live.forecasts or _of_other_shops(options.currency)
    said = predict_bundle(bundle, past, today)
    forecasts, quarter = said.forecasts, said.outlooks.get(90)
    reasons = describe(bundle, past, today)
    grade = reliability(bundle.level1)
    missing = _missing(bundle, options.horizons_days)
    currency = options.currency
    for i, part in enumerate(parts):
        if not forecasts.known[i]:
            part["abstained"]["forecasts"] = NO_ORDER
            continue
        part["forecast_reliability"] = grade
        part["churn_horizon_days"] = bundle.level1.churn_horizon_days
        part["forecast_drivers"] = reasons[i]
        part["abstained"] |= missing
        part.update(_forecast(forecasts, i))
        if quarter is not None:
            part["expected_orders_90d_range"] = _orders_range(quarter, i)
        if not forecasts.year_known[i]:
            part["abstained"] |= dict.fromkeys(_YEAR, TOO_SHORT)
        money = bool(forecasts.spend_known[i]) and not unknown[i]
        part["horizons"] = {
            f"{days}d": _horizon(said.outlooks[days], i, currency if money else None)
            for days in options.horizons_days
            if days in said.outlooks
        }
        if unknown[i]:
            part["abstained"] |= dict.fromkeys(_MONEY, CURRENCY_UNKNOWN)
        elif money:
            part["currency"] = currency
            part.update(_money_forecast(forecasts, quarter, i, currency, part["historic_clv"]))
        else:
            part["abstained"] |= dict.fromkeys(_MONEY, _NO_MONEY)


@cache
def _of_other_shops(currency: str) -> Bundle:
    return prior_bundle(currency)


def _missing(bundle: Bundle, horizons_days: Sequence[int]) -> dict[str, str]:
    """Why a configured horizon is not told, by its path."""
    why = {told["horizon_days"]: str(told["reason"]) for told in bundle.report}
    else_ = _NO_HORIZON if bundle.heads else NO_MODEL
    return {
        f"horizons.{days}d": why.get(days, else_)
        for days in horizons_days
        if days not in bundle.horizons_days
    }


def _forecast(forecasts: Forecasts, i: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "p_alive": round(float(forecasts.p_alive[i]), 4),
        "purchase_probability_30d": round(float(forecasts.probability_30d[i]), 4),
        "purchase_probability_90d": round(float(forecasts.probability_90d[i]), 4),
        "churn_probability": round(float(forecasts.churn_probability[i]), 4),
        "expected_orders_90d": round(float(forecasts.expected_orders_90d[i]), 4),
    }
    if forecasts.year_known[i]:
        fields["predicted_number_of_orders"] = round(float(forecasts.expected_orders_365d[i]), 4)
    if forecasts.next_known[i]:
        days = (forecasts.next_day_p10[i], forecasts.next_day_p50[i], forecasts.next_day_p90[i])
        p10, p50, p90 = (to_date(int(day)) for day in days)
        fields["next_order_window"] = NextOrderWindow(p10=p10, p50=p50, p90=p90)
        if (p90 - p10).days <= _MOST_WINDOW_DAYS:
            fields["expected_date_of_next_order"] = p50
    return fields


def _money_forecast(
    forecasts: Forecasts, quarter: Outlook | None, i: int, currency: str, historic: Decimal | None
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "expected_spend_90d": major(float(forecasts.expected_spend_90d_minor[i]), currency)
    }
    if forecasts.clv_known[i]:
        clv = major(float(forecasts.clv_365d_minor[i]), currency)
        fields |= {"clv_12m": clv, "predicted_clv": clv, "total_clv": (historic or 0) + clv}
    if quarter is not None:
        fields["expected_spend_90d_range"] = _spend_range(quarter, i, currency)
    return fields


def _horizon(outlook: Outlook, i: int, currency: str | None) -> HorizonForecast:
    """The forecasts of one horizon; without a currency, money abstains."""
    spend = None if currency is None else major(float(outlook.spend_minor[i]), currency)
    return HorizonForecast(
        purchase_probability=round(float(outlook.buy[i]), 4),
        expected_orders=round(float(outlook.orders[i]), 4),
        expected_orders_range=_orders_range(outlook, i),
        expected_spend=spend,
        expected_spend_range=None if currency is None else _spend_range(outlook, i, currency),
    )


def _orders_range(outlook: Outlook, i: int) -> Range:
    return Range(low=Decimal(int(outlook.orders_low[i])), high=Decimal(int(outlook.orders_high[i])))


def _spend_range(outlook: Outlook, i: int, currency: str) -> Range:
    low, high = float(outlook.spend_low_minor[i]), float(outlook.spend_high_minor[i])
    return Range(low=major(low, currency), high=major(high, currency))

"""From views and live models to insights: vectorized over a batch. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from integrations.insight import (
    CustomerInsight,
    ModelVersions,
    NextOrderWindow,
    Recommendation,
    Segment,
    SimilarCustomer,
)
from integrations.money import MINOR_DIGITS
from models.features import rfm
from models.forecast.forecast import Forecasts, predict
from models.history import Histories, purchase_stats
from models.recommend.neighbors import NeighborIndex
from models.recommend.recommender import OwnItems, recommend
from models.segments.model import settle
from worker.live import Live
from worker.views import Calendar, View, histories, purchases

_EPOCH: Final = date(1970, 1, 1)
#: Forecasts of a shop with fewer repeat buyers lean on the prior; with fewer than the second, some.
_PRIOR_BELOW: Final = 30
_LOW_BELOW: Final = 100
_NO_MODEL: Final = "no model yet: it is trained when enough customers have bought"
_NO_ORDER: Final = "the customer has not bought yet"
_NO_MONEY: Final = "too few paid orders in the shop's reporting currency"


class Previous(NamedTuple):
    """What the next insight takes over from the one before."""

    version: int
    segment_id: int | None
    segment_since: str | None
    previous_segment_id: int | None
    segments_version: int | None


class Subject(NamedTuple):
    """A customer to write an insight of."""

    view: View
    through_event_id: str
    previous: Previous


class Options(NamedTuple):
    """What an insight depends on besides the customer and the models."""

    currency: str
    similar_customers: int
    recommendations: int


def write(
    subjects: Sequence[Subject],
    live: Live,
    index: NeighborIndex | None,
    calendar: Calendar,
    now_s: int,
    options: Options,
) -> list[CustomerInsight]:
    """The insights of a batch of customers, as of now; in the order of features, forecasts,
    segments, recommendations, so that none rests on a later one.
    """
    views = [subject.view for subject in subjects]
    today = calendar.day(now_s)
    past = histories(views, calendar, options.currency)
    parts: list[dict[str, Any]] = [{"abstained": {}} for _ in subjects]
    _add_history(parts, past, today, options.currency)
    _add_forecasts(parts, live, past, today, options.currency)
    _add_segments(parts, live, past, today, [subject.previous for subject in subjects])
    _add_lists(parts, live, index, views, calendar, today, options)
    as_of = datetime.fromtimestamp(now_s, UTC)
    versions = ModelVersions(**dict(live.versions))
    return [
        CustomerInsight(
            customer_id=subject.view.customer_id,
            insight_version=subject.previous.version + 1,
            as_of=as_of,
            through_event_id=subject.through_event_id or None,
            model_versions=versions,
            **part,
        )
        for subject, part in zip(subjects, parts, strict=True)
    ]


def _add_history(
    parts: Sequence[dict[str, Any]], past: Histories, today: int, currency: str
) -> None:
    stats = purchase_stats(past, today)
    for i, part in enumerate(parts):
        orders, paid = int(stats.orders[i]), int(stats.paid_orders[i])
        frequency = float(stats.frequency[i])
        part["historic_number_of_orders"] = orders
        part["historic_clv"] = None
        if paid:
            part["currency"] = currency
            part["historic_clv"] = _major(int(stats.total_minor[i]), currency)
            part["average_order_value"] = _major(float(stats.mean_paid_minor[i]), currency)
        if frequency > 0:
            part["average_days_between_orders"] = round(float(stats.recency[i]) / frequency, 2)


def _add_forecasts(
    parts: Sequence[dict[str, Any]], live: Live, past: Histories, today: int, currency: str
) -> None:
    if live.forecasts is None:
        for part in parts:
            part["abstained"]["forecasts"] = _NO_MODEL
        return
    forecasts = predict(live.forecasts, past, today)
    buyers = live.forecasts.repeat_buyers
    grade = "prior" if buyers < _PRIOR_BELOW else "low" if buyers < _LOW_BELOW else "normal"
    for i, part in enumerate(parts):
        if not forecasts.known[i]:
            part["abstained"]["forecasts"] = _NO_ORDER
            continue
        part["forecast_reliability"] = grade
        part.update(_forecast(forecasts, i))
        if forecasts.clv_known[i]:
            part["currency"] = currency
            historic = part["historic_clv"] or Decimal(0)
            part.update(_money_forecast(forecasts, i, currency, historic))
        else:
            part["abstained"]["clv_12m"] = part["abstained"]["expected_spend_90d"] = _NO_MONEY


def _forecast(forecasts: Forecasts, i: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "p_alive": round(float(forecasts.p_alive[i]), 4),
        "purchase_probability_30d": round(float(forecasts.probability_30d[i]), 4),
        "purchase_probability_90d": round(float(forecasts.probability_90d[i]), 4),
        "churn_probability": round(float(forecasts.churn_probability[i]), 4),
        "expected_orders_90d": round(float(forecasts.expected_orders_90d[i]), 4),
        "predicted_number_of_orders": round(float(forecasts.expected_orders_365d[i]), 4),
    }
    if forecasts.next_known[i]:
        days = (forecasts.next_day_p10[i], forecasts.next_day_p50[i], forecasts.next_day_p90[i])
        p10, p50, p90 = (_date(int(day)) for day in days)
        fields["next_order_window"] = NextOrderWindow(p10=p10, p50=p50, p90=p90)
        if (p90 - p10).days <= 30:  # a single date only where it means something
            fields["expected_date_of_next_order"] = p50
    return fields


def _money_forecast(
    forecasts: Forecasts, i: int, currency: str, historic: Decimal
) -> dict[str, Any]:
    clv = _major(float(forecasts.clv_365d_minor[i]), currency)
    return {
        "expected_spend_90d": _major(float(forecasts.expected_spend_90d_minor[i]), currency),
        "clv_12m": clv,
        "predicted_clv": clv,
        "total_clv": historic + clv,
    }


def _add_segments(
    parts: Sequence[dict[str, Any]],
    live: Live,
    past: Histories,
    today: int,
    previous: Sequence[Previous],
) -> None:
    if live.segments is None:
        for part in parts:
            part["abstained"]["segment"] = _NO_MODEL
        return
    features = rfm(past, today)
    current = [-1 if one.segment_id is None else one.segment_id for one in previous]
    ids = settle(live.segments, features, np.array(current, dtype=np.int64))
    names = dict(zip(live.segments.ids.tolist(), live.segments.names, strict=True))
    for i, (part, before) in enumerate(zip(parts, previous, strict=True)):
        if features[i, 1] == 0:
            part["abstained"]["segment"] = _NO_ORDER
            continue
        segment = int(ids[i])
        stays = before.segment_id == segment and before.segment_since is not None
        part["segment"] = Segment(
            id=segment,
            name=names[segment],
            since=date.fromisoformat(before.segment_since or "") if stays else _date(today),
            previous_id=before.previous_segment_id if stays else before.segment_id,
        )


def _add_lists(
    parts: Sequence[dict[str, Any]],
    live: Live,
    index: NeighborIndex | None,
    views: Sequence[View],
    calendar: Calendar,
    today: int,
    options: Options,
) -> None:
    recommender = live.recommendations
    if recommender is None or index is None:
        for part in parts:
            part["abstained"]["recommendations"] = _NO_MODEL
        return
    asked = max(options.similar_customers, recommender.k_neighbors)
    customers = [view.customer_id for view in views]
    nearest, rows, ids = index.similar(customers, asked), index.rows(customers), index.items.ids
    for i, (part, view, near) in enumerate(zip(parts, views, nearest, strict=True)):
        lists = recommend(
            recommender,
            ids,
            _own(rows, i, ids, purchases(view, calendar)),
            index.rows([customer for customer, _ in near]),
            np.array([score for _, score in near]),
            today,
            count=options.recommendations,
        )
        part["similar_customers"] = tuple(
            SimilarCustomer(customer_id=customer, score=round(score, 4))
            for customer, score in near[: options.similar_customers]
        )
        for name in ("buy_again", "new_for_you"):
            part[name] = tuple(
                Recommendation(item_id=item, score=round(score, 4), reason=reason)
                for item, score, reason in getattr(lists, name)
            )


def _own(
    rows: csr_array, i: int, ids: Sequence[str], bought: Mapping[str, Sequence[int]]
) -> OwnItems:
    span = slice(rows.indptr[i], rows.indptr[i + 1])
    columns, weights = rows.indices[span].astype(np.int64), rows.data[span]
    days = [bought.get(ids[column], ()) for column in columns.tolist()]
    return OwnItems(
        columns,
        weights,
        np.array([len(found) for found in days], dtype=np.int64),
        np.array([found[-1] if found else 0 for found in days], dtype=np.int64),
    )


def _major(minor: float, currency: str) -> Decimal:
    """Minor units as a decimal of major units."""
    digits = MINOR_DIGITS[currency]
    return Decimal(round(minor)).scaleb(-digits)


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=min(day, 2_900_000))

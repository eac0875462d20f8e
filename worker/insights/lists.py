"""The part of an insight that recommends: similar customers and two lists of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from integrations.insight import Recommendation, SimilarCustomer
from models.recommend.neighbors import NeighborIndex
from models.recommend.recommender import OwnItems, recommend
from worker.insights.figures import NO_MODEL
from worker.insights.subject import Options
from worker.live import Live
from worker.views import Calendar, View, purchases


def add_lists(
    parts: Sequence[dict[str, Any]],
    live: Live,
    index: NeighborIndex | None,
    views: Sequence[View],
    calendar: Calendar,
    today: int,
    options: Options,
) -> None:
    """Whom the customer is like, what to buy again, and what is new to the customer."""
    recommender = live.recommendations
    if recommender is None or index is None:
        for part in parts:
            part["abstained"]["recommendations"] = NO_MODEL
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

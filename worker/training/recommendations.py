"""Fit the recommendations, and what each segment buys most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, Meta
from models.recommend.content import NO_CONTENT, fit_content
from models.recommend.fitting import fit_recommender
from models.recommend.held_out import held_out_ndcg
from models.recommend.interactions import decay
from models.recommend.model import Recommender, Weights, basic_weights, to_state
from models.recommend.tuning import Choices
from models.segments.model import nearest_ids
from worker.insights.shelf import text_of
from worker.training.data import TrainingData

Favorites: TypeAlias = dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]]

MOST_FAVORITES: Final = 50


def fit(data: TrainingData) -> tuple[Arrays, Meta]:
    """The state of a new version."""
    texts = [text_of(data.catalog.get(item)) for item in data.items]
    judged: list[tuple[Choices, ...]] = []

    def told(found: tuple[Choices, ...]) -> None:
        data.tell(0.6)
        judged.append(found)

    data.tell(0.1)
    fitted = fit_recommender(
        data.bought,
        data.items,
        len(data.key),
        as_of_day=data.today,
        content=fit_content(texts) if any(texts) else NO_CONTENT,
        rng=np.random.default_rng(data.at_s),
        told=told,
    )
    data.tell(0.9)
    arrays, meta = to_state(replace(fitted, favorites=_favorites(data, fitted)))
    return arrays, {**meta, "quality": [row for part in judged for row in _quality(part)]}


def _quality(judged: Sequence[Choices]) -> Iterator[Meta]:
    """Per list, the mean NDCG@10 of its candidates on the last closed window, cross-fitted."""
    for name, part in zip(Weights._fields, judged, strict=True):
        ndcg = held_out_ndcg(part, basic_weights())
        if len(ndcg):
            error = float(ndcg.std() / np.sqrt(len(ndcg)))
            yield {"list": name, "ndcg10": float(ndcg.mean()), "se": error, "rows": len(ndcg)}


def _favorites(data: TrainingData, fitted: Recommender) -> Favorites:
    """What the customers of each segment buy most these days."""
    model = data.live.segments
    if model is None:
        return {}
    segment = nearest_ids(model, model.matrix(data.past, data.today))
    found = data.bought
    weight = found.weight * decay(found.day, data.today, fitted.half_life_days)
    favorites: Favorites = {}
    for one in np.unique(segment).tolist():
        inside = segment[found.customer] == one
        score = np.bincount(
            found.item[inside], weights=weight[inside], minlength=len(fitted.items)
        ).astype(np.float64)
        best = np.argsort(-score, kind="stable")[:MOST_FAVORITES]
        best = best[score[best] > 0].astype(np.int64)
        if len(best):
            favorites[one] = best, score[best]
    return favorites

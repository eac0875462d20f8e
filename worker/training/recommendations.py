"""Fit the recommendations, and say how well their weights rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from models.artifact import Arrays, Meta
from models.recommend.content import NO_CONTENT, fit_content
from models.recommend.fitting import fit_recommender
from models.recommend.held_out import held_out_ndcg
from models.recommend.model import Weights, basic_weights, to_state
from models.recommend.tuning import Choices
from worker.insights.shelf import text_of
from worker.training.data import TrainingData


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
    arrays, meta = to_state(fitted)
    return arrays, {**meta, "quality": [row for part in judged for row in _quality(part)]}


def _quality(judged: Sequence[Choices]) -> Iterator[Meta]:
    """Per list, the mean NDCG@10 of its candidates on the last closed window, cross-fitted."""
    for name, part in zip(Weights._fields, judged, strict=True):
        ndcg = held_out_ndcg(part, basic_weights())
        if len(ndcg):
            error = float(ndcg.std() / np.sqrt(len(ndcg)))
            yield {"list": name, "ndcg10": float(ndcg.mean()), "se": error, "rows": len(ndcg)}

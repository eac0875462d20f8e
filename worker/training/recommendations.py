"""Fit the recommendations, and say how well their weights rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from models.artifact import Arrays, Meta
from models.recommend.content import NO_CONTENT, fit_content
from models.recommend.fitting import Learned, fit_recommender
from models.recommend.held_out import held_out_ndcg
from models.recommend.model import Weights, basic_weights, to_state
from models.recommend.similarity import Similarity
from models.recommend.tuning import Choices
from worker.insights.shelf import text_of
from worker.training.data import TrainingData


def fit(data: TrainingData) -> tuple[Arrays, Meta]:
    """The state of a new version."""
    texts = [text_of(data.catalog.get(item)) for item in data.items]
    learned: list[Learned] = []

    def told(found: Learned) -> None:
        data.tell(0.6)
        learned.append(found)

    data.tell(0.1)
    fitted = fit_recommender(
        data.bought,
        data.items,
        len(data.key),
        as_of_day=data.today,
        content=fit_content(texts) if any(texts) else NO_CONTENT,
        similarity=Similarity[data.rules.similarity.upper()],
        search=True,
        rng=np.random.default_rng(data.at_s),
        told=told,
    )
    data.tell(0.9)
    arrays, meta = to_state(fitted)
    quality = [row for one in learned for row in _quality(one.choices, fitted.ridge)]
    return arrays, {
        **meta,
        "quality": quality,
        "tried": [row for one in learned for row in _tried(one)],
    }


def _tried(learned: Learned) -> Iterator[Meta]:
    """The settings that were tried, in their sequence: mean NDCG@10 of both lists, cross-fitted."""
    for one in learned.trials:
        yield {**one.params._asdict(), "ndcg10": one.ndcg10, "gain": one.gain, "se": one.se}


def _quality(judged: Sequence[Choices], ridge: float) -> Iterator[Meta]:
    """Per list, the mean NDCG@10 of its candidates on the last closed window, cross-fitted."""
    for name, part in zip(Weights._fields, judged, strict=True):
        ndcg = held_out_ndcg(part, basic_weights(), ridge=ridge)
        if len(ndcg):
            error = float(ndcg.std() / np.sqrt(len(ndcg)))
            yield {"list": name, "ndcg10": float(ndcg.mean()), "se": error, "rows": len(ndcg)}

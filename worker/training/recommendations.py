"""Fit the recommendations."""

from __future__ import annotations

from models.artifact import Arrays, Meta
from models.recommend import recommender
from models.recommend.interactions import ItemTable
from worker.index import triplets
from worker.training.data import TrainingData


def fit(data: TrainingData) -> tuple[Arrays, Meta]:
    """The state of a new version."""
    items = ItemTable()
    found = triplets(data.views, items, data.calendar)
    fitted = recommender.fit_recommender(found, items.ids, len(data.views), as_of_day=data.today)
    return recommender.to_state(fitted)

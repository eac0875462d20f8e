"""Fit the segments."""

from __future__ import annotations

import numpy as np

from models.artifact import Arrays, Meta
from models.features import rfm
from models.segments.kmeans import fit_segments
from models.segments.model import to_state
from worker.training.data import TrainingData


def fit(data: TrainingData) -> tuple[Arrays, Meta]:
    """The state of a new version, whose ids continue those of the live one."""
    features = rfm(data.past, data.today)
    rng = np.random.default_rng(data.at_s)
    model = fit_segments(features[features[:, 1] > 0], rng=rng, previous=data.live.segments)
    return to_state(model)

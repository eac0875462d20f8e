"""Fit the segments."""

from __future__ import annotations

import numpy as np

from models.artifact import Arrays, Meta
from models.segments.fit import fit_segments
from models.segments.state import to_state
from worker.training.data import TrainingData


def fit(data: TrainingData) -> tuple[Arrays, Meta]:
    """The state of a new version, whose ids continue those of the live one."""
    rng = np.random.default_rng(data.at_s)
    model = fit_segments(data.past, data.today, rng=rng, previous=data.live.segments)
    return to_state(model)

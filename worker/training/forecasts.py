"""Fit the forecasts."""

from __future__ import annotations

from models.artifact import Arrays, Meta
from models.forecast import forecast
from worker.training.data import TrainingData


def fit(data: TrainingData) -> tuple[Arrays, Meta]:
    """The state of a new version."""
    fitted = forecast.fit_forecaster(
        data.past,
        data.today,
        currency=data.rules.currency,
        discount_rate_year=data.discount_rate_year,
    )
    return forecast.to_state(fitted)

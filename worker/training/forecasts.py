"""Fit the forecasts."""

from __future__ import annotations

from models.artifact import Arrays, Meta
from models.forecast.bundle import HORIZONS_DAYS, WINDOWS, fit_bundle, to_state
from worker.training.data import TrainingData


def fit(data: TrainingData) -> tuple[Arrays, Meta]:
    """The state of a new version.

    The first version is level 1, within a second, so that a new shop has forecasts at once; every
    later one tries all candidates on closed windows.
    """
    fitted = fit_bundle(
        data.past,
        data.today,
        currency=data.rules.currency,
        discount_rate_year=data.discount_rate_year,
        horizons_days=(*HORIZONS_DAYS, *data.rules.horizons_days),
        key=data.key,
        windows=WINDOWS if data.live.forecasts else 0,
        finished_day=data.today - 1,
        seed=data.at_s % 2**32,
        progress=data.tell,
    )
    return to_state(fitted)

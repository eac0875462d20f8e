"""The forecasts of one shop as they are published: fitted, asked and stored as one bundle.

>>> HORIZONS_DAYS
(30, 90)
"""

from models.forecast.fitting import WINDOWS, fit_bundle, prior_bundle
from models.forecast.heads import HORIZONS_DAYS, Bundle, Head
from models.forecast.outlook import (
    Distribution,
    Outlook,
    Prediction,
    predict_bundle,
    spend_distribution,
)
from models.forecast.stored import from_state, to_state

__all__ = [
    "HORIZONS_DAYS",
    "WINDOWS",
    "Bundle",
    "Distribution",
    "Head",
    "Outlook",
    "Prediction",
    "fit_bundle",
    "from_state",
    "predict_bundle",
    "prior_bundle",
    "spend_distribution",
    "to_state",
]

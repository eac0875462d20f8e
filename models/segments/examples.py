"""Small segmentations for the examples in the documentation of functions."""

import numpy as np

from models.features import COLUMNS, FeatureSet
from models.segments.geometry import Centroids
from models.segments.labels import Label
from models.segments.model import FIRST_ID, SegmentModel
from models.segments.scaling import Scaling


def on_a_line(*places: float) -> SegmentModel:
    """Return segments 1, 2, ... whose recency, frequency and money are all expm1(place).

    >>> on_a_line(0.0, 2.0).names
    ('Champions', 'Loyal')
    """
    d, k = len(COLUMNS["rfm"]), len(places)
    keys = ("champions", "loyal", "big_baskets", "new", "lapsed", "at_risk_valuable")
    return SegmentModel(
        algorithm="kmeans",
        features=FeatureSet("rfm", np.ones(d)),
        scaling=Scaling(np.zeros(d), np.ones(d)),
        geometry=Centroids(np.tile(np.array(places)[:, None], (1, d))),
        ids=FIRST_ID + np.arange(k),
        labels=tuple(Label(key) for key in keys[:k]),
        next_id=FIRST_ID + k,
        population=np.vstack((np.zeros(d), np.ones(d))),
        inertia=3.0,
    )

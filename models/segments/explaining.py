"""Why a customer is in a segment: which features put it there, and which would be next."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import require
from models.segments.model import SegmentModel, assign
from models.segments.scaling import unscale

Matrix: TypeAlias = NDArray[np.float64]


class Reason(NamedTuple):
    """What one feature says.

    feature    name of the column
    value      of the customer, natural units
    typical    of the customer's segment, natural units
    runner_up  of the next segment
    share      of the difference between both that this feature makes; negative = it speaks for the
               next one; all shares add up to 1, or are 0 where there is no difference
    """

    feature: str
    value: float
    typical: float
    runner_up: float
    share: float


class Explanation(NamedTuple):
    """Why a customer is in a segment.

    segment_id, runner_up_id
    margin      in [0, 1]: 1 - distance / distance to the runner-up
    outlier     as in `Assignment`
    reasons     one per feature, the strongest first
    """

    segment_id: int
    runner_up_id: int
    margin: float
    outlier: float
    reasons: tuple[Reason, ...]


def explain(model: SegmentModel, features: Matrix, segment_id: int | None = None) -> Explanation:
    """Explain one customer, exactly for centers: squared distances are sums over features.

    For the other algorithms distances to the segments' means stand in.

    features    (1, d) >= 0
    segment_id  the segment it is in, where hysteresis keeps it in another than the nearest: the
                nearest is then its runner-up and the margin is 0; None = the nearest
    Raises      ShapeError, DomainError

    >>> from models.segments.examples import on_a_line
    >>> why = explain(on_a_line(0.0, 2.0), np.array([[6.0, 6.0, 0.0]]))
    >>> why.segment_id, why.runner_up_id, why.reasons[0].feature, round(why.reasons[0].share, 2)
    (2, 1, 'recency_days', 1.06)
    """
    require(len(features) == 1, "one customer")
    found = assign(model, features)
    own, other = int(found.ids[0]), int(found.runner_up[0])
    margin = float(found.margin[0])
    if segment_id is not None and segment_id in model.ids and segment_id != own:
        own, other, margin = segment_id, own, 0.0
    point = model.points(features)[0]
    centers = model.geometry.centers[np.searchsorted(model.ids, [own, other])]
    pulls = (point - centers[1]) ** 2 - (point - centers[0]) ** 2
    total = float(pulls.sum())
    shares = pulls / total if abs(total) > 0 else np.zeros(len(pulls))
    natural = natural_centers(model)[np.searchsorted(model.ids, [own, other])]
    reasons = [
        Reason(name, float(value), float(here), float(there), float(share))
        for name, value, here, there, share in zip(
            model.features.columns, features[0], natural[0], natural[1], shares, strict=True
        )
    ]
    reasons.sort(key=lambda reason: -reason.share)
    return Explanation(own, other, margin, float(found.outlier[0]), tuple(reasons))


def natural_centers(model: SegmentModel) -> Matrix:
    """Return the centers (k, d) in natural units: days, counts, minor units, percent.

    >>> from models.segments.examples import on_a_line
    >>> natural_centers(on_a_line(0.0, 2.0)).round(2)[:, 0]
    array([0.  , 6.39])
    """
    return unscale(model.scaling, model.geometry.centers / model.features.weights)

"""Whether a new segmentation may go live."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.segments.explaining import natural_centers
from models.segments.kmeans import FAR_BETTER, inertia
from models.segments.model import OUTLIERS, SegmentModel, assign

Matrix: TypeAlias = NDArray[np.float64]

ENOUGH_BETTER = 0.99  # of the live inertia, where no schedule asks for a new version
MOST_MOVED = 0.10  # of the customers: beyond, a person decides
LEAST_SHARE = 0.02  # of the customers in the smallest segment
LEAST_GAIN = -0.005  # of AUC on the closed window


class Decision(NamedTuple):
    """What the gate says.

    promote       go live now
    ask           a person may promote it: only the number of customers that would move speaks
                  against it
    reasons       every rule that was broken, as a sentence; empty = none
    moved         share of the customers that would change their segment
    inertia_ratio new inertia over live inertia, both on the new scale; 1 without a live model
    """

    promote: bool
    ask: bool
    reasons: tuple[str, ...]
    moved: float
    inertia_ratio: float


def decide(
    candidate: SegmentModel,
    live: SegmentModel | None,
    table: Matrix,
    live_table: Matrix,
    *,
    scheduled: bool,
    auc_gain: float | None = None,
) -> Decision:
    """Hold a candidate against the live model, on customers that both have seen.

    table       (n, d) features of customers as the candidate reads them
    live_table  (n, e) of the same customers as the live model reads them
    scheduled   a new version is due anyway: it need not be better
    auc_gain    of the closed window, candidate less live; None = not measured
    Raises      ShapeError, DomainError

    >>> from models.segments.examples import on_a_line
    >>> rows = np.expm1(np.array([[0.0], [2.0]])).repeat(3, axis=1)
    >>> decide(on_a_line(0.0, 2.0), on_a_line(0.0, 2.0), rows, rows, scheduled=False).reasons
    ('inertia is 1.000 of the live one, not below 0.99',)
    """
    new = assign(candidate, table).ids
    reasons = []
    sizes, least = _sizes(candidate, new), LEAST_SHARE
    old = None if live is None else assign(live, live_table).ids
    known = {} if live is None or old is None else _sizes(live, old)
    if min(known.values(), default=1.0) < LEAST_SHARE:
        least = LEAST_SHARE / 2  # as small as people know them already
    small = [one for one, share in sizes.items() if share < least]
    if small and candidate.algorithm != "rfm_rules":
        share = 100 * min(sizes.values())
        reasons.append(f"segment {small[0]} has {share:.1f} % of the customers, not {least:.0%}")
    if auc_gain is not None and auc_gain < LEAST_GAIN:
        reasons.append(f"AUC on the closed window changes by {auc_gain:.4f}")
    if live is None or old is None:
        return Decision(
            not reasons, ask=False, reasons=tuple(reasons), moved=1.0, inertia_ratio=1.0
        )
    moved = float((new != old).mean())
    ratio = _ratio(candidate, live, table)
    if not scheduled and ratio > ENOUGH_BETTER:
        reasons.append(f"inertia is {ratio:.3f} of the live one, not below {ENOUGH_BETTER}")
    alike = len(candidate.ids) == len(live.ids)  # more segments have less inertia by themselves
    crowd = moved > MOST_MOVED and not (alike and ratio <= FAR_BETTER)
    if crowd:
        reasons.append(f"{100 * moved:.1f} % of the customers would move, more than 10 %")
    return Decision(
        promote=not reasons,
        ask=crowd and len(reasons) == 1,
        reasons=tuple(reasons),
        moved=moved,
        inertia_ratio=ratio,
    )


def _sizes(model: SegmentModel, ids: NDArray[np.int64]) -> dict[int, float]:
    """Return the share of the customers in each segment."""
    return {one: float((ids == one).mean()) for one in model.ids.tolist() if one != OUTLIERS}


def _ratio(candidate: SegmentModel, live: SegmentModel, table: Matrix) -> float:
    """New inertia over live, on the candidate's scale; 1 where they read other columns."""
    if live.features.name != candidate.features.name:
        return 1.0
    points = candidate.points(table)
    old = candidate.points(natural_centers(live))
    before = inertia(points, old)
    return inertia(points, candidate.geometry.centers) / before if before > 0 else 1.0

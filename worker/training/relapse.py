"""What speaks against a live version beside the one before it: both as they are, on what happened.

What a live version may know of the newest window only favors it; where the shop itself has become
harder to foresee, both lose.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.challenging import auc_gain
from models.forecast.bundle import Bundle
from models.forecast.families.base import TARGETS
from models.forecast.gate import LOSSES
from models.forecast.snapshot import take
from models.history import window
from models.monitoring import INERTIA_ALARM, out_of_band, worse_than_before
from models.recommend.recommender import Recommender
from models.segments.choosing import held_out_means
from models.segments.fit import LEAST_CUSTOMERS
from models.segments.model import SegmentModel, nearest_ids
from worker.training.evidence import Evidence
from worker.training.gate_forecasts import as_it_is, happened
from worker.training.gate_recommendations import LEAST_JUDGED, LISTS, losses, question
from worker.training.gate_segments import FOLDS, HORIZON_DAYS, LEAST_ITSELF, unsettled_by

Rows: TypeAlias = NDArray[np.float64]

#: Standard errors: it is looked at several times a day, and going back is not undone by itself.
SURE: Final = 3.0
#: Customers that a window must have.
LEAST: Final = 100


def relapse(evidence: Evidence, live: object, before: object) -> list[str]:
    """Why a live version should give way to the one before it, as sentences; [] = it should not.

    Raises ShapeError, DomainError, NumericError
    """
    if isinstance(live, Bundle) and isinstance(before, Bundle):
        return _forecasts(evidence, live, before)
    if isinstance(live, SegmentModel) and isinstance(before, SegmentModel):
        return _segments(evidence, live, before)
    if isinstance(live, Recommender) and isinstance(before, Recommender):
        return _recommendations(evidence, live, before)
    return []


def _forecasts(evidence: Evidence, live: Bundle, before: Bundle) -> list[str]:
    """Loss, calibration and level of each target on the newest closed window of each horizon."""
    found = []
    for horizon in sorted(set(live.horizons_days) & set(before.horizons_days)):
        day = evidence.today - horizon
        past = evidence.past(day)
        if (np.diff(past.starts) > 0).sum() < LEAST:
            continue
        snapshot = take(past, day)
        came = happened(evidence.now, snapshot, horizon)
        new, old = (as_it_is(one, past, day, horizon, snapshot.row) for one in (live, before))
        for target in TARGETS:
            name, rows = f"{target}, {horizon} d", (came[target], new[target], old[target])
            worse, better = (LOSSES[target](came[target], said) for said in rows[1:])
            if worse_than_before(worse, better, errors=SURE):
                found.append(f"{name}: loss {worse.mean():.3f}, and {better.mean():.3f} before")
            off = out_of_band(*rows, are_chances=target == "buy")
            found += [f"{name}: {one}" for one in off]
    return found


def _segments(evidence: Evidence, live: SegmentModel, before: SegmentModel) -> list[str]:
    """What a segment tells of the 90 days after, and whether centers lie where customers are."""
    tables = [one.matrix(evidence.now, evidence.today) for one in (live, before)]
    bought = tables[0][:, 1] > 0
    if bought.sum() < LEAST:
        return []
    ratio, older = (
        unsettled_by(one, table[bought]) for one, table in zip((live, before), tables, strict=True)
    )
    found = [f"inertia is {ratio:.2f} of what its centers can reach, and {older:.2f} before"]
    away = ratio > INERTIA_ALARM * max(older, 1.0)
    return found * away + _less_told(evidence, live, before)


def _less_told(evidence: Evidence, live: SegmentModel, before: SegmentModel) -> list[str]:
    day = evidence.today - HORIZON_DAYS
    past = evidence.past(day)
    known = np.diff(past.starts) > 0
    came = (window(evidence.now, day, HORIZON_DAYS).orders[known] > 0).astype(np.float64)
    if known.sum() < LEAST_CUSTOMERS or not 0 < came.mean() < 1:
        return []
    fold = np.random.default_rng(evidence.seed).permutation(len(came)) % FOLDS
    new, old = (
        held_out_means(nearest_ids(one, one.matrix(past, day)[known]), came, fold)
        for one in (live, before)
    )
    gain, error = auc_gain(new, old, came)
    return [f"AUC is {-gain:.3f} less than before"] * (gain < min(LEAST_ITSELF, -SURE * error))


def _recommendations(evidence: Evidence, live: Recommender, before: Recommender) -> list[str]:
    """How much of what was bought in the last 30 days both lists miss."""
    asked = question(evidence)
    if asked is None:
        return []
    found = []
    scored = zip(losses(evidence, live, asked), losses(evidence, before, asked), strict=True)
    for name, (new, old) in zip(LISTS, scored, strict=True):
        judged = np.isfinite(old)
        if judged.sum() < LEAST_JUDGED:
            continue
        worse, better = new[judged], old[judged]
        if worse_than_before(worse, better, errors=SURE):
            found.append(f"{name}: misses {worse.mean():.3f}, and {better.mean():.3f} before")
    return found

"""Whether new segments take over: whom they move, how well they fit, what they tell."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.challenging import auc_gain
from models.checks import DomainError
from models.features import feature_matrix, fit_features
from models.history import window
from models.monitoring import INERTIA_ALARM, inertia_ratio
from models.segments.choosing import auc, held_out_means
from models.segments.fit import LEAST_CUSTOMERS, fit_matrix
from models.segments.model import SegmentModel, nearest_ids
from models.segments.promoting import LEAST_GAIN, decide
from worker.training.evidence import Evidence
from worker.training.provenance import iso_day
from worker.training.ruling import Ruling

Rows: TypeAlias = NDArray[np.float64]

#: Days of the closed window, as segments look ahead.
HORIZON_DAYS: Final = 90
FOLDS: Final = 5
_SURE: Final = 2.0  # standard errors
#: Of AUC, that centers of today may tell less of customers as they were at the window's beginning.
LEAST_ITSELF: Final = -0.015


def judge_segments(
    evidence: Evidence,
    champion: SegmentModel,
    champion_day: int,
    challenger: SegmentModel,
    *,
    must_win: bool = False,
) -> Ruling:
    """Hold new segments against the live ones, by `models.segments.promoting` and the last window.

    What a segment tells of the 90 days after it is compared between both as they would have been
    made before the window; the live version speaks as it is where its data end before. As it is,
    the new version must not tell clearly less, though it knows the window, and its centers must lie
    where the customers are.

    champion_day  first day that the live version does not know
    must_win      an alarm asked for it: its inertia must be less, by 1 %
    Raises        ShapeError, DomainError, NumericError
    """
    table = challenger.matrix(evidence.now, evidence.today)
    bought = table[:, 1] > 0
    if bought.sum() < LEAST_CUSTOMERS:
        return Ruling(promote=True, notes=("too few customers have bought to compare",))
    # Segments that could not be made as asked, of too few customers, are nothing to defend.
    forced = any("were asked for" in note for note in champion.notes)
    told = _told(evidence, champion, champion_day, challenger)
    reasons, gain = _clearly_worse(told), None
    if told is not None:
        lost = told["gain"] < -told["se"]
        gain = told["gain"] if lost else max(told["gain"], LEAST_GAIN)
    reasons += _unsettled(challenger, table[bought])
    live_table = champion.matrix(evidence.now, evidence.today)
    found = decide(
        challenger,
        None if forced else champion,
        table[bought],
        live_table[bought],
        scheduled=not must_win,
        auc_gain=gain,
    )
    reasons += found.reasons
    figures = [{"of": "moved", "share": round(found.moved, 4), "rows": int(bought.sum())}]
    return Ruling(
        promote=not reasons,
        ask=found.ask and len(reasons) == len(found.reasons),
        reasons=tuple(reasons),
        notes=() if told else ("no closed window with history enough to compare on",),
        figures=tuple(figures + ([told] if told else [])),
    )


def _clearly_worse(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return []
    worse = told["itself"] < min(LEAST_ITSELF, -_SURE * told["itself_se"])
    return [f"AUC is {-told['itself']:.3f} less on the last window, which it knows"] * worse


def unsettled_by(model: SegmentModel, table: Rows) -> float:
    """Inertia over what the centers could reach; 1 for segments that have no such centers."""
    if not model.is_settled:
        return 1.0
    ratio = inertia_ratio(model.points(table), model.geometry.centers)
    return ratio * (1.0 - len(model.ids) / len(table))  # what a fit on so few gains by itself


def _unsettled(model: SegmentModel, table: Rows) -> list[str]:
    """The rule by which live segments grow old, for new ones."""
    ratio = unsettled_by(model, table)
    return [f"inertia is {ratio:.2f} of what its centers can reach"] * (ratio > INERTIA_ALARM)


def _told(
    evidence: Evidence, champion: SegmentModel, champion_day: int, challenger: SegmentModel
) -> dict[str, Any] | None:
    """How much more AUC on the last closed window; None where that cannot be measured."""
    day = evidence.today - HORIZON_DAYS
    past = evidence.past(day)
    known = np.diff(past.starts) > 0
    came = (window(evidence.now, day, HORIZON_DAYS).orders[known] > 0).astype(np.float64)
    if known.sum() < LEAST_CUSTOMERS or not 0 < came.mean() < 1:
        return None
    fold = np.random.default_rng(evidence.seed).permutation(len(came)) % FOLDS

    def score(model: SegmentModel) -> Rows:
        ids = nearest_ids(model, model.matrix(past, day)[known])
        return held_out_means(ids, came, fold)

    def then(model: SegmentModel) -> SegmentModel:
        features = fit_features(model.features.name, past, day, horizon_days=HORIZON_DAYS)
        return fit_matrix(
            feature_matrix(features, past, day)[known],
            features,
            rng=np.random.default_rng(evidence.seed),
            algorithm=model.algorithm,
            k=len(model.ids),
        )

    try:
        new = score(then(challenger))
        old = score(champion if champion_day <= day else then(champion))
    except DomainError:
        return None
    gain, error = auc_gain(new, old, came)
    itself, itself_error = auc_gain(score(challenger), old, came)
    return {
        "of": f"AUC of a purchase within {HORIZON_DAYS} d",
        "windows": [iso_day(day)],
        "rows": len(came),
        "auc": round(auc(old, came), 4),
        "gain": round(gain, 5),
        "se": round(error, 5),
        "itself": round(itself, 5),
        "itself_se": round(itself_error, 5),
    }

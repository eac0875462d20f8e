"""Fit the segments: choose how many, fit them, and ask the gate what it would move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.artifact import Arrays, Meta
from models.checks import ModelError
from models.segments.choosing import CANDIDATES, SIZES, UNCOUNTED, Choice, Score, choose
from models.segments.favorites import fit_favorites
from models.segments.fit import fit_segments
from models.segments.model import SegmentModel, nearest_ids
from models.segments.promoting import Decision, decide
from models.segments.state import to_state
from worker.refresh_rules import Division
from worker.training.data import TrainingData

#: Another division, or the live one measured anew, must gain so much: people know these segments,
#: and by chance alone two fits of one division differ by 0.03.
WORTH_A_CHANGE: Final = 0.05
MOST_WAYS: Final = 3  # that are fitted on all customers, where the gate stops one after the other


class Way(NamedTuple):
    """One way to divide the customers.

    k     None = as the height or the algorithm makes it
    anew  scaling and parameters are fitted too, not taken over from the live version
    """

    algorithm: str
    k: int | None
    anew: bool


def fit(data: TrainingData, *, feature_set: str = "shipped") -> tuple[Arrays, Meta]:
    """The state of a new version, whose ids continue those of the live one.

    What is not set in `data.rules.division` is chosen by what the last window speaks for. Its meta
    holds the `choice` (every way that was tried, the best first) and what the `gate` says. Where
    the gate stops a division, the next one is fitted: the live one, or the next best without one.
    """
    rng = np.random.default_rng(data.at_s)
    live, division = data.live.segments, data.rules.division
    held = live if live is not None and _is_as_set(live, division) else None
    choice, why = _choice(data, rng, division, held, feature_set)
    ways = _ways(live, held, choice, division)
    for way in ways:
        model, decision = _fitted(data, way, rng, feature_set)
        if decision.promote or way == ways[-1]:
            break
        stops = "; ".join(decision.reasons)
        why = f"{way.algorithm} with {way.k} segments was stopped: {stops}"
    segment = nearest_ids(model, model.matrix(data.past, data.today))
    favorites = fit_favorites(data.bought, tuple(data.items), segment, data.today)
    arrays, state = to_state(replace(model, favorites=favorites))
    table = [] if choice is None else [_row(score) for score in choice.scores]
    chosen: Meta = {"ways": table, "note": why, "kept": live is not None and not way.anew}
    gate = {**decision._asdict(), "reasons": list(decision.reasons)}
    return arrays, {**state, "choice": chosen, "gate": gate}


def _is_as_set(live: SegmentModel, division: Division) -> bool:
    """Is the live division one that the settings ask for?"""
    is_counted = live.algorithm not in UNCOUNTED and division.height is None
    return division.algorithm in {"", live.algorithm} and (
        not is_counted or division.k in {0, len(live.ids)}
    )


def _choice(
    data: TrainingData,
    rng: np.random.Generator,
    division: Division,
    held: SegmentModel | None,
    feature_set: str,
) -> tuple[Choice | None, str]:
    """What the window that has just closed speaks for; None and the reason where it cannot."""
    is_set = division.k or division.algorithm in UNCOUNTED
    if division.height is not None or (division.algorithm and is_set and held is None):
        return None, "algorithm and number are set"
    try:
        with threadpool_limits(1):  # many small fits: threads would wait for each other
            found = choose(
                data.past,
                data.today,
                rng=rng,
                feature_set=feature_set,
                algorithms=(division.algorithm,) if division.algorithm else CANDIDATES,
                sizes=(division.k,) if division.k else SIZES,
                live=held,
                progress=data.tell,
            )
    except ModelError as error:
        return None, f"nothing to choose by: {error}"
    return found, "no way was stable" if found.fallback else ""


def _ways(
    live: SegmentModel | None,
    held: SegmentModel | None,
    choice: Choice | None,
    division: Division,
) -> list[Way]:
    """The ways to try: the best one, then the live one; that one alone unless much is to be gained.

    Without one to keep, the next best ones follow the best.

    held  the live segments, if they are what the settings ask for
    """
    kept = None if held is None else Way(held.algorithm, len(held.ids), anew=False)
    if choice is None or choice.fallback:
        number = None if live is None else len(live.ids)
        return [kept or Way(division.algorithm or "kmeans", division.k or number, anew=False)]
    if kept is None or choice.live is None:
        fit = [score for score in choice.scores if not score.problem]
        return [Way(score.algorithm, score.k, anew=True) for score in fit[:MOST_WAYS]]
    best = Way(choice.algorithm, choice.k, anew=True)
    worth = max(WORTH_A_CHANGE, choice.customers**-0.5)  # so uncertain are a small shop's figures
    if choice.scores[0].gain - choice.live.gain < worth:
        return [kept]
    return [best, kept]


def _fitted(
    data: TrainingData, way: Way, rng: np.random.Generator, feature_set: str
) -> tuple[SegmentModel, Decision]:
    live = data.live.segments
    model = fit_segments(
        data.past,
        data.today,
        rng=rng,
        algorithm=way.algorithm,
        k=way.k,
        feature_set=feature_set,
        height=data.rules.division.height,
        previous=live,
        anew=way.anew,
        first_id=data.next_segment_id,
    )
    table = model.matrix(data.past, data.today)
    bought = table[:, 1] > 0
    # Live segments that could not be made as asked, of too few customers, are nothing to defend.
    forced = live is not None and any("were asked for" in note for note in live.notes)
    held = None if forced else live
    before = table if held is None else held.matrix(data.past, data.today)
    return model, decide(model, held, table[bought], before[bought], scheduled=True)


def _row(score: Score) -> dict[str, Any]:
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in score._asdict().items()
    }

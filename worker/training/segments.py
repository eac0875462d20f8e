"""Fit the segments: choose how many, fit them, and ask the gate what it would move."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.artifact import Arrays, Meta
from models.checks import ModelError
from models.segments.choosing import CANDIDATES, SIZES, Choice, Score, choose
from models.segments.fit import fit_segments
from models.segments.model import SegmentModel
from models.segments.promoting import Decision, decide
from models.segments.state import to_state
from worker.training.data import TrainingData

#: Another algorithm or number than the live ones must gain so much: people know these segments.
WORTH_A_CHANGE: Final = 0.02


def fit(data: TrainingData, algorithm: str = "", k: int = 0) -> tuple[Arrays, Meta]:
    """The state of a new version, whose ids continue those of the live one.

    algorithm, k  as set by somebody; "" and 0 = chosen by what the last window speaks for

    Its meta holds the `choice` (every way that was tried, the best first) and what the `gate` says.
    Where the gate stops another division than the live one, the live one is fitted anew instead.
    """
    rng = np.random.default_rng(data.at_s)
    live = data.live.segments
    choice, why = _choice(data, rng, algorithm, k)
    ways = _ways(live, choice, algorithm, k)
    model, decision = _fitted(data, ways[0], rng)
    if not decision.promote and len(ways) > 1:
        why = f"{ways[0][0]} with {ways[0][1]} segments was stopped: {'; '.join(decision.reasons)}"
        model, decision = _fitted(data, ways[1], rng)
    arrays, state = to_state(model)
    table = [] if choice is None else [_row(score) for score in choice.scores]
    gate = {**decision._asdict(), "reasons": list(decision.reasons)}
    return arrays, {**state, "choice": {"ways": table, "note": why}, "gate": gate}


def _choice(
    data: TrainingData, rng: np.random.Generator, algorithm: str, k: int
) -> tuple[Choice | None, str]:
    """What the window that has just closed speaks for; None and the reason where it cannot."""
    if algorithm and k:
        return None, "algorithm and number are set"
    try:
        with threadpool_limits(1):  # many small fits: threads would wait for each other
            found = choose(
                data.past,
                data.today,
                rng=rng,
                algorithms=(algorithm,) if algorithm else CANDIDATES,
                sizes=(k,) if k else SIZES,
                progress=data.tell,
            )
    except ModelError as error:
        return None, f"nothing to choose by: {error}"
    return found, "no way was stable" if found.fallback else ""


def _ways(
    live: SegmentModel | None, choice: Choice | None, algorithm: str, k: int
) -> list[tuple[str, int | None]]:
    """(algorithm, number) to try: what is set, or was chosen; then as the live ones are."""
    as_live = ("kmeans", None) if live is None else (live.algorithm, len(live.ids))
    if choice is None or choice.fallback:
        return [(algorithm or as_live[0], k or as_live[1])]
    best = (choice.algorithm, choice.k)
    if live is None or algorithm or k or best == as_live:
        return [best]
    held = [one.gain for one in choice.scores if (one.algorithm, one.k) == as_live]
    if held and choice.scores[0].gain - held[0] < WORTH_A_CHANGE:
        return [as_live]
    return [best, as_live]


def _fitted(
    data: TrainingData, way: tuple[str, int | None], rng: np.random.Generator
) -> tuple[SegmentModel, Decision]:
    live, (algorithm, k) = data.live.segments, way
    model = fit_segments(data.past, data.today, rng=rng, algorithm=algorithm, k=k, previous=live)
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

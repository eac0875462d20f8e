"""The gate: whether a version that was just fitted goes live, waits, or is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from models.checks import ModelError
from models.forecast.bundle import Bundle
from models.recommend.recommender import Recommender
from models.segments.model import SegmentModel
from worker.live import Live, load
from worker.store.models import Artifact, ArtifactError, ModelStore
from worker.store.population import Population
from worker.store.verdicts import State, Verdict
from worker.store.watching import are_alarms
from worker.telemetry import logger
from worker.training.data import TrainingData
from worker.training.evidence import Evidence, gather
from worker.training.gate_forecasts import judge_forecasts
from worker.training.gate_recommendations import judge_recommendations
from worker.training.gate_segments import judge_segments
from worker.training.ruling import Ruling

log = logger(__name__)

Model: TypeAlias = Bundle | SegmentModel | Recommender

#: Of a live version that does not say when its data end: as if it knew every window.
UNKNOWN_DAY: Final = 1 << 30


class Promotion(NamedTuple):
    """What becomes of a version that the gate lets pass.

    by_hand        somebody promotes it
    shadow_days    it scores beside the live one for so many days first; 0 = not by days
    shadow_events  or until so many events were applied; 0 = not by events
    """

    by_hand: bool = False
    shadow_days: int = 0
    shadow_events: int = 0

    @property
    def shadows(self) -> bool:
        """Versions go through the shadow."""
        return bool(self.shadow_days or self.shadow_events)


AUTOMATIC: Final = Promotion()


class Champion(NamedTuple):
    """The live version of a kind.

    model  None = it cannot be read
    day    first day that it does not know
    """

    version: int
    model: Model | None
    day: int = UNKNOWN_DAY


class Judge:
    """Judges the versions of one training; what they are compared on is read once, if need be."""

    def __init__(
        self,
        population: Population,
        models: ModelStore,
        promotion: Promotion,
        data: TrainingData,
        known: Mapping[str, int],
    ) -> None:
        self._population = population
        self._models = models
        self._promotion = promotion
        self._data = data
        self._known = known
        self._evidence: Evidence | None = None

    def __call__(
        self,
        kind: str,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        reasons: Sequence[str],
        tell: Callable[[float], None],
    ) -> tuple[Verdict, dict[str, Any]]:
        """What becomes of a version that was asked for, and what it says of that."""
        at_s = self._data.at_s
        if kind not in self._known:
            verdict = Verdict("promoted", ("the first version",), at_s)
            return verdict, told(verdict)
        if self._evidence is None:
            data = self._data
            self._evidence = gather(self._population, data.rules, data.at_s, data.catalog)
        start_s = time.process_time()
        champion = self._champion(kind, self._evidence)
        must_win = are_alarms(reasons)
        ruling = rule(kind, champion, arrays, meta, self._evidence, tell, must_win=must_win)
        verdict = verdict_of(ruling, champion, self._promotion, at_s)
        customers = len(self._evidence.customer_ids)
        took_s = round(time.process_time() - start_s, 2)
        against = {"against": champion.version, "customers": customers, "cpu_s": took_s}
        return verdict, {**told(verdict), "must_win": must_win, **against, **ruling.told()}

    def _champion(self, kind: str, evidence: Evidence) -> Champion:
        """The version that speaks, and since when it knows nothing."""
        live, version = self._data.live, self._known[kind]
        model = live_model(live, kind) if live.version(kind) == version else None
        try:
            as_of_s = self._models.head(kind, version).get("as_of_s")
        except ArtifactError:
            as_of_s = None
        if as_of_s is None or (kind == "segments" and live.segments_minor):
            return Champion(version, model)  # what follows the customers knows all days
        return Champion(version, model, evidence.calendar.day(int(as_of_s)) + 1)


def rule(
    kind: str,
    champion: Champion,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    evidence: Evidence,
    tell: Callable[[float], None] = lambda _: None,
    *,
    must_win: bool = False,
) -> Ruling:
    """Hold a fitted version against the live one of its kind.

    meta      of the fit: what becomes the version's `model`
    must_win  alarms alone asked for it
    """
    try:
        challenger = load(Artifact(kind, 0, arrays, {"model": dict(meta)}))
    except ArtifactError as error:
        return Ruling(promote=False, reasons=(f"it cannot be read: {error}",))
    old, day = champion.model, champion.day
    try:
        if isinstance(challenger, Bundle) and isinstance(old, Bundle):
            return judge_forecasts(evidence, old, day, challenger, tell, must_win=must_win)
        if isinstance(challenger, SegmentModel) and isinstance(old, SegmentModel):
            return judge_segments(evidence, old, day, challenger, must_win=must_win)
        if isinstance(challenger, Recommender) and isinstance(old, Recommender):
            return judge_recommendations(evidence, old, day, challenger)
    except ModelError as error:
        log.warning("version could not be judged", kind=kind, reason=str(error))
        return Ruling(promote=False, ask=True, reasons=(f"it could not be judged: {error}",))
    return Ruling(promote=True, notes=("the live version cannot be read",))


def verdict_of(ruling: Ruling, champion: Champion, promotion: Promotion, at_s: int) -> Verdict:
    """What happens to a version that has been judged."""
    if not ruling.promote:
        state: State = "waiting" if ruling.ask else "refused"
        return Verdict(state, ruling.reasons, at_s)
    if promotion.shadows:
        return Verdict("shadow", (f"beside version {champion.version}",), at_s)
    if promotion.by_hand:
        return Verdict("waiting", ("promotion is by hand",), at_s)
    return Verdict("promoted", ruling.notes or (f"no worse than {champion.version}",), at_s)


def told(verdict: Verdict) -> dict[str, Any]:
    """What the version says of it for ever (JSON)."""
    return {"verdict": verdict.state, "reasons": list(verdict.reasons)}


def live_model(live: Live, kind: str) -> Model | None:
    """The live model of a kind."""
    models: dict[str, Model | None] = {
        "segments": live.segments,
        "recommendations": live.recommendations,
        "forecasts": live.forecasts,
    }
    return models[kind]

"""The models that are live, swapped between two batches and never within one."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, NamedTuple

from models.checks import ModelError
from models.forecast import bundle
from models.forecast.bundle import Bundle
from models.recommend import recommender
from models.recommend.recommender import Recommender
from models.segments import state as segments
from models.segments.model import SegmentModel, with_names
from worker.clock import Clock
from worker.registry.artifact import StorageError
from worker.rules.book import gone_segments
from worker.rules.definitions import KIND, Definitions, from_meta
from worker.rules.reading import RulesError
from worker.store.models import Artifact, ArtifactError, ModelStore
from worker.telemetry import logger

log = logger(__name__)

LOOK_EVERY_S: Final = 0.5


class Live(NamedTuple):
    """One consistent set of models; None where a kind has no version yet.

    versions   those that speak        published  those that should
    """

    generation: int = 0
    segments: SegmentModel | None = None
    forecasts: Bundle | None = None
    recommendations: Recommender | None = None
    rules: Definitions = Definitions()
    versions: tuple[tuple[str, int], ...] = ()
    segments_minor: int = 0
    published: tuple[tuple[str, int], ...] = ()

    @property
    def is_complete(self) -> bool:
        """All that was published speaks: none was refused, and none waits for its index."""
        return self.versions == self.published

    def version(self, kind: str) -> int | None:
        """The version of a kind that speaks."""
        return dict(self.versions).get(kind)


def load(artifact: Artifact) -> SegmentModel | Bundle | Recommender | Definitions:
    """The model, or the definitions of rule segments, in an artifact.

    Raises ArtifactError when its state does not fit.
    """
    arrays, meta = dict(artifact.arrays), dict(artifact.meta["model"])
    try:
        if artifact.kind == "segments":
            return segments.from_state(arrays, meta)
        if artifact.kind == "forecasts":
            return bundle.from_state(arrays, meta)
        if artifact.kind == KIND:
            return from_meta(meta)
        return recommender.from_state(arrays, meta)
    except (ModelError, RulesError, KeyError) as error:
        raise ArtifactError(f"{artifact.kind} {artifact.version}: {error}") from None


class LiveModels:
    """Reads what is current, twice a second at most; an unreadable version changes nothing.

    A process that begins while the live version cannot be read takes the one that was live before.
    """

    def __init__(self, store: ModelStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._live = Live()
        self._looked = float("-inf")
        self._missed = ""

    def current(self) -> Live:
        """The models for the next batch."""
        now = self._clock.monotonic()
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._look()
        return self._live

    def reached(self) -> Live:
        """The models that are live now, for who compares with them and must not do without one.

        Raises StorageError: the place where one is kept does not answer.
        """
        self._look()
        if self._missed:
            raise StorageError(self._missed)
        return self._live

    def _look(self) -> None:
        self._missed = ""
        current = self._store.current()
        if current.generation == self._live.generation:
            return
        held = {kind: (version, 0) for kind, version in self._live.versions}
        if "segments" in held:
            held["segments"] = (held["segments"][0], self._live.segments_minor)
        found = {kind: getattr(self._live, kind) for kind in held}
        generation = current.generation
        for kind, major in current.versions.items():
            version = (major, current.minors[kind])
            if held.get(kind) != version:
                try:
                    found[kind] = load(self._store.read(kind, *version))
                    held[kind] = version
                except StorageError as error:
                    generation = self._live.generation  # it may answer at the next look
                    self._missed = str(error)
                    log.warning("model not reached", model=kind, version=major, reason=str(error))
                except ArtifactError as error:
                    log.warning("model refused", model=kind, version=major, reason=str(error))
                    self._hold_earlier(kind, held, found)
        if isinstance(found.get("segments"), SegmentModel):
            found["segments"] = with_names(found["segments"], self._store.names())
        before = self._live.versions
        self._live = Live(
            generation=generation,
            versions=tuple(sorted((kind, major) for kind, (major, _) in held.items())),
            segments_minor=held.get("segments", (0, 0))[1],
            published=tuple(sorted(current.versions.items())),
            **found,
        )
        if self._live.versions != before:
            rules = [one.rule for one in self._live.rules.rules]
            for rule, gone in gone_segments(rules, self._live.segments).items():
                reason = f"it names segments that are gone: {', '.join(map(str, gone))}"
                log.warning("rule holds for nobody", rule=rule, reason=reason)

    def _hold_earlier(
        self, kind: str, held: dict[str, tuple[int, int]], found: dict[str, Any]
    ) -> None:
        """Where this process has no version of a kind yet: the newest of those that were live
        before and can be read.
        """
        for earlier in dict.fromkeys(one.before for one in self._store.log(kind) if one.before):
            if kind in held:
                return
            with suppress(ArtifactError, StorageError):
                found[kind] = load(self._store.read(kind, earlier))
                held[kind] = (earlier, 0)

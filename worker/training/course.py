"""The course of one training: how far it is, and that what one kind comes to harms no other."""

from __future__ import annotations

from collections.abc import Callable

from worker.heart import CancelledTrainingError, Heart
from worker.store.models import LostTrainingError
from worker.telemetry import logger
from worker.training.data import Progress

log = logger(__name__)


class Course:
    """Tells the desk, and whoever ordered the training here.

    failed   of each kind that could not be fitted or stored, the sentence
    stopped  what ended others: cancelled, or taken over
    """

    def __init__(self, heart: Heart, progress: Progress | None) -> None:
        self._heart = heart
        self._progress = progress
        self.failed: dict[str, str] = {}
        self.stopped: list[LostTrainingError | CancelledTrainingError] = []

    def tell(self, stage: str, done: float, kind: str = "") -> None:
        """As `Heart.tell`."""
        self._heart.tell(stage, done, kind)
        if self._progress is not None:
            self._progress(stage, done)

    def try_one(self, kind: str, step: Callable[[], None]) -> None:
        """A step of one kind; what it raises is kept, and the others go on."""
        try:
            step()
        except (LostTrainingError, CancelledTrainingError) as error:
            log.warning("model not published", kind=kind, reason=str(error))
            self.stopped.append(error)
        except Exception as error:  # whatever it is
            log.exception("training failed", kind=kind)
            self.failed[kind] = f"{type(error).__name__}: {error}"

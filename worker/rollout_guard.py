"""Whether what went live gives way to the version before it, by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.forecast.bundle import Bundle
from models.monitoring import worse_than_before
from worker.live import load
from worker.store.models import KINDS, ArtifactError
from worker.store.verdicts import Verdict
from worker.telemetry import logger
from worker.training.evidence import gather
from worker.triggers import LEAST_SAMPLE, losses

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

log = logger(__name__)

#: What was rolled back is kept with this beginning of its reason: forced again, it stays.
ROLLED_BACK: Final = "rolled back: "


def guard(active: Runtime) -> list[str]:
    """Roll back forecasts that foretell the newest closed window clearly worse than the version
    before them, both from what was known when it began; the kinds that were rolled back.

    Only a version newer than the one before is looked at: who went back on purpose keeps it.
    """
    return [kind for kind in KINDS if kind == "forecasts" and _gives_way(active, kind)]


def _gives_way(active: Runtime, kind: str) -> bool:
    models, now_s = active.models, active.clock.now_s()
    live = models.current().versions.get(kind, 0)
    change = next((one for one in models.log(kind) if one.version == live), None)
    if change is None or not 0 < change.before < live or _was_rolled_back(active, kind, live):
        return False
    try:
        new, old = (load(models.read(kind, one)) for one in (live, change.before))
    except ArtifactError as error:
        log.warning("version could not be judged", kind=kind, reason=str(error))
        return False
    if not (isinstance(new, Bundle) and isinstance(old, Bundle)):
        return False
    evidence = gather(active.population, active.refresh_rules, now_s)
    worse, better = (losses(one, evidence.now, evidence.today) for one in (new, old))
    if len(worse) < LEAST_SAMPLE or not worse_than_before(worse, better):
        return False
    why = f"{ROLLED_BACK}log loss {worse.mean():.3f}, {better.mean():.3f} of {change.before}"
    models.rollback(kind, now_s, why=why)
    if held := models.verdict(kind, live):
        models.decide(kind, live, held, Verdict("refused", (why,), now_s))
    log.error("model rolled back", kind=kind, version=live, reason=why)
    return True


def _was_rolled_back(active: Runtime, kind: str, version: int) -> bool:
    """Somebody forced it again: that is for people to undo."""
    changes = active.models.log(kind)
    return any(one.before == version and one.why.startswith(ROLLED_BACK) for one in changes)

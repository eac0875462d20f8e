"""Whether what went live gives way to the version before it, by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.checks import ModelError
from worker.catalog import attributes
from worker.live import load
from worker.registry.artifact import ArtifactError
from worker.store.models import KINDS, Change
from worker.store.verdicts import Verdict
from worker.telemetry import logger
from worker.training.evidence import Evidence, gather
from worker.training.relapse import relapse

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

log = logger(__name__)

#: What was rolled back is kept with this beginning of its reason.
ROLLED_BACK: Final = "rolled back: "


def guard(active: Runtime) -> list[str]:
    """Roll back every kind whose live version does clearly worse than the one before it; the kinds.

    A version is looked at while it is live for the first time, whoever made it live. Who makes one
    live again that was live before has seen it, and keeps it.
    """
    evidence: list[Evidence] = []
    done = []
    for kind in KINDS:
        change = _first_time(active, kind)
        if change is None:
            continue
        if not evidence:
            rules, now_s = active.refresh_rules, active.clock.now_s()
            catalog = attributes(active.catalog.products())
            evidence.append(gather(active.population, rules, now_s, catalog))
        try:
            if _gives_way(active, change, evidence[0]):
                done.append(kind)
        except (ArtifactError, ModelError) as error:
            log.warning("version could not be judged", kind=kind, reason=str(error))
    return done


def _first_time(active: Runtime, kind: str) -> Change | None:
    """How the live version went live, if it was not before and another one was."""
    live = active.models.current().versions.get(kind, 0)
    changes = [one for one in active.models.log(kind) if one.version == live]
    return changes[0] if len(changes) == 1 and changes[0].before else None


def _gives_way(active: Runtime, change: Change, evidence: Evidence) -> bool:
    models, now_s, kind = active.models, active.clock.now_s(), change.kind
    minors = models.newest_minors(kind)
    live, before = (
        load(models.read(kind, one, minors.get(one, 0))) for one in (change.version, change.before)
    )
    found = relapse(evidence, live, before)
    if not found:
        return False
    why = ROLLED_BACK + "; ".join(found)
    held = models.verdict(kind, change.version)
    back = Change(kind, change.before, change.version, now_s, why)
    if not models.promote_over(back):
        return False  # another one became live meanwhile
    if held is not None:
        models.decide(kind, change.version, held, Verdict("refused", (why,), now_s))
    log.error("model rolled back", kind=kind, version=change.version, reason=why)
    return True

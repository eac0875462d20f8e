"""Whether a refresh process can search: compiled kernels, and a snapshot where one is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from worker.findings import Finding, Level
from worker.store.snapshots import SnapshotError, Snapshots
from worker.terminal import span

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

#: A snapshot older than so many of its intervals is not being looked after.
_OVERDUE = 4
#: What two stages should find of the exact lists.
_LEAST_RECALL = 0.99


def index_findings(active: Runtime) -> Iterator[Finding]:
    """Kernels of this machine, and the age of the newest snapshot."""
    yield kernel_finding()
    from worker.index import PRIVATE_MOST  # noqa: PLC0415  scipy: only where it is used

    customers = active.population.count()
    needed = customers > PRIVATE_MOST
    yield snapshot_finding(
        active.snapshots,
        active.clock.now_s(),
        needed=needed,
        interval_s=active.settings.snapshot_interval_s,
    )


def kernel_finding() -> Finding:
    """Whether this machine can compile and run the loops of the neighbor index."""
    from models.recommend import kernels, preparing  # noqa: PLC0415  only where they are used

    try:
        preparing.prepare()
    except kernels.KernelError as error:
        advice = "numba needs a supported CPU and a folder it may write to: NUMBA_CACHE_DIR"
        return Finding("kernels", Level.FAIL, f"cannot be compiled here: {error}", advice)
    return Finding("kernels", Level.OK, "compiled loops answer as they should")


def snapshot_finding(snapshots: Snapshots, now_s: int, *, needed: bool, interval_s: int) -> Finding:
    """How old the newest snapshot of the index is; it is needed where customers are many."""
    advice = "start a training worker that shares CRM_REFLEX_SNAPSHOT_DIR with refresh"
    numbers = snapshots.numbers()
    if not numbers:
        level = Level.FAIL if needed else Level.OK
        text = f"none in {snapshots.folder}"
        return Finding("snapshots", level, text, advice if needed else "")
    try:
        meta = snapshots.meta(numbers[0])
        age_s = now_s - int(meta["built_at_s"])
    except (SnapshotError, KeyError) as error:
        return Finding("snapshots", Level.FAIL, f"the newest cannot be read: {error}", advice)
    if age_s > _OVERDUE * interval_s:
        level = Level.FAIL if needed else Level.WARN
        return Finding("snapshots", level, f"the newest is {span(age_s)} old", advice)
    text, recall = f"the newest is {span(age_s)} old", meta.get("two_stage_recall")
    if recall is None:
        return Finding("snapshots", Level.OK, text)
    text += f"; similar customers are found in two stages, with a recall of {recall:.3f}"
    if recall < _LEAST_RECALL:
        return Finding("snapshots", Level.WARN, text, "common items find too few: exclude services")
    return Finding("snapshots", Level.OK, text)

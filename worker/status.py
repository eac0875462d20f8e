"""How an installation is doing: lag, mailboxes, workers, memory, models and deliveries."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from worker.store.inspecting import Inspector, Sample
from worker.store.models import KINDS, ArtifactError
from worker.store.watching import WatchStore

if TYPE_CHECKING:
    from worker.bootstrap import Runtime
    from worker.live import LiveModels

#: A worker that has not reported for so long is called silent.
SILENT_S: Final = 20
#: Measuring the memory of customers costs a few milliseconds; once in so long is enough.
SAMPLE_EVERY_S: Final = 60.0
LAGGING_MOST: Final = 10


class Watcher:
    """Takes one look after another; what changes slowly is kept between looks."""

    def __init__(self, active: Runtime) -> None:
        self._active = active
        self._inspector = Inspector(active.client, active.keys)
        self._sample = Sample(0, 0, 0, 0, 0)
        self._sampled = float("-inf")
        self._live: LiveModels | None = None

    def look(self) -> dict[str, Any]:
        """Everything as plain data, instants in Unix seconds, ages in seconds, sizes in bytes."""
        active, inspector = self._active, self._inspector
        now_ms = active.clock.now_ms()
        if time.monotonic() - self._sampled > SAMPLE_EVERY_S or not self._sample.customers:
            self._sample = inspector.sample()
            self._sampled = time.monotonic()
        counters = inspector.counters()
        held, reasons = inspector.quarantine_reasons()
        used, limit = active.door.memory()
        return {
            "at_s": now_ms // 1000,
            "stages": self._stages(now_ms, counters),
            "quarantine": {"held": held, "newest_by_reason": reasons},
            "deliveries": {
                **counters["deliver"],
                "destinations": [self._destination(name) for name in active.destination_names],
            },
            "workers": self.workers(now_ms),
            "last_tick_age_s": inspector.last_tick_s(now_ms, active.settings.tick_interval_s),
            "memory": {
                "used_bytes": used,
                "limit_bytes": limit or None,
                "customers": active.population.count(),
                "bytes_per_customer": round(self._sample.each) if self._sample.customers else None,
                "sampled_customers": self._sample.customers,
            },
            "models": self.models(now_ms),
            "rollout": self._rollout(now_ms),
            "rules_without_segment": self._stranded(),
        }

    def _stranded(self) -> dict[str, list[int]]:
        """Rule segments whose conditions name segments that are gone, and which."""
        active = self._active
        if not active.models.current().versions.get("rules"):
            return {}
        from worker.live import LiveModels  # noqa: PLC0415  numpy: only where it is used
        from worker.rules.book import gone_segments  # noqa: PLC0415  same

        if self._live is None:
            self._live = LiveModels(active.models, active.clock)
        live = self._live.current()
        return gone_segments([one.rule for one in live.rules.rules], live.segments)

    def _rollout(self, now_ms: int) -> dict[str, Any]:
        """How far the newest versions have reached the customers, and what the cap holds back."""
        active = self._active
        told = active.rollout_store.progress()
        cap = active.settings.model_pushes_per_hour
        held, until_s = active.rollout_store.held_back(now_ms, cap)
        return {
            "kinds": list(told.changed),
            "done": told.done,
            "customers": told.total,
            "started_s": told.started_s or None,
            "finished_s": told.finished_s,
            "pushes_held_back": held,
            "pushes_until_s": until_s if held else None,
        }

    def _destination(self, name: str) -> dict[str, Any]:
        state = self._active.destination_store.state(name)
        return {
            "name": name,
            "paused": state.paused or None,
            "rests_s": state.wait_ms / 1000 if state.wait_ms else None,
            "calls_today": state.used,
            "alarm": state.alarm or None,
        }

    def workers(self, now_ms: int) -> list[dict[str, Any]]:
        """Every worker that ever reported under its name, and how long ago."""
        return [
            {
                "name": node,
                "stage": report.get("stage"),
                "pid": report.get("pid"),
                "received": report.get("received"),
                "age_s": (age_s := max(0, now_ms // 1000 - int(report.get("at_s", 0)))),
                "silent": age_s > SILENT_S,
            }
            for node, report in self._active.reports.all().items()
        ]

    def models(self, now_ms: int) -> list[dict[str, Any]]:
        """The live version of each kind; version None where there is none.

        `figures` say whether it still fits, as last measured: `models watch` has their thresholds.
        """
        versions = self._active.models.current().versions
        figures = WatchStore(self._active.client, self._active.keys).all()
        found = []
        for kind in KINDS:
            version = versions.get(kind)
            row: dict[str, Any] = {"kind": kind, "version": version}
            if version is not None:
                try:
                    head = self._active.models.head(kind, version)
                except ArtifactError as error:
                    row["problem"] = str(error)
                else:
                    row["age_s"] = now_ms // 1000 - int(head["published_at_s"])
                    row |= {name: head.get(name) for name in ("trigger", "customers", "buyers")}
                row["figures"] = {
                    one.name: round(one.value, 4)
                    for one in figures
                    if (one.kind, one.version) == (kind, version)
                }
            found.append(row)
        return found

    def _stages(self, now_ms: int, counters: dict[str, dict[str, int]]) -> dict[str, Any]:
        boxes = self._inspector.mailboxes(now_ms, self._active.destination_names)
        behind = sorted(
            (lag for lag in self._active.door.lag(now_ms) if lag.entries),
            key=lambda lag: -lag.entries,
        )
        return {
            "ingest": {
                "waiting": sum(lag.entries for lag in behind) + boxes.intake,
                "oldest_age_s": max(boxes.intake_age_ms, *(lag.age_ms for lag in behind), 0) / 1000,
                "intake": boxes.intake,
                "shards_with_lag": len(behind),
                "largest_lags": {str(lag.shard): lag.entries for lag in behind[:LAGGING_MOST]},
                **counters["ingest"],
            },
            "refresh": {
                "waiting": boxes.marks + boxes.quiet_marks,
                "oldest_age_s": boxes.marks_age_ms / 1000,
                "quiet": boxes.quiet_marks,
                "nudged_by_others": boxes.nudged,
                "overdue_by_clock": boxes.overdue,
                **counters["refresh"],
            },
            "deliver": {
                "waiting": boxes.outbox,
                "oldest_age_s": boxes.outbox_age_ms / 1000 if boxes.outbox_due else 0.0,
                "due": boxes.outbox_due,
                "under_way": boxes.claimed,
                "dead_letters": boxes.dead,
            },
        }

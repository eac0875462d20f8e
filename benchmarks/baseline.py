"""The baseline: one Celery task per event doing the same state update, as it is usually built.

The same validation, fold, profile codec and commit script as ingest; only the transport differs.
Generous to the baseline: a prefetch of 64, and the shard's position is kept in the process, so that
an event costs one read and one commit.
"""

from __future__ import annotations

import os
from functools import cache

from celery import Celery, signals

from integrations.facts import customer_of
from worker import batch as batches
from worker.bootstrap import Runtime
from worker.process import tune_interpreter
from worker.serve import broker_url
from worker.settings import Settings
from worker.store.ingesting import START, Batch, Entry, IngestStore, Position

QUEUE = "bench.baseline"

app = Celery("baseline")
app.conf.update(
    broker_url=broker_url(Settings(), os.environ["CRM_REFLEX_REDIS_URL"])
    if "CRM_REFLEX_REDIS_URL" in os.environ
    else None,
    task_ignore_result=True,
    task_acks_late=True,
    task_default_queue=QUEUE,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"priority_steps": [0]},
)


class _Shards:
    """Where each shard stands; one process writes, so nobody moves it meanwhile."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.store = IngestStore(runtime.client, runtime.keys, lease_ms=1000)
        self.store.prepare()
        self.positions: dict[int, Position] = {}

    def position(self, shard: int) -> Position:
        if shard not in self.positions:
            epoch = self.runtime.client.get(self.runtime.keys.epoch(shard))
            self.positions[shard] = Position(epoch, START, 0, 0, 0, 0, 0, 0)
        return self.positions[shard]


@signals.worker_process_init.connect(weak=False)
def _child(**_: object) -> None:
    tune_interpreter()


@cache
def _shards() -> _Shards:
    settings = Settings()
    return _Shards(Runtime(settings, os.environ["CRM_REFLEX_REDIS_URL"]))


@app.task(name="baseline.apply")
def apply(entry_id: str, event: str) -> None:
    """Validate, deduplicate and fold one event into its customer's profile."""
    shards = _shards()
    raw = event.encode()
    customer = customer_of(raw)
    if not isinstance(customer, str):
        return
    shard = shards.runtime.keys.shard(customer)
    entry = Entry(entry_id, int(entry_id.partition("-")[0]) // 1000, "event", raw, quiet=False)
    batch = Batch(shard, "", 1, shards.position(shard), [entry])
    rules = shards.runtime.rules
    read = batches.read(batch, rules)
    stored = shards.store.load(shard, batches.wants_cold(read.by_customer))
    commit = batches.build(batch, read, stored, rules)
    (result,) = shards.store.commit([commit])
    if result:
        shards.positions[shard] = commit.position

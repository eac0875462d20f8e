"""The baseline: one Celery task per event doing the same state update, as it is usually built.

The same validation, fold, profile codec and commit script as ingest; only the transport differs.
Generous to the baseline: a prefetch of 64, no lease, and the shard's position, which any other
worker may have moved, comes with the customer's values: an event costs one read and one commit.
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
from worker.store.commits import START, Batch, Entry, Position, Stored
from worker.store.ingesting import IngestStore

QUEUE = "bench.baseline"
_NOWHERE = Position(b"", START, 0, 0, 0, 0, 0, 0)

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


class _Shop:
    """The server's side: what one task reads and writes."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.store = IngestStore(runtime.client, runtime.keys, lease_ms=1000)
        self.store.prepare()

    def read(self, shard: int, customer: str, *, cold: bool) -> tuple[Position, Stored]:
        """Where the shard stands and what it holds of the customer, in one round trip."""
        keys = self.runtime.keys
        pipeline = self.runtime.client.pipeline(transaction=False)
        pipeline.get(keys.epoch(shard))
        pipeline.hgetall(keys.meta(shard))
        pipeline.get(keys.profile(shard, customer))
        pipeline.get(keys.memory(shard, customer))
        if cold:
            pipeline.get(keys.cold(shard, customer))
        epoch, meta, profile, memory, *rest = pipeline.execute()
        counts = (int(meta.get(name.encode(), 0)) for name in Position._fields[2:])
        position = Position(epoch, meta.get(b"cursor", START.encode()).decode(), *counts)
        return position, Stored(profile, memory, (rest[0] or b"") if cold else None)


@signals.worker_process_init.connect(weak=False)
def _child(**_: object) -> None:
    tune_interpreter()


@cache
def _shop() -> _Shop:
    return _Shop(Runtime(Settings(), os.environ["CRM_REFLEX_REDIS_URL"]))


@app.task(name="baseline.apply")
def apply(entry_id: str, event: str) -> None:
    """Validate, deduplicate and fold one event into its customer's profile."""
    shop = _shop()
    rules = shop.runtime.rules
    raw = event.encode()
    entry = Entry(entry_id, int(entry_id.partition("-")[0]) // 1000, "event", raw, quiet=False)
    customer = customer_of(raw)
    if not isinstance(customer, str):
        return
    shard = shop.runtime.keys.shard(customer)
    unread = Batch(shard, "", 1, _NOWHERE, [entry])
    read = batches.read(unread, rules)
    (cold,) = batches.wants_cold(read).values()
    position, stored = shop.read(shard, customer, cold=cold)
    batch = unread._replace(position=position)
    shop.store.commit([batches.build(batch, read, {customer: stored}, rules)])

"""Our ingest as a Celery application of its own queue: the pump, as in production, one process."""

from __future__ import annotations

import os

from celery import Celery, signals

from worker import process, tasks
from worker.app import configure
from worker.serve import broker_url

QUEUE = "bench.ours"

process.limit_threads()
app: Celery = configure(
    process.settings(), broker_url(process.settings(), os.environ["CRM_REFLEX_REDIS_URL"])
)
app.conf.task_routes = {"*": {"queue": QUEUE}}
app.conf.task_default_queue = QUEUE


@signals.worker_process_init.connect(weak=False)
def _child(**_: object) -> None:
    process.reset()
    process.tune_interpreter()


@signals.worker_ready.connect(weak=False)
def _begin(**_: object) -> None:
    tasks.pump_ingest.apply_async((0,), queue=QUEUE)

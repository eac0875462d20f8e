"""The Celery application: work orders in JSON, late acknowledgement, one queue per stage.

An order carries no data that exists nowhere else: it may be lost, doubled or late without harm.
Only `events.emit` brings events; until the server has taken them, its message is kept.
"""

from __future__ import annotations

from typing import Any, Final

from celery import Celery

from worker.settings import Settings
from worker.store import sentinel

STAGES: Final = ("ingest", "refresh", "deliver", "training")

#: The one task whose message holds what exists nowhere else.
EMIT: Final = "events.emit"

#: Of a task without a limit of its own Celery takes the general one: a year is none.
NO_LIMIT_S: Final = 365 * 86_400

app = Celery("crm-reflex", include=["worker.tasks"])


def queue(settings: Settings, stage: str) -> str:
    """The queue of a stage, as any Celery client names it."""
    return f"{settings.key_prefix}.{stage}"


def own_queue(settings: Settings, node: str) -> str:
    """The queue that only one worker reads: its watchdog sends it empty orders."""
    return f"{settings.key_prefix}.own.{node}"


def configure(settings: Settings, broker_url: str) -> Celery:
    """Give the application its settings; once per process, before anything is sent or consumed."""
    limit_s = settings.order_time_limit_s
    app.conf.update(
        broker_url=broker_url,
        broker_use_ssl=dict(settings.tls(broker_url)) or None,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=4,
        broker_transport_options={
            # Beyond a running order's limit, so that a healthy worker never sees its order twice.
            "visibility_timeout": 2 * limit_s,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "priority_steps": [0],
            "queue_order_strategy": "round_robin",
            "socket_keepalive": True,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "health_check_interval": 25,
            "client_name": "crm-reflex-broker",
            **_sentinel_options(settings),
        },
        visibility_timeout=2 * limit_s,
        result_backend=None,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=limit_s,
        task_soft_time_limit=None,
        task_create_missing_queues=True,
        task_default_queue=queue(settings, "ingest"),
        task_routes={
            "refresh.*": {"queue": queue(settings, "refresh")},
            "deliver.*": {"queue": queue(settings, "deliver")},
            "models.*": {"queue": queue(settings, "training")},
            "segments.*": {"queue": queue(settings, "training")},
        },
        task_publish_retry_policy={
            "max_retries": 3, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 1.0,
        },
        worker_consumer="worker.consumer:Consumer",
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=1000,
        worker_max_memory_per_child=2_000_000,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_soft_shutdown_timeout=10.0,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        task_send_sent_event=False,
        beat_scheduler="celery.beat:Scheduler",
        beat_schedule={
            "tick": {
                "task": "tick",
                "schedule": settings.tick_interval_s,
                "options": {"expires": 5 * settings.tick_interval_s},
            }
        },
        timezone="UTC",
    )  # fmt: skip
    return app


def _sentinel_options(settings: Settings) -> dict[str, str]:
    """What kombu asks Sentinels for, where the broker has some."""
    named = settings.broker_url or settings.redis_url
    url = named.get_secret_value() if named is not None else ""
    return {"master_name": sentinel.read(url).service} if sentinel.is_sentinel(url) else {}


def is_untimed(name: str) -> bool:
    """Has a task no time limit?"""
    task = app.tasks.get(name)
    return task is not None and task.time_limit == NO_LIMIT_S


def send(name: str, *args: Any, **options: Any) -> None:
    """Queue an order by name."""
    app.send_task(name, args=args, **options)

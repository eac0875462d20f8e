"""Start the processes of Celery: a worker of one stage with its watchdog, and beat."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final

from celery import signals
from celery.worker import state as worker_state
from redis.exceptions import RedisError

from worker import process, watchdog
from worker.app import app, configure, is_untimed, own_queue, queue, send
from worker.embedded import broker_url_of
from worker.settings import Settings
from worker.store.connection import connect
from worker.store.signals import Reports
from worker.telemetry import configure as configure_logs
from worker.telemetry import logger
from worker.watchdog import Look, StallDetector

log = logger(__name__)

PULSE_EVERY_S: Final = 5.0
#: A pool has one process more than pumps, so that short orders need not wait for a pump's end.
_SPARE: Final = {"ingest": 1}
#: Niceness of trainings: they take the processor time that reactions leave.
_LOW_PRIORITY: Final = 10


def broker_url(settings: Settings, url: str) -> str:
    """The broker: its own setting, else the state server as kombu spells it."""
    if settings.broker_url is not None:
        return broker_url_of(settings.broker_url.get_secret_value())
    return broker_url_of(url)


def node_name(stage: str, number: int) -> str:
    """The name of a worker: stable over restarts, unique on a host."""
    return f"{stage}-{number}@{socket.gethostname()}"


def run_worker(settings: Settings, url: str, stage: str, *, number: int = 0) -> int:
    """Run the worker of a stage until it is stopped; its exit code."""
    process.limit_threads()
    configure_logs(settings.log_level, settings.log_format)
    configure(settings, broker_url(settings, url))
    if stage == "refresh" and not _prepared():
        return 1
    if stage == "training":
        process.yield_processor(_LOW_PRIORITY)
    node = node_name(stage, number)
    concurrency = {
        "ingest": settings.ingest_concurrency,
        "refresh": settings.refresh_concurrency,
        "deliver": settings.deliver_concurrency,
    }.get(stage, 1) + _SPARE.get(stage, 0)
    # Without a limit of prefetched orders, those that a broken connection leaves unacknowledged
    # cannot use it up, which is how a worker comes to hang; orders are few and coalesced.
    app.conf.worker_prefetch_multiplier = 1 if stage == "training" else 0
    _connect_signals(settings, url, stage, node)
    app.worker_main(
        [
            "--quiet", "worker", "-n", node,
            "-Q", f"{queue(settings, stage)},{own_queue(settings, node)}",
            "-c", str(concurrency), "-O", "fair", "-l", settings.log_level,
            "--without-gossip", "--without-mingle", "--without-heartbeat",
        ]
    )  # fmt: skip
    return 0


def run_beat(settings: Settings, url: str) -> int:
    """Run beat until it is stopped. Several are harmless: each tick happens once."""
    configure_logs(settings.log_level, settings.log_format)
    configure(settings, broker_url(settings, url))
    app.Beat(loglevel=settings.log_level, quiet=True).run()
    return 0


def _prepared() -> bool:
    """Have the compiled loops at hand before the first order, in the parent of all children."""
    from models.recommend import kernels, preparing  # noqa: PLC0415  only where they are used

    try:
        preparing.prepare()
    except kernels.KernelError as error:
        log.error("this machine cannot compile the neighbor index", reason=str(error))  # noqa: TRY400
        return False
    return True


def _connect_signals(settings: Settings, url: str, stage: str, node: str) -> None:
    @signals.worker_process_init.connect(weak=False)
    def _child(**_: Any) -> None:
        process.reset()
        process.tune_interpreter()
        # The parent ends its children on a warm stop; Ctrl-C in a terminal reaches them too.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    @signals.worker_process_shutdown.connect(weak=False)
    def _ends(**_: Any) -> None:
        process.finish()

    @signals.worker_ready.connect(weak=False)
    def _ready(**_: Any) -> None:
        log.info("worker ready", stage=stage, name=node)
        _start_watchdog(settings, url, stage, node)

    @signals.worker_shutdown.connect(weak=False)
    def _stopped(**_: Any) -> None:
        with suppress(RedisError, OSError):  # a report that stays behind only looks silent
            client = connect(
                url, cluster=settings.redis_cluster, tls=settings.tls(url), timeout_s=2
            )
            Reports(client, process.keys_of(settings)).drop(node)


def _start_watchdog(settings: Settings, url: str, stage: str, node: str) -> None:
    received = _count_received()
    state = connect(
        url, cluster=settings.redis_cluster, tls=settings.tls(url), timeout_s=2.0, retries=0
    )
    broker = state
    if settings.broker_url is not None:
        own = settings.broker_url.get_secret_value()
        broker = connect(own, tls=settings.tls(own), timeout_s=2.0, retries=0)
    own_name = own_queue(settings, node)
    limit_s = settings.order_time_limit_s + 10

    def look() -> Look:
        try:
            state.ping()
            waits = bool(broker.llen(own_name))
        except (RedisError, OSError):
            return Look(servers_answer=False, order_waits=False, received=received(), running=False)
        return Look(True, waits, received(), _runs(limit_s))

    watchdog.watch(look, StallDetector(settings.watchdog_stall_s))
    reports = Reports(state, process.keys_of(settings))
    threading.Thread(
        target=_pulse, args=(own_name, reports, node, stage, received), name="pulse", daemon=True
    ).start()


def _pulse(own_name: str, reports: Reports, node: str, stage: str, received: Any) -> None:
    """Send the worker an empty order, and report, every few seconds."""
    while True:
        try:
            send("pulse", queue=own_name, expires=2 * PULSE_EVERY_S)
            reports.put(
                node,
                {
                    "stage": stage,
                    "pid": os.getpid(),
                    "received": received(),
                    "at_s": int(time.time()),
                },
            )
        except Exception as error:  # noqa: BLE001 - the servers may be away; the next pulse tells
            log.debug("no pulse", error=type(error).__name__)
        time.sleep(PULSE_EVERY_S)


def _count_received() -> Any:
    counter = {"received": 0}

    @signals.task_received.connect(weak=False)
    def _received(**_: Any) -> None:
        counter["received"] += 1

    return lambda: counter["received"]


def _runs(limit_s: float) -> bool:
    """Is an order running, within its time limit? What is done for all customers has none."""
    now = time.monotonic()
    for request in tuple(worker_state.active_requests):
        started = getattr(request, "time_start", None)
        if is_untimed(request.name) or started is None or now - started < limit_s:
            return True
    return False

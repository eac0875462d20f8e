"""Clients of the state server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from worker.store import sentinel
from worker.store.scripts import Client


def connect(
    url: str,
    *,
    cluster: bool = False,
    tls: Mapping[str, Any] | None = None,
    timeout_s: float = 10.0,
    retries: int = 3,
) -> Client:
    """A client in bytes mode; `tls` are the options of `Settings.tls`.

    Commands are tried again on a lost connection or reply: everything that this project sends to
    change state is safe to repeat.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, 5.0),
        "health_check_interval": 25,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), retries),
        "client_name": "crm-reflex",
        **(tls or {}),
    }
    if sentinel.is_sentinel(url):
        told = sentinel.read(url)
        watching: Any = Sentinel(  # type: ignore[no-untyped-call]
            told.hosts, socket_timeout=timeout_s, socket_connect_timeout=2.0
        )
        signed_in = {"username": told.username, "password": told.password}
        return watching.master_for(told.service, db=told.database, **signed_in, **options)
    if cluster:
        return RedisCluster.from_url(url, **options)
    return Redis.from_url(url, **options)

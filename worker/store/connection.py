"""Clients of the state server."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

if TYPE_CHECKING:
    from pathlib import Path

    from worker.store.scripts import Client


def connect(
    url: str,
    *,
    cluster: bool = False,
    ca_file: Path | None = None,
    timeout_s: float = 10.0,
    retries: int = 3,
) -> Client:
    """A client in bytes mode. `rediss://` always verifies the server's certificate.

    Commands are tried again on a lost connection or reply: everything that this project sends to
    change state is safe to repeat.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, 5.0),
        "health_check_interval": 25,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), retries),
        "client_name": "crm-reflex",
    }
    if url.startswith("rediss://"):
        options |= {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
        if ca_file is not None:
            options["ssl_ca_certs"] = str(ca_file)
    if cluster:
        return RedisCluster.from_url(url, **options)
    return Redis.from_url(url, **options)

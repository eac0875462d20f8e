"""A private server for a measurement: the embedded one, append-only file synced every second."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from worker.embedded import embedded_server


@contextmanager
def private_server() -> Iterator[str]:
    """Start an empty server; its URL. It ends with the block, and its data with it."""
    folder = Path(tempfile.mkdtemp(prefix="crm-reflex-bench-"))
    try:
        with embedded_server(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def server_version(url: str) -> str:
    """Name and version of the server."""
    with Redis.from_url(url) as client:
        info = client.info("server")
    return f"valkey {info['valkey_version']}" if "valkey_version" in info else info["redis_version"]

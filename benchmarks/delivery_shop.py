"""Workers that send to a vendor on loopback, and changes that are written as refresh writes them.

`python -m benchmarks.delivery_shop` is one worker, under the settings of its environment.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.vendors.faults import Vendor
from worker.bootstrap import Runtime
from worker.settings import Settings
from worker.store.refreshing import Mark, Push, Refreshed, Transition

OPENINGS_OF_AN_HOUR = 30
PATIENCE_S = 240.0
SEGMENTS = ("Champions", "Loyal", "At risk", "New")
HUBSPOT = """
[destinations.vendor]
adapter = "hubspot"
options = {{ base_url = "{url}", id_property = "reflex_id", token = {{ env = "BENCH_SECRET" }} }}
allow_private = true
reserve = 0.0
timeout_s = 2
coalesce_s = {coalesce_s}
coalesce_max_s = 20
{limits}
fields = [
  {{ source = "insight_version", target = "version" }},
  {{ source = "segment.name", target = "segment" }},
  {{ source = "p_alive", target = "p_alive", round = 2, dead_band = 0.02 }},
]
"""
WEBHOOK = """
[destinations.vendor]
adapter = "standard_webhook"
options = {{ url = "{url}", secrets = {{ env = "BENCH_SECRET" }} }}
allow_private = true
reserve = 0.0
timeout_s = 2
concurrency = 8
coalesce_s = {coalesce_s}
{limits}
"""


class Installation:
    """One key prefix, one destination, worker processes that send to it."""

    def __init__(
        self,
        url: str,
        folder: Path,
        vendor: Vendor,
        text: str,
        workers: int,
        module: str = "benchmarks.delivery_shop",
    ) -> None:
        self.vendor = vendor
        self._module = module
        prefix = f"bench-{secrets.token_hex(3)}"
        file = folder / f"{prefix}.toml"
        file.write_text(text, encoding="utf-8")
        secret = "whsec_" + b64encode(bytes(24)).decode()
        self._environment = {
            **os.environ,
            "BENCH_SECRET": secret,
            "CRM_REFLEX_REDIS_URL": url,
            "CRM_REFLEX_KEY_PREFIX": prefix,
            "CRM_REFLEX_DESTINATIONS_FILE": str(file),
            "CRM_REFLEX_LOG_LEVEL": "ERROR",
        }
        settings = Settings(redis_url=url, key_prefix=prefix, destinations_file=file)
        self._runtime = Runtime(settings, url)
        self.versions: dict[str, int] = {}
        self._count = workers
        self.workers: list[subprocess.Popen[bytes]] = []

    def change(self, customers: Iterable[str], rng: random.Random) -> None:
        """One more change of each, written as refresh writes it; nobody twice."""
        active, now_s = self._runtime, int(time.time())
        rules, rows = active.refresh_rules, []
        for who in customers:
            version = self.versions.get(who, 0)
            self.versions[who] = version + 1
            insight = _insight(who, version + 1, now_s, rng)
            mark = Mark(active.keys.shard(who), who, None, loud=True)
            moves = (_move(who, version + 1),) if rules.streams else ()
            rows.append(_refreshed(mark, version, now_s, insight, moves))
        assert all(active.refresh_store.commit(rows, rules.destinations, rules.streams))
        active.bells.ring("deliver")

    def fail_for_long(self) -> None:
        """Leave the breaker as an hour of failures does: it opens for its longest time."""
        key = self._runtime.keys.control("vendor")
        self._runtime.client.hset(key, "opens", OPENINGS_OF_AN_HOUR)

    def start(self) -> None:
        """Start what workers are missing."""
        self.workers = [one for one in self.workers if one.poll() is None]
        while len(self.workers) < self._count:
            command = [sys.executable, "-m", self._module]
            self.workers.append(subprocess.Popen(command, env=self._environment))

    def kill_one(self, rng: random.Random) -> None:
        """End a worker without warning, and start another."""
        victim = rng.choice(self.workers)
        victim.kill()
        victim.wait()
        self.start()

    def close(self) -> None:
        """End all workers."""
        for one in self.workers:
            one.terminate()
        for one in self.workers:
            one.wait(30)
        self._runtime.client.close()

    def behind(self) -> int:
        """Customers of whom the vendor does not hold the newest state."""
        held = self.vendor.contacts
        return sum(
            int(float(held.get(who, {}).get("version", 0))) != version
            for who, version in self.versions.items()
        )

    def wait(self, is_done: Callable[[], bool], each_s: float = 0.05) -> float:
        """Seconds until something is so, or patience ends."""
        start = time.monotonic()
        while not is_done() and time.monotonic() - start < PATIENCE_S:
            time.sleep(each_s)
        return time.monotonic() - start


def _refreshed(
    mark: Mark, version: int, now_s: int, insight: bytes, moves: tuple[Transition, ...]
) -> Refreshed:
    due_s = now_s + 86_400
    return Refreshed(
        mark, version, version, 0, now_s, str(version), insight, Push.ALL, moves, due_s
    )


def _move(who: str, version: int) -> Transition:
    fields = {
        "id": f"{who}-{version}", "customer_id": who, "kind": "segment", "from": None, "to": 1,
        "reason": "event", "insight_version": version,
    }  # fmt: skip
    return Transition("event", json.dumps(fields, separators=(",", ":")).encode())


def _insight(who: str, version: int, now_s: int, rng: random.Random) -> bytes:
    fields = {
        "customer_id": who,
        "insight_version": version,
        "as_of": datetime.fromtimestamp(now_s, UTC).isoformat(),
        "segment": {"id": 1, "name": rng.choice(SEGMENTS), "since": "2026-01-01"},
        "p_alive": rng.random(),
    }
    return json.dumps(fields, separators=(",", ":")).encode()


@contextmanager
def installation(
    url: str, vendor: Vendor, text: str, *, workers: int, limits: str, coalesce_s: float = 0.0
) -> Iterator[Installation]:
    """An installation for the length of a block."""
    with tempfile.TemporaryDirectory() as folder:
        filled = text.format(url=vendor.url, limits=limits, coalesce_s=coalesce_s)
        made = Installation(url, Path(folder), vendor, filled, workers)
        try:
            yield made
        finally:
            made.close()


def work() -> None:
    """A worker process: rounds until it is told to stop."""
    settings = Settings()
    assert settings.redis_url is not None
    active = Runtime(settings, settings.redis_url.get_secret_value())
    deliver = active.deliver
    while True:
        if not deliver.round():
            active.bells.wait("deliver", 0.05)


if __name__ == "__main__":
    work()

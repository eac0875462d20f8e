"""Delivery: calls saved, limits used, rows per second, recovery from an outage; nothing lost.

    python -m benchmarks.delivery --json out.json

Changes are written as refresh writes them; worker processes send them to a vendor on loopback,
which counts by arrival time. Four parts, each on an installation of its own:

savings  100,000 changes of 10,000 customers against one call per change; workers are killed
speed    a backlog of rows against a bare `requests` loop, one row a call, to the same vendor
limit    190 requests in 10 s are allowed and nothing is reserved: how much of that is used
outage   every customer changed while the vendor answered 503: seconds from its return until it
         holds everything, under the same limit. The hour is not waited for: what it leaves behind
         is one row a customer, and a breaker that has come to its longest pauses, so it is set so
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from benchmarks.server import private_server
from tests.vendors.faults import Vendor, fullest_window, running
from worker.bootstrap import Runtime
from worker.settings import Settings
from worker.store.refreshing import Mark, Push, Refreshed

CHANGES, CUSTOMERS = 100_000, 10_000
LIMIT, WINDOW_S, WINDOWS = 190, 10.0, 3
LOOP_ROWS = 500
OPENINGS_OF_AN_HOUR = 30
CHUNK = 500
PATIENCE_S = 240.0
SEGMENTS = ("Champions", "Loyal", "At risk", "New")
UNLIMITED = "requests_per = [{ requests = 1000000, window_s = 1 }]"
LIMITED = f"requests_per = [{{ requests = {LIMIT}, window_s = {WINDOW_S} }}]"
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

    def __init__(self, url: str, folder: Path, vendor: Vendor, text: str, workers: int) -> None:
        self.vendor = vendor
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
        rows = []
        for who in customers:
            version = self.versions.get(who, 0)
            self.versions[who] = version + 1
            insight = _insight(who, version + 1, now_s, rng)
            mark = Mark(active.keys.shard(who), who, None, loud=True)
            rows.append(_refreshed(mark, version, now_s, insight))
        rules = active.refresh_rules
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
            command = [sys.executable, "-m", "benchmarks.delivery", "--worker"]
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


def _refreshed(mark: Mark, version: int, now_s: int, insight: bytes) -> Refreshed:
    due_s = now_s + 86_400
    return Refreshed(mark, version, version, 0, now_s, str(version), insight, Push.ALL, (), due_s)


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


def savings(url: str, changes: int, customers: int, workers: int, kills: int) -> dict[str, Any]:
    """Many changes while workers send, and are killed."""
    rng = random.Random(1)
    people = [f"customer-{n:06d}" for n in range(customers)]
    with (
        running("hubspot", seed=1) as vendor,
        installation(
            url, vendor, HUBSPOT, workers=workers, limits=UNLIMITED, coalesce_s=2.0
        ) as made,
    ):
        made.start()
        made.change(people[:1], rng)
        made.wait(lambda: bool(vendor.arrivals()))
        rounds = max(1, changes // CHUNK)
        deaths = set(rng.sample(range(rounds), min(kills, rounds)))
        for number in range(rounds):
            made.change(rng.sample(people, min(CHUNK, customers)), rng)
            if number in deaths:
                made.kill_one(rng)
            time.sleep(0.05)
        made.wait(lambda: made.behind() == 0)
        return {
            "calls": len(vendor.arrivals()),
            "naive_calls": sum(made.versions.values()),
            "lost": made.behind(),
            "regressions": vendor.regressions,
            "doubled": vendor.doubled,
        }


def speed(url: str, customers: int) -> dict[str, float]:
    """Rows per second of a backlog by one worker; of a loop that sends a row a call."""
    rng = random.Random(2)
    people = [f"customer-{n:06d}" for n in range(customers)]
    with running("hubspot") as vendor:
        with installation(url, vendor, HUBSPOT, workers=1, limits=UNLIMITED) as made:
            for at in range(0, customers, CHUNK):
                made.change(people[at : at + CHUNK], rng)
            made.start()
            made.wait(lambda: made.behind() == 0, each_s=0.5)
            arrivals = vendor.arrivals()
            ours_s = arrivals[-1] - arrivals[0]
        with requests.Session() as session:
            began = time.monotonic()
            for who in people[:LOOP_ROWS]:
                row = {"id": who, "objectWriteTraceId": who, "properties": {"segment": "New"}}
                path = f"{vendor.url}/crm/v3/objects/contacts/batch/upsert"
                session.post(path, json={"inputs": [row]}, timeout=10).raise_for_status()
            loop_s = time.monotonic() - began
    return {"rows_per_s": customers / ours_s, "requests_loop_rows_per_s": LOOP_ROWS / loop_s}


def limit_used(url: str, workers: int) -> dict[str, float]:
    """Share of the allowed calls that were made in whole windows, one row a call."""
    rng = random.Random(3)
    people = [f"customer-{n:06d}" for n in range(LIMIT * (WINDOWS + 1))]
    with (
        running("webhook", slow_s=0.02) as vendor,
        installation(url, vendor, WEBHOOK, workers=workers, limits=LIMITED) as made,
    ):
        for at in range(0, len(people), CHUNK):
            made.change(people[at : at + CHUNK], rng)
        made.start()
        made.wait(lambda: bool(vendor.arrivals()))
        end = vendor.arrivals()[0] + WINDOWS * WINDOW_S
        made.wait(lambda: time.monotonic() > end + 0.1)
        seen = [at for at in vendor.arrivals() if at < end]
        return {
            "limit_used_pct": 100 * len(seen) / (WINDOWS * LIMIT),
            "fullest_window": fullest_window(vendor.arrivals(), WINDOW_S),
        }


def outage(url: str, customers: int, workers: int, outage_s: float) -> dict[str, float]:
    """All customers change while the vendor is down; how long it takes after its return."""
    rng = random.Random(4)
    people = [f"customer-{n:06d}" for n in range(customers)]
    with (
        running("hubspot", seed=4) as vendor,
        installation(url, vendor, HUBSPOT, workers=workers, limits=LIMITED) as made,
    ):
        vendor.down = True
        made.fail_for_long()
        made.start()
        start = time.monotonic()
        for at in range(0, customers, CHUNK):
            made.change(people[at : at + CHUNK], rng)
        made.wait(lambda: time.monotonic() - start > outage_s)
        vendor.down = False
        drain_s = made.wait(lambda: made.behind() == 0)
        return {
            "drain_s": drain_s,
            "lost": made.behind(),
            "regressions": vendor.regressions,
            "fullest_window": fullest_window(vendor.arrivals(), WINDOW_S),
        }


def measure(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """All figures; and what went wrong."""
    with private_server() as url:
        saved = _told(savings(url, args.changes, args.customers, args.workers, args.kills))
        fast = _told(speed(url, args.customers))
        used = _told(limit_used(url, args.workers))
        back = _told(outage(url, args.customers, args.workers, args.outage))
    found = {
        "calls": saved["calls"],
        "naive_calls": saved["naive_calls"],
        "saved_pct": round(100 * (1 - saved["calls"] / saved["naive_calls"]), 2),
        "limit_used_pct": round(used["limit_used_pct"], 1),
        "rows_per_s": round(fast["rows_per_s"], 1),
        "requests_loop_rows_per_s": round(fast["requests_loop_rows_per_s"], 1),
        "drain_s": round(back["drain_s"], 1),
        "lost": saved["lost"] + back["lost"],
        "regressions": saved["regressions"] + back["regressions"],
    }
    wrong = [name for name in ("lost", "regressions") if found[name]]
    if saved["doubled"]:
        wrong.append("rows were in flight twice at once")
    if max(used["fullest_window"], back["fullest_window"]) > LIMIT:
        wrong.append("the limit was exceeded")
    return found, wrong


def _told(found: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def work() -> int:
    """A worker process: rounds until it is told to stop."""
    settings = Settings()
    assert settings.redis_url is not None
    active = Runtime(settings, settings.redis_url.get_secret_value())
    deliver = active.deliver
    while True:
        if not deliver.round():
            active.bells.wait("deliver", 0.05)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit 1 when something was lost, or a limit exceeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=8, help="workers killed in the first part")
    parser.add_argument("--outage", type=float, default=20.0, help="seconds of the outage")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        return work()
    found, wrong = measure(args)
    text = json.dumps(found, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

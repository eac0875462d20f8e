"""Delivery: calls saved, limits used, rows per second, recovery from an outage; nothing lost.

    python -m benchmarks.delivery --json out.json

Changes are written as refresh writes them; worker processes send them to a vendor on loopback,
which counts by arrival time. Four parts, each on an installation of its own:

savings  100,000 changes of 10,000 customers against one call per change; workers are killed
speed    a backlog of rows against a bare `requests` loop, one row a call, to the same vendor
limit    190 requests in 10 s are allowed and nothing is reserved: how much of that is used
outage   every customer changed while the vendor answered 503: seconds from its return until it
         holds everything, under the same limit. `--outage 3600` waits for the hour; a shorter one
         is given what an hour leaves behind besides one row a customer: a breaker that has come to
         its longest pauses. Its probes use up no attempts but those of the rows that they carry
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from benchmarks.delivery_shop import HUBSPOT, WEBHOOK, installation
from benchmarks.server import private_server
from tests.vendors.faults import fullest_window, running
from worker.store.destinations import FAILURES

CHANGES, CUSTOMERS = 100_000, 10_000
LIMIT, WINDOW_S, WINDOWS = 190, 10.0, 3
LOOP_ROWS = 500
CHUNK = 500
HOUR_S = 3600.0
UNLIMITED = "requests_per = [{ requests = 1000000, window_s = 1 }]"
LIMITED = f"requests_per = [{{ requests = {LIMIT}, window_s = {WINDOW_S} }}]"


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
        if outage_s < HOUR_S:
            made.fail_for_long()
        made.start()
        made.change(people[:CHUNK], rng)
        made.wait(lambda: len(vendor.arrivals()) >= FAILURES)
        start = time.monotonic()
        for at in range(0, customers, CHUNK):
            made.change(people[at : at + CHUNK], rng)
        time.sleep(max(0.0, start + outage_s - time.monotonic()))
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
    args = parser.parse_args(argv)
    found, wrong = measure(args)
    text = json.dumps(found, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

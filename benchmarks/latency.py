"""From XADD to the CRM's receipt, with default settings and the signed webhook.

    python -m benchmarks.latency --rate 200 --seconds 30 --json out.json

Each event is an order of another existing customer. It counts as received at the first call that
was answered 2xx and whose insight goes through it; all that was sent must be received. Then, with
nothing else to do, customers one after another order what somebody else has (`--others`): how long
until the CRM hears that the somebody is like them. No training runs beside; with `--training` those
of a first day do: the search among all forecast models, and a rollout of what it finds.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import reaction, shop
from benchmarks.fleet import Crm, fleet
from benchmarks.machine import machine
from benchmarks.server import private_server, server_version
from worker.bootstrap import Runtime
from worker.settings import Settings
from worker.store.inspecting import Inspector
from worker.telemetry import configure as configure_logs

WARM_UP = 50
#: After so long every process has read a row that another one put.
KNOWN_S = 2.0
WITHOUT_TRAINING = ("ingest", "refresh", "deliver", "beat")


def measure(rate: float, seconds: float, others: int, *, training: bool = False) -> dict[str, Any]:
    """Send at a steady rate, and match receipts to events; then the lists of others."""
    count = int(rate * seconds)
    crm = Crm()
    with private_server() as url:
        runtime = Runtime(Settings(redis_url=url), url)
        _say(f"preparing {count + WARM_UP} customers")
        reaction.populate(runtime, count + WARM_UP)
        _settle(runtime)
        with fleet(url, crm, () if training else WITHOUT_TRAINING) as running:
            running.wait_ready(runtime.reports)
            _wait(crm, _send(runtime, range(count, count + WARM_UP), "warm", rate), 60)
            crm.receipts.clear()
            _say(f"sending {rate:g} events/s for {seconds:g} s")
            sent = _send(runtime, range(count), "live", rate)
            _wait(crm, sent, 60)
            receipts = list(crm.receipts)
            _until_nothing_waits(runtime)
            _say(f"{others} customers become like others")
            reached = sorted(_others(runtime, crm, others))
            on = machine(server_version(url))
    crm.close()
    first: dict[str, float] = {}
    for receipt in receipts:
        first.setdefault(receipt.through_event_id, receipt.at)
    taken = sorted(1000 * (first[event] - at) for event, at in sent.items() if event in first)
    return {
        "sent": len(sent),
        "received": len(taken),
        "p50_ms": _percentile(taken, 50),
        "p95_ms": _percentile(taken, 95),
        "p99_ms": _percentile(taken, 99),
        "max_ms": _percentile(taken, 100),
        "calls": len(receipts),
        "others": others,
        "others_reached": len(reached),
        "others_p50_ms": _percentile(reached, 50),
        "others_p95_ms": _percentile(reached, 95),
        "signatures_refused": crm.refused,
        "rate": rate,
        "training": training,
        "machine": on,
    }


def _settle(runtime: Runtime) -> None:
    """Have models, and everybody's scores by them."""
    runtime.retrain.run(reason="benchmark")
    while runtime.refresh.drain() or runtime.rollout_store.progress().finished_s is None:
        time.sleep(0.1)  # a rollout has a pace


def _until_nothing_waits(runtime: Runtime) -> None:
    """Others' lists that the events before have changed."""
    inspector = Inspector(runtime.client, runtime.keys)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        boxes = inspector.mailboxes(runtime.clock.now_ms(), runtime.destination_names)
        if not boxes.marks and not boxes.nudged:
            return
        time.sleep(0.1)
    raise SystemExit("not within 300 s: others' lists after the events")


def _send(runtime: Runtime, numbers: Sequence[int], name: str, rate: float) -> dict[str, float]:
    """XADD one order a customer, evenly spaced: event id -> time of the call."""
    rng = random.Random(5)
    sent = {}
    start = time.perf_counter()
    for i, number in enumerate(numbers):
        who = shop.customer(number)
        event_id = f"{name}-{number}"
        event = shop.event(who, event_id, int(time.time()), rng, is_order=True)
        ahead = start + i / rate - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        sent[event_id] = time.perf_counter()
        runtime.client.xadd(runtime.keys.events(runtime.keys.shard(who)), {"event": event})
    return sent


def _others(runtime: Runtime, crm: Crm, count: int) -> Iterator[float]:
    """Milliseconds from an order to the CRM's receipt of another customer's list with its owner."""
    rng = random.Random(6)

    def order(who: str, items: Sequence[int]) -> float:
        event = shop.event(who, f"of-{who}", int(time.time()), rng, is_order=True, items=items)
        at = time.perf_counter()
        runtime.client.xadd(runtime.keys.events(runtime.keys.shard(who)), {"event": event})
        return at

    for number in range(count):
        one, other, items = f"one-{number}", f"other-{number}", rng.sample(range(shop.ITEMS), 3)
        order(one, items)
        _wait(crm, {f"of-{one}"}, 30)
        time.sleep(KNOWN_S)
        at = order(other, items)
        heard = _similar(crm, one, other)
        if heard is not None:
            yield 1000 * (heard - at)


def _similar(crm: Crm, who: str, other: str) -> float | None:
    """When the CRM heard that a customer is like another one; None if it did not within 30 s."""
    deadline = time.perf_counter() + 30
    while time.perf_counter() < deadline:
        held = crm.contacts.get(who)
        near = (held.insight.get("similar_customers") or []) if held is not None else []
        if held is not None and other in [one["customer_id"] for one in near]:
            return held.at
        time.sleep(0.02)
    return None


def _wait(crm: Crm, event_ids: Collection[str], timeout_s: float) -> None:
    """Until each event was received; news of customers without one come in between."""
    deadline = time.perf_counter() + timeout_s
    while set(event_ids) - {receipt.through_event_id for receipt in list(crm.receipts)}:
        if time.perf_counter() > deadline:
            return
        time.sleep(0.1)


def _percentile(values: Sequence[float], percent: float) -> float | None:
    if not values:
        return None
    return round(values[min(len(values) - 1, int(len(values) * percent / 100))], 1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit 1 when an event or a list was not received."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rate", type=float, default=200.0, help="events per second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--others", type=int, default=20, help="customers who become like others")
    parser.add_argument("--training", action="store_true", help="train beside")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args(argv)
    configure_logs("WARNING")
    found = measure(args.rate, args.seconds, args.others, training=args.training)
    text = json.dumps(found, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    all_came = found["received"] == found["sent"] and found["others_reached"] == found["others"]
    return 0 if all_came else 1


if __name__ == "__main__":
    raise SystemExit(main())

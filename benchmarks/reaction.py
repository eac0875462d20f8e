"""Full reaction: ingest, refresh and outbox row of customers that just ordered; memory of one."""

from __future__ import annotations

import base64
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import shop
from worker.bootstrap import Runtime
from worker.settings import Settings
from worker.store.door import Arrival
from worker.store.refreshing import read_insight

#: Orders that each customer begins with, and customers that then react.
HISTORY = 3
REACTING = 2_000
SAMPLE = 500
#: Share of those who reacted that must have got lists; those who are held out get none.
WITH_LISTS = 0.9
SECRET = "whsec_" + base64.b64encode(bytes(24)).decode()


def measure(url: str, customers: int) -> dict[str, Any]:
    """Customers per second from an order in the stream to the outbox row, one process.

    The time covers those whom the orders nudged, too; they do not count as customers.
    """
    with tempfile.TemporaryDirectory(prefix="crm-reflex-bench-") as folder:
        settings = Settings(
            webhook_url="https://crm.invalid/", webhook_secret=SECRET, lag_limit=10**9,
            redis_url=url, snapshot_dir=Path(folder),
        )  # fmt: skip
        return _react(Runtime(settings, url), customers)


def _react(runtime: Runtime, customers: int) -> dict[str, Any]:
    populate(runtime, customers)
    runtime.retrain.run(reason="benchmark")
    if not runtime.snapshot_builder.run():
        raise RuntimeError("no snapshot of the index was built")
    runtime.refresh.drain()
    rng = random.Random(3)
    reacting = rng.sample(range(customers), min(REACTING, customers))
    _put(runtime, _orders(reacting, rng, "live"), quiet=False)
    start = time.perf_counter()
    runtime.ingest.drain()
    refreshed = runtime.refresh.drain()
    seconds = time.perf_counter() - start
    if refreshed < len(reacting):
        raise RuntimeError(f"{refreshed} customers were refreshed, {len(reacting)} had ordered")
    share = _with_lists(runtime, reacting)
    if share < WITH_LISTS:
        raise RuntimeError(f"{share:.0%} of those who reacted have lists")
    waiting = len(runtime.deliver_store.waiting(runtime.destination_names))
    return {
        "customers_per_s": round(len(reacting) / seconds),
        "nudged": refreshed - len(reacting),
        "outbox_rows": waiting,
        "with_lists": round(share, 3),
        "bytes_per_customer": round(_bytes_per_customer(runtime, rng, customers)),
        "stream_bytes_per_event": round(_stream_bytes(runtime)),
    }


def populate(runtime: Runtime, customers: int) -> None:
    """Give every customer some orders, quietly."""
    rng = random.Random(2)
    for round_ in range(HISTORY):
        for first in range(0, customers, 20_000):
            chunk = range(first, min(first + 20_000, customers))
            _put(runtime, _orders(chunk, rng, f"h{round_}", spread_s=300 * 86_400), quiet=True)
            runtime.ingest.drain()


def _orders(
    numbers: Any, rng: random.Random, name: str, spread_s: int = 0
) -> Iterator[tuple[str, bytes]]:
    now_s = int(time.time())
    for number in numbers:
        at_s = now_s - (rng.randrange(spread_s) if spread_s else 0)
        who = shop.customer(number)
        yield who, shop.event(who, f"{name}-{number}", at_s, rng, is_order=True)


def _put(runtime: Runtime, events: Iterator[tuple[str, bytes]], *, quiet: bool) -> None:
    by_shard: dict[int, list[Arrival]] = {}
    for who, event in events:
        by_shard.setdefault(runtime.keys.shard(who), []).append(Arrival(event, quiet))
    for shard, arrivals in by_shard.items():
        runtime.door.put(shard, arrivals)


def _with_lists(runtime: Runtime, numbers: list[int]) -> float:
    """Share of customers whose insight names similar customers and items to recommend."""
    k = runtime.keys
    pipeline = runtime.client.pipeline(transaction=False)
    for who in map(shop.customer, numbers):
        pipeline.get(k.insight(k.shard(who), who))
    insights = [json.loads(read_insight(value).json) for value in pipeline.execute()]
    found = [one for one in insights if one["similar_customers"] and one["new_for_you"]]
    return len(found) / len(numbers)


def _bytes_per_customer(runtime: Runtime, rng: random.Random, customers: int) -> float:
    """Profile, id memory and insight of a sample, as the server counts them."""
    k = runtime.keys
    sample = rng.sample(range(customers), min(SAMPLE, customers))
    pipeline = runtime.client.pipeline(transaction=False)
    for number in sample:
        who = shop.customer(number)
        shard = k.shard(who)
        for name in (k.profile, k.cold, k.memory, k.insight):
            pipeline.memory_usage(name(shard, who), samples=0)
    return sum(value or 0 for value in pipeline.execute()) / len(sample)


def _stream_bytes(runtime: Runtime) -> float:
    k = runtime.keys
    pipeline = runtime.client.pipeline(transaction=False)
    for shard in range(k.shards):
        pipeline.memory_usage(k.events(shard), samples=0)
        pipeline.xlen(k.events(shard))
    values = pipeline.execute()
    return sum(value or 0 for value in values[::2]) / max(1, sum(values[1::2]))

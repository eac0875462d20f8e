"""Ingest against one Celery task per event; reaction; memory of a customer.

    python -m benchmarks.pipeline --events 1200000 --json out.json

Both sides run one Celery worker with one process (`-c 1`) against a server with an append-only file
synced every second, from a queue that is filled before the clock starts; interleaved, median of the
rounds. Nothing is asserted about absolute times; a round of ours under 30 s is named: too short.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis

from benchmarks import reaction, shop
from benchmarks.machine import machine
from benchmarks.server import private_server, server_version
from worker.bootstrap import Runtime
from worker.settings import Settings
from worker.store.door import Arrival
from worker.telemetry import configure as configure_logs

CUSTOMERS = 20_000
BATCH = 250
LEAST_S = 30.0


class Rate(NamedTuple):
    """Events per second, and for how long."""

    per_s: float
    seconds: float


def ingest_rate(count: int, seed: int) -> Rate:
    """Events per second of our ingest: from the first commit to the last."""
    with _shop(count, seed) as (runtime, url), _worker(url, "benchmarks.ours", "bench.ours"):
        return _rate(lambda: _applied(runtime), count)


def baseline_rate(count: int, seed: int, limit_s: float) -> Rate:
    """Events per second of one task per event, over `limit_s` at most."""
    with private_server() as url:
        runtime = Runtime(Settings(), url)
        os.environ["CRM_REFLEX_REDIS_URL"] = url
        _fill_baseline(url, count, seed)
        with _worker(url, "benchmarks.baseline", "bench.baseline"):
            return _rate(lambda: _applied(runtime), count, limit_s)


def server_limit(count: int, seed: int) -> float:
    """Events per second of XADD, XRANGE and one HSET of the same bytes, pipelined by 250."""
    with private_server() as url:
        client = Redis.from_url(url)
        made = list(shop.events(count, customers=CUSTOMERS, end_s=int(time.time()), seed=seed))
        start = time.perf_counter()
        last = "-"
        for i in range(0, len(made), BATCH):
            chunk = made[i : i + BATCH]
            pipeline = client.pipeline(transaction=False)
            for _, event in chunk:
                pipeline.xadd("events", {"event": event})
            pipeline.execute()
            rows = client.xrange("events", min=last, count=BATCH)
            last = "(" + rows[-1][0].decode()
            pipeline = client.pipeline(transaction=False)
            for (who, _), (_, fields) in zip(chunk, rows, strict=True):
                pipeline.hset("c:" + who, "state", fields[b"event"])
            pipeline.execute()
        return count / (time.perf_counter() - start)


@contextmanager
def _shop(count: int, seed: int) -> Iterator[tuple[Runtime, str]]:
    """A server whose streams hold `count` events that nobody has applied yet."""
    with private_server() as url:
        runtime = Runtime(Settings(lag_limit=10**9), url)
        fill(runtime, shop.events(count, customers=CUSTOMERS, end_s=int(time.time()), seed=seed))
        yield runtime, url


def fill(runtime: Runtime, events: Iterator[tuple[str, bytes]]) -> int:
    """Put events into their shards' streams; how many."""
    waiting: dict[int, list[Arrival]] = {}
    total = 0
    for who, event in events:
        shard = runtime.keys.shard(who)
        waiting.setdefault(shard, []).append(Arrival(event))
        total += 1
        if len(waiting[shard]) >= BATCH:
            runtime.door.put(shard, waiting.pop(shard))
    for shard, arrivals in waiting.items():
        runtime.door.put(shard, arrivals)
    return total


def _fill_baseline(url: str, count: int, seed: int) -> None:
    from benchmarks.baseline import QUEUE, app  # noqa: PLC0415  reads the server's URL when imported
    from worker.serve import broker_url  # noqa: PLC0415

    now_ms = int(time.time() * 1000)
    # A connection of its own: the app's pool keeps those to the server of the round before.
    with app.connection_for_write(broker_url(Settings(), url)) as connection:
        producer = app.amqp.Producer(connection, auto_declare=False)
        for i, (_, event) in enumerate(
            shop.events(count, customers=CUSTOMERS, end_s=now_ms // 1000, seed=seed)
        ):
            arguments = (f"{now_ms}-{i + 1}", event.decode())
            app.send_task("baseline.apply", arguments, queue=QUEUE, producer=producer)


@contextmanager
def _worker(url: str, module: str, queue: str) -> Iterator[None]:
    """One Celery worker with one process."""
    environment = {**os.environ, "CRM_REFLEX_REDIS_URL": url}
    command = [
        sys.executable, "-m", "celery", "-A", module, "worker", "-Q", queue, "-c", "1",
        "-l", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _applied(runtime: Runtime) -> int:
    pipeline = runtime.client.pipeline(transaction=False)
    for shard in range(runtime.keys.shards):
        pipeline.hget(runtime.keys.meta(shard), "applied")
    return sum(int(value or 0) for value in pipeline.execute())


def _rate(applied: Any, count: int, limit_s: float = 3600.0) -> Rate:
    """Events per second between the first event seen applied and the last (or the limit)."""
    deadline = time.perf_counter() + 60
    while not (first := applied()):
        if time.perf_counter() > deadline:
            raise RuntimeError("the worker applied nothing within a minute")
        time.sleep(0.01)
    start = now = time.perf_counter()
    done = first
    while done < count and now - start < limit_s:
        time.sleep(0.2)  # looking costs the worker processor time
        done, now = applied(), time.perf_counter()
    return Rate((done - first) / (now - start), now - start)


def measure(
    events: int, rounds: int, baseline_s: float, populations: Sequence[int]
) -> dict[str, Any]:
    """Everything, as the JSON that `--json` writes."""
    ours, base, limit = [], [], []
    for seed in range(1, rounds + 1):
        ours.append(ingest_rate(events, seed))
        base.append(baseline_rate(max(50, int(baseline_s * 700)), seed, baseline_s))
        limit.append(server_limit(max(BATCH, min(events, 100_000)), seed))
        _say(f"round {seed}: ours {ours[-1].per_s:,.0f}/s, baseline {base[-1].per_s:,.0f}/s")
        if ours[-1].seconds < LEAST_S:
            _say(f"only {ours[-1].seconds:.0f} s of ours: take more --events")
    ratio = statistics.median(o.per_s / b.per_s for o, b in zip(ours, base, strict=True))
    fraction = statistics.median(o.per_s / r for o, r in zip(ours, limit, strict=True))
    reacted = {}
    for population in populations:
        with private_server() as url:
            reacted[str(population)] = reaction.measure(url, population)
            _say(f"{population:,} customers: {reacted[str(population)]}")
            on = machine(server_version(url))
    last = reacted[str(populations[-1])]
    return {
        "ingest": {
            "events_per_s": round(statistics.median(one.per_s for one in ours)),
            "baseline_events_per_s": round(statistics.median(one.per_s for one in base), 1),
            "ratio": round(ratio, 1),
            "fraction_of_server_limit": round(fraction, 3),
            "rounds": [round(one.per_s) for one in ours],
            "seconds": [round(one.seconds, 1) for one in ours],
            "baseline_rounds": [round(one.per_s) for one in base],
            "events": events,
        },
        "reaction": {name: row["customers_per_s"] for name, row in reacted.items()},
        "bytes_per_customer": last["bytes_per_customer"],
        "stream_bytes_per_event": last["stream_bytes_per_event"],
        "machine": on,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--events", type=int, default=1_200_000, help="events of each of our rounds"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--baseline-seconds", type=float, default=30.0)
    parser.add_argument("--customers", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args(argv)
    configure_logs("WARNING")
    found = measure(args.events, args.rounds, args.baseline_seconds, args.customers)
    text = json.dumps(found, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

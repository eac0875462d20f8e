"""What a training costs: beside a live ingest, and at sizes that this machine only simulates.

    python -m benchmarks.retraining --scale --customers 100000 --json OUT
    python -m benchmarks.retraining --scale --simulate 1000000 --json OUT

With --customers, a real server and real workers: all three models are trained anew on so many
customers while 500 events/s go on (two cores are enough). With --simulate, the same fits in this
process on customers that no server holds. One event in ten is an order: if all were, an eighth of
all customers would buy on the day of the training, and the gate would refuse what was fitted on
that. Figures of the JSON:

retrain_s         from the order to the last of three versions (live) / of all fits (simulated)
p99_ms            from XADD to the commit that applies it, without a training and during it; each
                  over all events sent, looked at every 2 ms
seconds, memory   of each kind: CPU of its fit, and most memory of its process meanwhile
gate              of each kind (live): what was decided, and CPU of its evaluation
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, NamedTuple, Self

import numpy as np

from benchmarks import shop
from benchmarks.fleet import Crm, Fleet
from benchmarks.machine import machine
from benchmarks.server import private_server, server_version
from models.forecast import bundle
from models.segments import state as segment_state
from worker.bootstrap import Runtime
from worker.live import Live
from worker.profile.derive import Order
from worker.refresh_rules import RefreshRules
from worker.route import route
from worker.session import order
from worker.settings import Settings
from worker.store.door import Arrival
from worker.store.models import KINDS
from worker.training import forecasts, memory, recommendations, segments
from worker.training.columns import Reader
from worker.training.data import AT_ONCE, TrainingData
from worker.training.provenance import told
from worker.views import Calendar, View

DAY_S: Final = 86_400
HISTORY_DAYS: Final = 730
RATE: Final = 500.0
ORDERS: Final = 0.1  # of the events
#: A training that takes longer has failed.
LONGEST_S: Final = 1_800.0
_LOOK_S: Final = 0.002


class Bought(NamedTuple):
    """Orders of an invented shop, customer by customer: who, days ago, cents, three items each."""

    customer: np.ndarray
    days_ago: np.ndarray
    cents: np.ndarray
    items: np.ndarray


def bought(customers: int, rng: np.random.Generator) -> Bought:
    """Customers of all ages who buy at rates of their own until they leave: 3.4 orders each."""
    age = rng.integers(1, HISTORY_DAYS, customers)
    gap = 5.0 + rng.gamma(1.0, 40.0, customers)
    orders = np.minimum(rng.geometric(0.2, customers), 40)
    who = np.repeat(np.arange(customers), orders)
    first = np.concatenate(([0], np.cumsum(orders)[:-1]))
    waits = np.rint(rng.exponential(gap[who])) + 1
    waits[first] = 0
    since = np.cumsum(waits)
    days_ago = age[who] - (since - np.repeat(since[first], orders))
    here = days_ago > 0
    who, days_ago = who[here], days_ago[here].astype(np.int64)
    cents = (100 * (1 + rng.gamma(3.0, 10.0, len(who)))).astype(np.int64)
    items = np.minimum(rng.zipf(1.3, (len(who), 3)), shop.ITEMS) - 1
    return Bought(who, days_ago, cents, items)


def live(customers: int, seconds: float, rate: float = RATE) -> dict[str, Any]:
    """A server, an ingest worker, a training worker, and a steady stream of events."""
    crm = Crm()
    with private_server() as url:
        active = Runtime(Settings(redis_url=url), url)  # type: ignore[arg-type]
        _populate(active, customers)
        first = active.retrain.run(reason="first")
        with _workers(url, crm), _Load(active, customers, rate) as load:
            order(active, "ingest.pump", 0)
            time.sleep(5.0)
            load.begin()
            time.sleep(seconds)
            before = load.taken_ms()
            load.begin()
            took_s = _retrained(active)
            during = load.taken_ms()
        meta = {one.kind: active.models.head(one.kind, one.version + 1) for one in first}
        found = {
            "customers": customers,
            "purchase_days": meta["segments"]["purchase_days"],
            "retrain_s": round(took_s, 1),
            "events_per_s": rate,
            "p50_ms": {"without": _percentile(before, 50), "during": _percentile(during, 50)},
            "p99_ms": {"without": _percentile(before, 99), "during": _percentile(during, 99)},
            "events": {"without": len(before), "during": len(during), "lost": load.missing()},
            "seconds": {kind: one["cpu_s"] for kind, one in meta.items()},
            "gate": {
                kind: {name: one["gate"][name] for name in ("verdict", "reasons", "cpu_s")}
                for kind, one in meta.items()
            },
            "memory_mb": {k: round(one["memory_peak_bytes"] / 1e6) for k, one in meta.items()},
            "machine": machine(server_version(url)),
        }
    crm.close()
    return found


def simulated(customers: int) -> dict[str, Any]:
    """The fits of all three kinds, each behind a first version of its own."""
    rng = np.random.default_rng(0)
    memory.begin_peak()
    now_s = 20_000 * DAY_S
    made = bought(customers, rng)
    rules = RefreshRules(100, DAY_S, "UTC", "USD", 3, 3, 30, ())
    calendar = Calendar("UTC")
    reader, views = Reader(rules), _views(made, customers, now_s)
    while some := list(islice(views, AT_ONCE)):
        reader.take(some)
    known = reader.columns()
    data = TrainingData(
        now_s, calendar.day(now_s), known.past, known.key, known.bought, known.items, known.orders,
        calendar, rules, 0.1, Live(),
    )  # fmt: skip
    arrays_bytes = memory.peak_bytes()
    arrays, meta = segments.fit(data)
    first = segment_state.from_state(arrays, meta)
    level1 = bundle.from_state(*forecasts.fit(data))
    data = data._replace(live=Live(1, first, level1, None))
    seconds, peaks = {}, {}
    fits = {"segments": segments, "recommendations": recommendations, "forecasts": forecasts}
    start = time.perf_counter()
    for kind, fit in fits.items():
        _, model = told(kind, fit.fit)(data)
        seconds[kind] = model["provenance"]["cpu_s"]  # type: ignore[index,call-overload]
        peaks[kind] = model["provenance"]["memory_peak_bytes"]  # type: ignore[index,call-overload]
    return {
        "customers": customers,
        "purchase_days": len(known.past.day),
        "retrain_s": round(time.perf_counter() - start, 1),
        "seconds": seconds,
        "memory_mb": {
            "arrays": round(arrays_bytes / 1e6),
            **{kind: round(most / 1e6) for kind, most in peaks.items()},
        },
        "machine": machine("none"),
    }


def _populate(active: Runtime, customers: int) -> None:
    made = bought(customers, np.random.default_rng(0))
    now_s = int(time.time())
    rng = random.Random(0)
    chunk: list[Arrival] = []
    for i, (who, ago) in enumerate(
        zip(made.customer.tolist(), made.days_ago.tolist(), strict=True)
    ):
        at_s = now_s - DAY_S * ago - 60
        raw = shop.event(shop.customer(who), f"past-{i}", at_s, rng, is_order=True)
        chunk.append(Arrival(raw, quiet=True))
        if len(chunk) == 20_000:
            _put(active, chunk)
            chunk = []
    _put(active, chunk)


def _put(active: Runtime, chunk: list[Arrival]) -> None:
    active.door.emit(chunk)
    while route(active.intake, active.settings.shards):
        pass
    active.ingest.drain()


def _views(made: Bought, customers: int, now_s: int) -> Iterator[View]:
    starts = np.searchsorted(made.customer, np.arange(customers + 1)).tolist()
    ago, cents, items = made.days_ago.tolist(), made.cents.tolist(), made.items.tolist()
    for number in range(customers):
        orders = [
            Order(
                f"o-{i}", now_s - DAY_S * ago[i], "USD", cents[i],
                tuple((f"SKU-{item:05d}", 1000) for item in sorted(set(items[i]))), cancelled=False,
            )
            for i in range(starts[number], starts[number + 1])
        ]  # fmt: skip
        yield View(shop.customer(number), orders, [])


class _Load:
    """Sends one event after another at a steady rate, and notes when each was applied."""

    def __init__(self, active: Runtime, customers: int, rate: float) -> None:
        self._active, self._customers, self._rate = active, customers, rate
        self._lock = threading.Lock()
        self._waiting: dict[int, list[tuple[tuple[int, int], float]]] = {}
        self._taken: list[float] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._send, self._look)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def begin(self) -> None:
        """Forget what was taken so far."""
        with self._lock:
            self._taken = []

    def taken_ms(self) -> list[float]:
        """Of every event that was applied since, sorted."""
        with self._lock:
            return sorted(1000 * one for one in self._taken)

    def missing(self) -> int:
        """Events that were not applied within a second after the load has ended."""
        return sum(map(len, self._waiting.values()))

    def _send(self) -> None:
        rng, keys, client = random.Random(1), self._active.keys, self._active.client
        start, number = time.perf_counter(), 0
        while not self._stop.is_set():
            who = shop.customer(rng.randrange(self._customers))
            is_order = rng.random() < ORDERS
            raw = shop.event(who, f"live-{number}", int(time.time()), rng, is_order=is_order)
            ahead = start + number / self._rate - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)
            sent, shard = time.perf_counter(), keys.shard(who)
            entry = client.xadd(keys.events(shard), {"event": raw})
            with self._lock:
                self._waiting.setdefault(shard, []).append((_position(entry), sent))
            number += 1

    def _look(self) -> None:
        keys = self._active.keys
        ends = None
        while ends is None or (self._waiting and time.perf_counter() < ends):
            if self._stop.is_set() and ends is None:
                ends = time.perf_counter() + 1.0
            pipeline = self._active.client.pipeline(transaction=False)
            with self._lock:
                shards = [shard for shard, rows in self._waiting.items() if rows]
            for shard in shards:
                pipeline.hget(keys.meta(shard), "cursor")
            cursors = pipeline.execute() if shards else []
            now = time.perf_counter()
            for shard, cursor in zip(shards, cursors, strict=True):
                self._settle(shard, _position(cursor or b"0-0"), now)
            time.sleep(_LOOK_S)

    def _settle(self, shard: int, cursor: tuple[int, int], now: float) -> None:
        with self._lock:
            rows = self._waiting.pop(shard)
            self._taken += [now - sent for entry, sent in rows if entry <= cursor]
            if left := [row for row in rows if row[0] > cursor]:
                self._waiting[shard] = left


@contextmanager
def _workers(url: str, crm: Crm) -> Iterator[None]:
    """An ingest worker and a training worker; nothing else takes processor time."""
    running = Fleet(url, crm, {}, stages=("ingest", "training"))
    try:
        active = Runtime(Settings(redis_url=url), url)  # type: ignore[arg-type]
        running.wait_ready(active.reports)
        yield
    finally:
        running.close()


def _retrained(active: Runtime) -> float:
    """Order all three models anew, and wait for their versions: seconds."""
    before = _newest(active)
    start = time.perf_counter()
    order(active, "models.retrain", None, "benchmark")
    while time.perf_counter() - start < LONGEST_S:
        now = _newest(active)
        if all(now[kind] > before[kind] for kind in KINDS):
            return time.perf_counter() - start
        time.sleep(0.2)
    raise RuntimeError(f"no new versions within {LONGEST_S:g} s")


def _newest(active: Runtime) -> dict[str, int]:
    """The newest version of each kind, live or not."""
    return {kind: active.models.versions(kind)[0][0] for kind in KINDS}


def _position(entry: bytes | str) -> tuple[int, int]:
    text = entry.decode() if isinstance(entry, bytes) else entry
    first, _, second = text.partition("-")
    return int(first), int(second or 0)


def _percentile(values: list[float], percent: float) -> float | None:
    if not values:
        return None
    return round(values[min(len(values) - 1, int(len(values) * percent / 100))], 1)

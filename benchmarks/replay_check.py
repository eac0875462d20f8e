"""Kill workers and the server under load, and compare what is there with a single-threaded replay.

    python -m benchmarks.replay_check --seed 1 --events 50000 --worker-kills 20 --server-kills 3

Real worker processes under the supervisor, a real server with an append-only file synced every
second, a CRM that verifies signatures. Events are shuffled in time, one in ten comes twice, some
are refunds and cancellations. Prints JSON; after the restarts every count of errors must be 0.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from redis.exceptions import RedisError

from benchmarks import oracle, shop
from benchmarks.fleet import Crm, Fleet, fleet
from benchmarks.machine import machine
from benchmarks.server import server_version
from integrations.insight import CustomerInsight
from integrations.material import DeadBands, Material, material
from models.recommend.customer_rows import row_of
from worker.bootstrap import Runtime
from worker.embedded import EmbeddedServer
from worker.follow import follow_of
from worker.index import InteractionIndex
from worker.live import LiveModels
from worker.profile import derive
from worker.rules.book import RuleBook
from worker.rules.reading import parse
from worker.settings import Settings
from worker.store.models import KINDS
from worker.store.nudges import Nudges
from worker.store.refreshing import Held, read_insight
from worker.telemetry import configure as configure_logs
from worker.views import Calendar, View, interacted
from worker.watchdog import EXIT_CODE

CUSTOMERS = 2_000
CHUNK = 500
DUPLICATES = 0.1
SPREAD_S = 60 * 86_400
SETTLE_S = 240.0
REACTING = ("ingest", "refresh", "deliver")
TRAINING = ("training", "beat")
RULES = parse(
    {
        "segments": [
            {"id": "twice", "when": {"count": "orders", "at_least": 2}},
            {"id": "lately", "when": {"days_since": "last_order", "at_most": 14}},
        ]
    }
)


def story(count: int, seed: int) -> list[tuple[str, bytes]]:
    """Events of a shop in a random sequence, some of them twice, some orders taken back."""
    rng = random.Random(seed)
    now_s = int(time.time())
    made: list[tuple[str, bytes]] = []
    for i in range(count):
        who = shop.customer(rng.randrange(CUSTOMERS))
        at_s = now_s - rng.randrange(SPREAD_S)
        name = f"r{seed}-{i}"
        made.append((who, shop.event(who, name, at_s, rng, is_order=rng.random() < 0.3)))
        if rng.random() < 0.03:
            kind = rng.choice(("Order Refunded", "Order Cancelled"))
            made.append((who, _taken_back(made[-1][1], kind, at_s + 3600, name)))
    twice = rng.sample(made, int(DUPLICATES * len(made)))
    made += twice
    rng.shuffle(made)
    return made


def _taken_back(event: bytes, kind: str, at_s: int, name: str) -> bytes:
    fields = json.loads(event)
    order_id = fields["properties"].get("order_id", "order-" + name)
    fields |= {
        "event": kind,
        "messageId": f"{name}-back",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)),
        "properties": {"order_id": order_id},
    }
    return json.dumps(fields).encode()


class Disturbance:
    """Kills at random moments of the run, in the main thread between two chunks of events."""

    def __init__(
        self,
        rng: random.Random,
        running: Sequence[Fleet],
        server: EmbeddedServer,
        runtime: Runtime,
    ) -> None:
        self._rng = rng
        self._fleets = running
        self._server = server
        self._runtime = runtime
        self.worker_kills = self.server_kills = 0

    def kill_worker(self) -> None:
        """SIGKILL a worker's parent, or one of its children."""
        running = [pair for one in self._fleets for pair in one.supervisor.pids().items()]
        pids = {name: pid for name, pid in running if name != "beat"}
        if not pids:
            return
        name = self._rng.choice(sorted(pids))
        try:
            parent = psutil.Process(pids[name])
            children = parent.children(recursive=True)
            victim = (
                parent if self._rng.random() < 0.5 or not children else self._rng.choice(children)
            )
            victim.kill()
        except psutil.NoSuchProcess:
            return
        self.worker_kills += 1
        _say(f"killed {'worker' if victim is parent else 'child'} of {name}")

    def kill_server(self) -> None:
        """SIGKILL the server, and start it again from its append-only file."""
        os.kill(int(self._runtime.client.info("server")["process_id"]), signal.SIGKILL)
        self.server_kills += 1
        _say("killed the server")
        time.sleep(self._rng.random() * 2)
        self._server.leave()
        self._server.join()


def run(seed: int, events: int, worker_kills: int, server_kills: int) -> dict[str, Any]:
    """One disturbed run and its verdict."""
    rng = random.Random(seed)
    told = story(events, seed)
    crm = Crm()
    with tempfile.TemporaryDirectory(prefix="crm-reflex-chaos-") as folder:
        server = EmbeddedServer(Path(folder))
        url = server.join()
        runtime = Runtime(Settings(redis_url=url), url)
        index = InteractionIndex(runtime.population, "UTC")
        start = time.perf_counter()
        try:
            with (
                fleet(url, crm, REACTING, coalesce_s="0.2") as running,
                fleet(url, crm, TRAINING) as trainers,
            ):
                running.wait_ready(runtime.reports)
                disturb = Disturbance(rng, (running, trainers), server, runtime)
                kills = _schedule(rng, len(told), worker_kills, server_kills)
                accepted = list(_tell(runtime, told, kills, disturb, index))
                settled = _settle(runtime, index)
                trainers.close()  # no model goes live behind what is compared
                settled = _settle(runtime, index) and settled
                ends = [text for one in (running, trainers) for _, text in one.events]
                watchdog = sum(f"exit code {EXIT_CODE};" in text for text in ends)
            found = _verdict(runtime, accepted, index, crm)
            on = machine(server_version(url))
        finally:
            server.leave()
            crm.close()
    return {
        "events": len(told),
        "worker_kills": disturb.worker_kills,
        "server_kills": disturb.server_kills,
        "watchdog_restarts": watchdog,
        **found,
        "settled": settled,
        "seconds": round(time.perf_counter() - start, 1),
        "seed": seed,
        "machine": on,
    }


def _schedule(rng: random.Random, count: int, workers: int, servers: int) -> dict[int, list[str]]:
    """Chunk number -> what is killed before it."""
    chunks = max(1, count // CHUNK)
    kills: dict[int, list[str]] = {}
    for kind, times in (("worker", workers), ("server", servers)):
        for _ in range(times):
            kills.setdefault(rng.randrange(chunks // 10, chunks), []).append(kind)
    return kills


def _tell(
    runtime: Runtime,
    told: Sequence[tuple[str, bytes]],
    kills: dict[int, list[str]],
    disturb: Disturbance,
    index: InteractionIndex,
) -> Iterator[tuple[str, bytes, int]]:
    """Send all events, killing on schedule; what the server accepted, with its entry time."""
    trained = False
    for number, first in enumerate(range(0, len(told), CHUNK)):
        for kind in kills.get(number, ()):
            disturb.kill_server() if kind == "server" else disturb.kill_worker()
        for who, event in told[first : first + CHUNK]:
            yield who, event, _add(runtime, who, event)
        _pace(runtime)
        if not trained and number >= len(told) // CHUNK // 10:
            trained = _train(runtime)
            if trained:
                live = _live(runtime)
                index.use(live)
        elif trained:
            _retry(index.follow)


def _pace(runtime: Runtime) -> None:
    """Go on when ingest has nearly caught up: a kill shall meet work under way."""
    deadline = time.monotonic() + SETTLE_S
    while _retry(lambda: sum(lag.entries for lag in runtime.door.lag())) > CHUNK:
        if time.monotonic() > deadline:
            raise RuntimeError("ingest makes no progress")
        time.sleep(0.01)


def _add(runtime: Runtime, who: str, event: bytes) -> int:
    """XADD until the server answers; the entry's time in ms."""
    key = runtime.keys.events(runtime.keys.shard(who))
    entry = _retry(lambda: runtime.client.xadd(key, {"event": event}))
    return int(entry.partition(b"-")[0])


def _retry(call: Any, timeout_s: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return call()
        except (RedisError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _train(runtime: Runtime) -> bool:
    if _retry(runtime.population.count) < CUSTOMERS // 2:
        return False
    _retry(lambda: runtime.retrain.run(reason="chaos"))
    _retry(lambda: RuleBook(runtime.models, runtime.population, runtime.clock).add(RULES, None))
    _retry(lambda: follow_of(runtime).run())
    return True


def _live(runtime: Runtime) -> Any:
    return LiveModels(runtime.models, runtime.clock).current().recommendations


def _settle(runtime: Runtime, index: InteractionIndex) -> bool:
    """Wait until nothing waits anywhere."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        index.follow()
        lag = sum(lag.entries for lag in runtime.door.lag())
        marks = len(runtime.refresh_store.marked(1)) + len(runtime.refresh_store.quiet(1))
        marks += len(Nudges(runtime.client, runtime.keys).waiting(1))
        unscored = _unscored(runtime)
        waiting = len(runtime.deliver_store.waiting(["webhook"]))
        if not (lag or marks or unscored or waiting):
            return True
        _say(
            f"waiting: {lag} events, {marks} shards with marks, {unscored} customers that the live"
            f" models have not scored, {waiting} deliveries"
        )
        time.sleep(1)
    return False


def _unscored(runtime: Runtime) -> int:
    """Customers that the rollout of the live models has not reached; all where it has not begun."""
    rollout = runtime.rollout_store.progress()
    live = runtime.models.current().versions
    if any(rollout.versions.get(kind) != live.get(kind) for kind in KINDS):
        return runtime.population.count()
    return 0 if rollout.finished_s is not None else max(1, rollout.total - rollout.done)


def _verdict(
    runtime: Runtime, accepted: Sequence[tuple[str, bytes, int]], index: InteractionIndex, crm: Crm
) -> dict[str, int]:
    replay = oracle.Replay(runtime.rules)
    for who, event, entry_ms in accepted:
        replay.apply(who, event, entry_ms)
    expected = replay.profiles()
    found = oracle.stored_profiles(runtime)
    differences = oracle.compare(found, expected)
    stored = _stored(runtime, list(expected))
    insights = {who: json.loads(held.json) if held.json else {} for who, held in stored.items()}
    return {
        **differences._asdict(),
        "wrong_index_rows": _wrong_rows(runtime, index, expected),
        "wrong_transitions": _wrong_transitions(runtime, insights),
        "wrong_crm_rows": _wrong_crm_rows(stored, crm, runtime.refresh_rules.dead_bands),
        "signatures_refused": crm.refused,
        "crm_calls": len(crm.receipts),
    }


def _stored(runtime: Runtime, customers: Sequence[str]) -> dict[str, Held]:
    k = runtime.keys
    pipeline = runtime.client.pipeline(transaction=False)
    for who in customers:
        pipeline.get(k.insight(k.shard(who), who))
    return {
        who: read_insight(value) for who, value in zip(customers, pipeline.execute(), strict=True)
    }


def _wrong_rows(runtime: Runtime, index: InteractionIndex, expected: dict[str, Any]) -> int:
    """Rows of an index that followed deltas through all kills, against rows made from the truth."""
    recommender = _live(runtime)
    neighbors = index.use(index.recommender or recommender)
    calendar, wrong = Calendar("UTC"), 0
    for who, profile in expected.items():
        orders = [one for one in derive.orders(profile) if not one.cancelled]
        truth = View(who, orders, derive.signals(profile))
        told = interacted(truth, calendar, neighbors.items)
        truth_row = row_of(*told, (index.recommender or recommender).decay)
        have = neighbors.rows([who])
        mine = {
            neighbors.items.ids[column]: weight
            for column, weight in zip(have.indices.tolist(), have.data.tolist(), strict=True)
        }
        want = {
            neighbors.items.ids[column]: weight
            for column, weight in zip(
                truth_row.columns.tolist(), truth_row.weights.tolist(), strict=True
            )
        }
        close = mine.keys() == want.keys() and all(
            abs(mine[item] - want[item]) <= 1e-9 * want[item] for item in want
        )
        wrong += not close
    return wrong


def _wrong_transitions(runtime: Runtime, insights: dict[str, dict[str, Any]]) -> int:
    """Moves that are named twice, or that do not lead, one after the other, to the segment and the
    rule segments that the customer is in.
    """
    k, moves = runtime.keys, {}
    seen: Counter[str] = Counter()
    for shard in range(k.shards):
        for member in runtime.client.zrange(k.transitions(shard), 0, -1):
            move = json.loads(member)
            seen[move["id"]] += 1
            moves.setdefault(move["customer_id"], []).append(move)
    wrong = sum(times > 1 for times in seen.values())
    for who, steps in moves.items():
        insight = insights.get(who, {})
        steps.sort(key=lambda move: move["insight_version"])
        ends: dict[tuple[str, str], Any] = {}
        for move in steps:
            name = "" if move["kind"] == "segment" else str(move["from"] or move["to"])
            path = (move["kind"], name)
            wrong += path in ends and ends[path] != move["from"]
            ends[path] = move["to"]
        segment = (insight.get("segment") or {}).get("id")
        inside = {audience["id"] for audience in insight.get("audiences", ())}
        wrong += ends.get(("segment", ""), segment) != segment
        wrong += sum(
            (end is not None) != (name in inside)
            for (kind, name), end in ends.items()
            if kind == "rule"
        )
    return wrong


def _wrong_crm_rows(stored: dict[str, Held], crm: Crm, bands: DeadBands) -> int:
    """Customers of whom the CRM does not hold what is known: what was material last, as told.

    Both the stored insight and the CRM's must be exactly that, up to the drift that nobody is told.
    """
    wrong = 0
    for who, held in stored.items():
        contact, last = crm.contacts.get(who), Material(held.material, held.told)
        if not held.json or contact is None:
            wrong += 1
            continue
        wrong += any(
            material(CustomerInsight.model_validate(one), last, bands) != last
            for one in (json.loads(held.json), contact.insight)
        )
    return wrong


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--worker-kills", type=int, default=20)
    parser.add_argument("--server-kills", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the verdict here")
    args = parser.parse_args(argv)
    configure_logs("WARNING")
    found = run(args.seed, args.events, args.worker_kills, args.server_kills)
    text = json.dumps(found, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    errors = ("lost", "doubled", "wrong_customers", "wrong_index_rows", "wrong_transitions")
    return 1 if any(found[name] for name in (*errors, "wrong_crm_rows")) else 0


if __name__ == "__main__":
    raise SystemExit(main())

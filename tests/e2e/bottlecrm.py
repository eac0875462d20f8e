"""A thousand customers go into a real CRM, are read back, and its webhooks come back as echoes.

    python -m tests.e2e.bottlecrm [--customers 1000] [--json OUT]        (make e2e-crm)

1. Every customer orders; what the CRM holds afterwards must equal the desired state.
2. Each signed webhook of the CRM enters as an event: none may change, refresh or push anything.
3. Some customers order again: only what changed goes out, and the CRM is as desired anew.

Exit 0 done or skipped (there is no Python 3.12), 1 something differs.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from integrations.destinations import Destination
from integrations.inbound.bottlecrm import identify
from integrations.mapping import mapped
from tests.servers import Server
from tests.vendors import bottlecrm
from worker.bootstrap import Runtime
from worker.destinations import configured
from worker.route import route
from worker.settings import Settings
from worker.store.door import Arrival

FOLDER = Path(__file__).parents[2] / ".e2e-crm"
ROUND_S = 900.0
DESTINATIONS = """
[destinations.bottlecrm]
adapter = "bottlecrm"
options = {{ base_url = "{url}", token = {{ file = "token" }}, requests_per_s = 1000 }}
allow_private = true
coalesce_s = 0
coalesce_max_s = 0
concurrency = 4
timeout_s = 60

[[destinations.bottlecrm.fields]]
source = "segment.name"
target = "reflex_segment"

[[destinations.bottlecrm.fields]]
source = "p_alive"
target = "reflex_p_alive"
round = 3
dead_band = 0.01

[[destinations.bottlecrm.fields]]
source = "historic_number_of_orders"
target = "reflex_orders"

[[destinations.bottlecrm.fields]]
source = "expected_date_of_next_order"
target = "reflex_next_order"

[[destinations.bottlecrm.fields]]
source = "buy_again.item_id"
target = "reflex_buy_again"
max_items = 3
"""


class Shop:
    """An installation of ours, worked in this process, with the CRM as its one destination."""

    def __init__(self, url: str, folder: Path, crm: bottlecrm.BottleCrm) -> None:
        (folder / "token").write_text(crm.token, encoding="utf-8")
        file = folder / "destinations.toml"
        file.write_text(DESTINATIONS.format(url=crm.url), encoding="utf-8")
        settings = Settings(redis_url=url, destinations_file=file, lag_limit=10**9, shards=8)
        self.runtime = Runtime(settings, url)
        (self.destination,) = configured(settings)
        for rule in self.destination.fields:
            crm.add_field(rule.target, rule.type, rule.shown_as)

    def put(self, events: Iterable[tuple[str, bytes]], *, quiet: bool = False) -> None:
        """Append events to the shards of their customers."""
        for who, event in events:
            self.runtime.door.put(self.runtime.keys.shard(who), [Arrival(event, quiet)])

    def work(self) -> int:
        """All stages until nothing is left to do; how many customers were refreshed."""
        active, refreshed = self.runtime, 0
        deadline = time.monotonic() + ROUND_S
        while time.monotonic() < deadline:
            self.ingest()
            refreshed += active.refresh.drain()
            active.deliver.drain()
            if not (self.marked() or active.deliver_store.waiting([self.destination.name])):
                return refreshed
            time.sleep(0.2)
        raise RuntimeError("deliveries still wait")

    def ingest(self) -> None:
        """Apply all events."""
        while route(self.runtime.intake, self.runtime.keys.shards):
            pass
        self.runtime.ingest.drain()

    def marked(self) -> int:
        """Customers that are marked for a refresh."""
        k, client = self.runtime.keys, self.runtime.client
        boxes = [box(shard) for shard in range(k.shards) for box in (k.dirty, k.quiet)]
        return sum(client.zcard(box) for box in boxes)

    def desired(self, customers: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What the CRM should hold of each."""
        active = self.runtime
        known = active.refresh_store.load([(active.keys.shard(who), who) for who in customers])
        return {
            who: mapped(json.loads(one.held.json), self.destination)
            for who, one in zip(customers, known, strict=True)
        }

    def counters(self) -> dict[str, int]:
        """Counters of ingest over all shards."""
        active = self.runtime
        total: dict[str, int] = {}
        for shard in range(active.keys.shards):
            for name, value in active.client.hgetall(active.keys.meta(shard)).items():
                if name != b"cursor":
                    total[name.decode()] = total.get(name.decode(), 0) + int(value)
        return total


def order(who: str, number: int, at_s: int, rng: random.Random) -> bytes:
    """An order of one item."""
    item = {"product_id": f"SKU-{rng.randrange(40)}", "price": 9.5, "quantity": 1}
    event = {
        "type": "track",
        "event": "Order Completed",
        "messageId": f"{who}-{number}",
        "userId": who,
        "timestamp": datetime.fromtimestamp(at_s, UTC).isoformat(),
        "properties": {"order_id": f"o-{who}-{number}", "revenue": 9.5 + number, "currency": "USD",
                       "products": [item]},
    }  # fmt: skip
    return json.dumps(event).encode()


def differences(
    desired: Mapping[str, Mapping[str, Any]],
    held: Mapping[str, Sequence[Mapping[str, Any]]],
    destination: Destination,
) -> list[str]:
    """Where the CRM does not hold the desired state; numbers may differ within their dead-band."""
    bands = {rule.target: rule.dead_band for rule in destination.fields}
    found = []
    for who, fields in desired.items():
        contacts = held.get(who, [])
        if len(contacts) != 1:
            found.append(f"{who}: {len(contacts)} contacts")
            continue
        has = contacts[0]["custom_fields"]
        for target, value in fields.items():
            near = isinstance(value, float) and isinstance(has.get(target), int | float)
            if near and abs(value - has[target]) < max(bands[target], 1e-9):
                continue
            if (has.get(target) or None) != (value or None):
                found.append(f"{who}: {target} is {has.get(target)!r}, not {value!r}")
    return found


def run(customers: int, folder: Path) -> dict[str, Any]:
    """The whole story; figures, in which `wrong` and `echo_loops` must be 0."""
    rng, now_s = random.Random(11), int(time.time())
    people = [f"customer-{n:05d}@shop.example" for n in range(customers)]
    with (
        tempfile.TemporaryDirectory() as made,
        bottlecrm.running(folder, Path(made)) as (crm, hooks),
        Server(Path(made) / "valkey") as server,
    ):
        shop = Shop(server.url, Path(made), crm)
        for n in range(3):
            past = (
                (who, order(who, n, now_s - rng.randrange(1, 300) * 86_400, rng)) for who in people
            )
            shop.put(past, quiet=True)
        shop.work()
        shop.runtime.retrain.run(reason="end to end")
        shop.work()
        assert not hooks.received, "history pushes nothing"
        started = time.monotonic()
        shop.put((who, order(who, 3, now_s, rng)) for who in people)
        shop.work()
        seconds = time.monotonic() - started
        wrong = differences(shop.desired(people), crm.contacts(), shop.destination)
        first = _echo(shop, hooks)
        again = people[:: max(1, customers // 50)]
        shop.put((who, order(who, 4, now_s + 1, rng)) for who in again)
        shop.work()
        wrong += differences(shop.desired(people), crm.contacts(), shop.destination)
        second = _echo(shop, hooks)
    return {
        "customers": customers,
        "push_s": round(seconds, 1),
        "webhooks": first["webhooks"] + second["webhooks"],
        "signatures_refused": hooks.refused,
        "echoes": first["echoes"] + second["echoes"],
        "echo_loops": first["loops"] + second["loops"],
        "changed_again": len(again),
        "wrong": len(wrong),
        "examples": wrong[:10],
    }


def _echo(shop: Shop, hooks: bottlecrm.Hooks) -> dict[str, int]:
    """Give the CRM's webhooks back as events; what that set off is a loop.

    Set off would be: an event that was applied, a customer that was marked for a refresh, a write
    into the CRM.
    """
    while shop.work():  # what the orders set off among other customers comes first
        pass
    told, hooks.received = hooks.received, []
    before = shop.counters()
    for body in told:
        event = identify(body, destination="bottlecrm")
        assert event is not None, "a webhook of a contact"
        shop.runtime.client.xadd(shop.runtime.keys.intake(), {"event": event})
    shop.ingest()
    marked = shop.marked()
    shop.work()
    after = shop.counters()
    loops = marked + len(hooks.received) + after["applied"] - before["applied"]
    echoes = after.get("echoes", 0) - before.get("echoes", 0)
    return {"webhooks": len(told), "echoes": echoes, "loops": loops}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the CRM's environment")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args(argv)
    python = bottlecrm.python312()
    if python is None:
        sys.stderr.write("\n*** SKIPPED: the CRM needs Python 3.12, and there is none ***\n\n")
        return 0
    bottlecrm.install(python, args.folder.resolve())
    found = run(args.customers, args.folder.resolve())
    text = json.dumps(found, indent=2)
    print(text)  # noqa: T201  the command's result
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    good = found["webhooks"] >= found["customers"] and found["echoes"] == found["webhooks"]
    failed = found["wrong"] or found["echo_loops"] or found["signatures_refused"] or not good
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

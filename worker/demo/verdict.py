"""Did everything arrive? What the CRM holds is compared with what is stored, each customer."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from integrations.insight import CustomerInsight
from integrations.material import Material, material
from worker.demo.crm import Contacts
from worker.demo.reactions import Reactions
from worker.store.inspecting import Inspector

if TYPE_CHECKING:
    from worker.bootstrap import Runtime


class Expected(NamedTuple):
    """What was put in."""

    history: int
    live: int


class Verdict(NamedTuple):
    """What came of it; `problems` is empty when all is well."""

    problems: list[str]
    applied: int
    duplicates: int
    quarantined: int
    dead: int
    moves: int
    segments: list[tuple[str, int]]


def judge(active: Runtime, expected: Expected, contacts: Contacts, reactions: Reactions) -> Verdict:
    """Compare counters, contacts and stored insights with what was put in."""
    inspector = Inspector(active.client, active.keys)
    counters = inspector.counters()
    ingest = counters["ingest"]
    dead = inspector.mailboxes(active.clock.now_ms(), ()).dead
    found = {
        f"{expected.history + expected.live - ingest['applied']} events lost": (
            ingest["applied"] != expected.history + expected.live
        ),
        f"{ingest['duplicates']} events counted as duplicates": ingest["duplicates"],
        f"{ingest['quarantined']} events quarantined": ingest["quarantined"],
        f"{contacts.bad_signatures} bad signatures": contacts.bad_signatures,
        f"{dead} deliveries given up": dead,
        f"{reactions.unanswered()} events without an answer": reactions.unanswered(),
    }
    problems = [text for text, wrong in found.items() if wrong]
    problems += _contacts(active, contacts, reactions.last_events())
    return Verdict(
        problems,
        ingest["applied"],
        ingest["duplicates"],
        ingest["quarantined"],
        dead,
        counters["refresh"]["transitions"],
        _segments(active),
    )


def _contacts(active: Runtime, contacts: Contacts, last: dict[str, str]) -> list[str]:
    """Customers whose contact is not what is stored, or does not know their last event."""
    ids = sorted(last)
    stored = active.refresh_store.load([(active.keys.shard(one), one) for one in ids])
    bands = active.refresh_rules.dead_bands
    missing = behind = different = 0
    for customer, known in zip(ids, stored, strict=True):
        contact = contacts.by_id.get(customer)
        if contact is None:
            missing += 1
        elif contact["through_event_id"] != last[customer]:
            behind += 1
        else:
            truth = Material(known.held.material, known.held.told)
            different += material(CustomerInsight.model_validate(contact), truth, bands) != truth
    told = {"are missing": missing, "are behind": behind, "differ from what is stored": different}
    return [f"{count} contacts {what}" for what, count in told.items() if count]


def _segments(active: Runtime) -> list[tuple[str, int]]:
    """Names and sizes of the segments, the largest first."""
    sizes: Counter[str] = Counter()
    for shard in range(active.keys.shards):
        ids = active.population.customer_ids(shard)
        for known in active.refresh_store.load([(shard, one) for one in ids]):
            segment = json.loads(known.held.json or b"{}").get("segment")
            sizes[segment["name"] if segment else "(none)"] += 1
    return sizes.most_common()


def protagonist(contacts: Contacts, touched: dict[str, str]) -> str | None:
    """A customer whose story has all parts; one that moved to another segment if there is any."""

    def worth(customer: str) -> tuple[bool, bool, int, str]:
        held: dict[str, Any] = contacts.by_id[customer]
        segment = held.get("segment") or {}
        orders = held["historic_number_of_orders"]
        full = len(held["buy_again"]) >= 3 and bool(held["next_order_window"])
        return full, segment.get("previous_id") is not None, -abs(orders - 40), customer

    return max((one for one in touched if one in contacts.by_id), key=worth, default=None)

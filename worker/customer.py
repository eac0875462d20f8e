"""What is stored about a customer: profile, newest insight, and how it stands with the CRM."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from integrations.money import MINOR_DIGITS, major
from worker.destinations import WEBHOOK
from worker.profile import codec, derive
from worker.profile.signals import name_of
from worker.store.delivering import Claim, Delivered, Row
from worker.store.destinations import State
from worker.store.inspecting import Attempt, Inspector, Standing
from worker.store.letters import Filter, Letter
from worker.store.refreshing import Known
from worker.terminal import instant

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

_ORDERS: Final = 10
_SIGNALS: Final = 10
_NOBODY: Final = "no destination is set (CRM_REFLEX_WEBHOOK_URL, CRM_REFLEX_DESTINATIONS_FILE)"


class NoCustomerError(LookupError):
    """Nothing is stored about the customer."""


class Found(NamedTuple):
    """All that is stored about one customer, as far as deliveries go to one destination."""

    customer_id: str
    shard: int
    known: Known
    destination: str
    standing: Standing
    claim: Claim | None
    delivered: Delivered
    dead: Letter | None
    attempts: list[Attempt]
    state: State

    @property
    def insight(self) -> dict[str, Any] | None:
        """The newest insight as sent."""
        return json.loads(self.known.held.json) if self.known.held.json else None


def find(active: Runtime, customer_id: str, destination: str | None = None) -> Found:
    """Look a customer up.

    destination  whose deliveries; None: of the first one
    Raises NoCustomerError.
    """
    inspector = Inspector(active.client, active.keys)
    names = [one.name for one in active.destinations]
    row = Row(active.keys.shard(customer_id), destination or (names or [WEBHOOK])[0], customer_id)
    (known,) = active.refresh_store.load([(row.shard, customer_id)])
    if known.hot is None:
        raise NoCustomerError(customer_id)
    claim, delivered = active.deliver_store.find(row)
    letters = active.letters.find(Filter(row.destination, frozenset([customer_id])))
    return Found(
        customer_id,
        row.shard,
        known,
        row.destination,
        inspector.standing(customer_id, row.destination),
        claim,
        delivered,
        letters[0] if letters else None,
        inspector.attempts(row.shard, row.name),
        active.destination_store.state(row.destination),
    )


def record(active: Runtime, found: Found) -> dict[str, Any]:
    """Profile, insight and delivery of a customer."""
    standing = found.standing
    return {
        "customer_id": found.customer_id,
        "shard": found.shard,
        "profile": _profile(found),
        "insight": found.insight,
        "refresh": {
            "waiting": standing.dirty_seq is not None or standing.quiet_seq is not None,
            "next_by_clock": instant(standing.due_s),
        },
        "delivery": delivery(active, found),
    }


def delivery(active: Runtime, found: Found) -> dict[str, Any]:
    """How the newest insight stands with the CRM: state, why, and what it holds."""
    state, why = _delivery_state(active, found)
    delivered, claim, due_ms = found.delivered, found.claim, found.standing.outbox_ms
    current = claim or found.dead
    delivery_id = (current.delivery_id if current else "") or delivered.delivery_id
    lines = [one for one in found.attempts if one.delivery_id == delivery_id]
    return {
        "destination": found.destination,
        "state": state,
        "why": why,
        "delivery_id": delivery_id or None,
        "attempts": len(lines),
        "last_attempt": _attempt(lines[0]) if lines else None,
        "held_version": delivered.version or None,
        "delivered_at": instant(delivered.sent_ms / 1000) if delivered.version else None,
        "due_at": None if due_ms is None else instant(due_ms / 1000),
    }


def _delivery_state(active: Runtime, found: Found) -> tuple[str, str]:
    held, delivered = found.known.held, found.delivered
    if found.standing.outbox_ms is not None:
        return _waiting_state(active, found)
    if found.dead is not None:
        advice = f"`crm-reflex destinations replay {found.destination}` sends it again"
        return "dead", f"given up: {found.dead.detail}; {advice}"
    if held.version and delivered.version == held.version:
        return "delivered", "the CRM holds the newest insight"
    if delivered.version and delivered.digest == held.material:
        return "delivered", "nothing worth sending has changed since what the CRM holds"
    return "none", _unsent(active, found)


def _unsent(active: Runtime, found: Found) -> str:
    if not found.known.held.version:
        return "there is no insight yet"
    if not active.destinations:
        return _NOBODY
    return "its changes came quietly (backfill), so nothing was pushed"


def _waiting_state(active: Runtime, found: Found) -> tuple[str, str]:
    if found.state.paused:
        by = "it said that it is gone" if found.state.paused == "gone" else "it is paused"
        return "waiting", f"{by}; `crm-reflex destinations resume {found.destination}`"
    if found.state.wait_ms:
        why = f": {found.state.alarm}" if found.state.alarm else ""
        return "waiting", f"it rests for another {found.state.wait_ms / 1000:.0f} s{why}"
    if not active.destinations:
        return "waiting", _NOBODY
    if found.claim is not None and found.claim.attempts:
        detail = found.attempts[0].detail if found.attempts else ""
        return "retrying", f"attempt {found.claim.attempts} failed: {detail}"
    if found.claim is not None and found.claim.token:
        return "sending", "a worker is sending it"
    return "waiting", "its turn has not come: coalesced with later changes, or no worker delivers"


def _attempt(one: Attempt) -> dict[str, Any]:
    return {"at": instant(one.at_ms / 1000), "outcome": one.outcome, "detail": one.detail}


def _profile(found: Found) -> dict[str, Any]:
    profile = codec.decode(found.known.hot or b"", found.known.cold)
    orders = derive.orders(profile)
    counted = [one for one in orders if not one.cancelled]
    latest = sorted(profile.last_signals.items(), key=lambda pair: -pair[1])
    registers = {name: value[2] for name, value in sorted(profile.registers.items())}

    def named(kind: str) -> dict[str, Any]:
        return {name[len(kind) :]: v for name, v in registers.items() if name.startswith(kind)}

    return {
        "first_seen": instant(profile.first_s),
        "last_seen": instant(profile.last_s),
        "through_event_id": found.known.through_event_id or None,
        "orders": len(counted),
        "cancelled_orders": len(orders) - len(counted),
        "recent_orders": [_order(one) for one in reversed(orders[-_ORDERS:])],
        "recent_signals": [
            {"signal": name_of(code), "last": instant(at_s)} for code, at_s in latest[:_SIGNALS]
        ],
        "traits": named("trait:"),
        "consent": named("consent:"),
        "aliases": sorted(named("alias:")),
        "group": registers.get("group"),
    }


def _order(one: derive.Order) -> dict[str, Any]:
    known = one.amount_minor is not None and one.currency in MINOR_DIGITS
    return {
        "order_id": one.order_id,
        "at": instant(one.at_s),
        "amount": float(major(one.amount_minor or 0, one.currency)) if known else None,
        "currency": one.currency or None,
        "items": {item: quantity / 1000 for item, quantity in one.lines},
        "cancelled": one.cancelled,
    }

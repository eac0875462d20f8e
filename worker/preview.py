"""What would be sent: per customer and field, what the destination holds and what it would get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json

from integrations.mapping import changed, mapped
from worker.store.delivering import Row

if TYPE_CHECKING:
    from integrations.destinations import Destination
    from worker.bootstrap import Runtime


class Change(NamedTuple):
    """One field: what was acknowledged last (None: nothing known) and what would be sent."""

    field: str
    old: Any
    new: Any


class Preview(NamedTuple):
    """What one customer's call would carry; `whole`: the whole insight, of this version."""

    customer_id: str
    version: int
    changes: tuple[Change, ...]
    whole: bool


def previews(
    active: Runtime, destination: Destination, customers: Sequence[str], *, everything: bool
) -> Iterator[Preview]:
    """In the order of the customers; who has no insight is left out.

    everything  all fields are sent, as after `resync`; else what differs beyond its dead-band
    """
    rows = [Row(active.keys.shard(one), destination.name, one) for one in customers]
    for row in rows:
        (known,) = active.refresh_store.load([(row.shard, row.customer_id)])
        if not known.held.json:
            continue
        _, delivered = active.deliver_store.find(row)
        yield _preview(destination, row.customer_id, known.held, delivered, everything=everything)


def _preview(
    destination: Destination, customer_id: str, held: Any, delivered: Any, *, everything: bool
) -> Preview:
    if not destination.fields:
        whole = everything or delivered.digest != held.material
        return Preview(customer_id, held.version, (), whole)
    before = delivered.sent.fields if delivered.version else {}
    is_known = bool(delivered.version) and not everything
    after = mapped(from_json(held.json), destination)
    fields = changed(before if is_known else None, after, destination)
    changes = tuple(Change(name, before.get(name), value) for name, value in fields.items())
    return Preview(customer_id, held.version, changes, whole=False)

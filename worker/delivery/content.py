"""What is sent of a customer: built when it is sent, the same again on every retry. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from integrations.insight_fields import value_at
from integrations.mapping import changed, mapped
from integrations.ours import ENTERED, EXITED
from integrations.outbound.contract import OMIT, Row
from worker.delivery.channel import Channel
from worker.store.delivering import Claim, Claimed, Delivered, Sent

_SIZE_OF_A_ROW: Final = 300
#: A batch is filled up to this share of what a call may hold; the rest is the call's frame.
_FILL: Final = 0.9


class Parcel(NamedTuple):
    """A claimed row, ready to be sent: the claim to keep, and the row of the call."""

    claimed: Claimed
    claim: Claim
    row: Row
    digest: str

    def holds(self, sent: Sent) -> Delivered:
        """What the destination holds once it has taken this."""
        before = self.claimed.delivered.sent.fields
        return Delivered(
            self.claim.version, 0, self.digest, self.claim.delivery_id,
            sent._replace(fields={**before, **sent.fields}),
        )  # fmt: skip


def parcel(channel: Channel, claimed: Claimed, now_ms: int) -> Parcel | None:
    """What to send now; None where nothing is to be sent.

    Raises KeyError where the insight has no value to find the customer by.
    """
    if channel.is_stream:
        return _event(claimed, now_ms) if claimed.event.json else None
    if not claimed.insight.json:
        return None
    if claimed.claim.sent.vendor_id == "":  # the record that it held is gone, and all its fields
        claimed = claimed._replace(delivered=Delivered())
    insight: Mapping[str, Any] = from_json(claimed.insight.json)
    key = value_at(insight, channel.key)
    if key is None or key == "":
        raise KeyError(".".join(map(str, channel.key)))
    claim = _state_claim(channel, claimed, insight, now_ms)
    if claim is None:
        return None
    row = Row(
        claimed.row.customer_id, str(key), claim.sent.fields, claim.version, claim.delivery_id,
        claimed.insight.json, vendor_id=claim.sent.vendor_id,
    )  # fmt: skip
    return Parcel(claimed, claim, row, claimed.insight.material)


def _state_claim(
    channel: Channel, claimed: Claimed, insight: Mapping[str, Any], now_ms: int
) -> Claim | None:
    """The delivery that was begun while its insight stands, else a new one.

    What an earlier attempt may have left at the destination is sent again, whatever it is: how that
    attempt ended is not known.
    """
    claim, held, delivered = claimed.claim, claimed.insight, claimed.delivered
    is_gone = claim.sent.vendor_id == ""
    if claim.delivery_id and claim.version == held.version and not is_gone:
        return claim
    if not channel.fields:
        if not claim.delivery_id and delivered.digest == held.material:
            return None
        fields: dict[str, Any] = {}
    else:
        before = delivered.sent.fields if delivered.version else None
        after = mapped(insight, channel)
        fields = changed(before, after, channel)
        fields |= {name: after[name] for name in claim.sent.fields if name in after}
        if channel.capabilities.clear_value is OMIT:
            fields = channel.capabilities.cleared(fields)
        if not fields:
            return None
    content = json.dumps(fields, sort_keys=True) if fields else held.material
    delivery_id = _id(
        claimed.row.name, held.version, content, delivered.sent_ms, delivered.delivery_id
    )
    vendor_id = claim.sent.vendor_id or delivered.sent.vendor_id
    return Claim(
        claim.token, claim.attempts if is_gone else 0, delivery_id, held.version,
        claim.first_ms or now_ms, sent=Sent(fields, vendor_id or None),
    )  # fmt: skip


def _event(claimed: Claimed, now_ms: int) -> Parcel:
    event = claimed.event
    customer = claimed.row.customer_id
    fields = from_json(event.json)
    delivery_id = _id(claimed.row.destination, fields["id"])
    claim = claimed.claim
    if claim.delivery_id != delivery_id:
        claim = Claim(claim.token, 0, delivery_id, 1, now_ms)
    row = Row(
        customer, customer, {}, fields.get("insight_version", 0), delivery_id, event.json,
        EXITED if fields.get("to") is None else ENTERED, event.as_of_s,
    )  # fmt: skip
    return Parcel(claimed, claim, row, "")


def _id(*parts: object) -> str:
    name = "\x1f".join(map(str, parts))
    return "msg_" + blake2b(name.encode(), digest_size=15).hexdigest()


def batches(parcels: Sequence[Parcel], channel: Channel) -> list[list[Parcel]]:
    """Fill calls: at most the adapter's rows and bytes, no key twice, and each part by itself.

    In the order of keys, so that calls that overlap lock the vendor's records in one order.
    """
    capabilities = channel.capabilities
    room = capabilities.max_bytes * _FILL
    made: list[list[Parcel]] = []
    for part in dict.fromkeys(one.claim.part for one in parcels):
        batch: list[Parcel] = []
        keys: set[str] = set()
        size = 0
        for one in sorted(parcels, key=lambda one: one.row.key):
            if one.claim.part != part:
                continue
            content = str(one.row.fields) if one.row.fields else one.row.body
            more = _SIZE_OF_A_ROW + len(content)
            is_full = len(batch) == capabilities.max_rows or size + more > room
            key = one.row.key.strip().casefold()  # vendors compare emails so
            if batch and (is_full or key in keys):
                made.append(batch)
                batch, keys, size = [], set(), 0
            batch.append(one)
            keys.add(key)
            size += more
        made.append(batch)
    return made

"""What an event says, as pure data: the only thing that profiles are made of.

`read_events` is the door: any bytes go in, and for each comes a fact or a rejection. Reading is
a function of the bytes, the entry's time and the settings alone; a batch reads exactly as each
of its events would alone.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from zlib import crc32

from integrations.inbound.meaning import READERS, Meaning
from integrations.inbound.names import Kind
from integrations.inbound.reading import (
    DEFAULT_TRAITS,
    Checked,
    Reading,
    check,
    checked_id,
    checked_tag,
    fallback_id,
    located,
    parse,
    unwrap,
)
from integrations.inbound.times import event_time
from integrations.rejection import REASONS, Rejected, RejectionError

__all__ = [
    "DEFAULT_READING",
    "DEFAULT_TRAITS",
    "REASONS",
    "EventFact",
    "Kind",
    "Reading",
    "Rejected",
    "customer_of",
    "read_events",
]


class EventFact(NamedTuple):
    """What an event says.

    event_id     messageId, CloudEvents id, or the hash of the content
    id_hash      8 bytes over (source, event_id): the identity that is remembered
    digest       32 bits over the meaning: equal identities must have equal digests
    customer_id  whom it is about
    at_s         event time; the entry's time if the event has none
    timed        whether the event has a time
    kind         what it means to a profile
    signal       canonical event name; "" for identify, alias and group
    items        distinct items that a signal touches
    order_id     "" if it is no order event; "#" and the id hash for an order without an id
    currency     ISO 4217, "" if it is no order event
    amount_minor order value or refund in minor units; None if unknown, and for a full refund
    lines        (item, quantity in thousandths) merged and sorted by item
    registers    last-writer-wins values such as ("trait:country", "DE")
    """

    event_id: str
    id_hash: bytes
    digest: int
    customer_id: str
    at_s: int
    timed: bool
    kind: Kind
    signal: str
    items: tuple[str, ...]
    order_id: str
    currency: str
    amount_minor: int | None
    lines: tuple[tuple[str, int], ...]
    registers: tuple[tuple[str, str | int | bool | None], ...]


DEFAULT_READING: Final = Reading()


def read_events(
    raws: Sequence[bytes], entry_times_s: Sequence[int], reading: Reading = DEFAULT_READING
) -> list[EventFact | Rejected]:
    """One fact or rejection per event, aligned with the input. Never raises on content.

    raws           events as they were sent, Segment calls or CloudEvents
    entry_times_s  Unix seconds at which each entered its stream: "now" for the time rules
    """
    out: list[EventFact | Rejected] = []
    for checked, entry_s in zip(check(raws, reading), entry_times_s, strict=True):
        if isinstance(checked, Rejected):
            out.append(checked)
            continue
        try:
            out.append(_fact(checked, entry_s, reading))
        except RejectionError as error:
            out.append(located(error.rejected, checked[3]))
    return out


def customer_of(raw: bytes, reading: Reading = DEFAULT_READING) -> str | Rejected:
    """Whom an event is about, by its envelope (call, customer) alone: what a router needs."""
    try:
        call, source = parse(raw, reading), ""
        if "specversion" in call:
            call, source = unwrap(call)
        checked_tag(call)
        customer = call.get("userId") or call.get("anonymousId")
        return _customer_text(customer, "subject" if source else "userId")
    except RejectionError as error:
        return error.rejected


def _customer_text(value: Any, path: str) -> str:
    if value is None or value == "":
        raise RejectionError("missing_customer")
    return str(checked_id(value, path))


def _fact(checked: Checked, entry_s: int, reading: Reading) -> EventFact:
    tag, event, call, source = checked
    customer = event.get("userId") or event.get("anonymousId")
    if not customer:
        raise RejectionError("missing_customer")
    if type(customer) is not str:
        customer = str(customer)
    event_id = event.get("messageId") or fallback_id(call)
    if type(event_id) is not str:
        event_id = str(event_id)
    id_hash = blake2b(f"{source}\x1f{event_id}".encode(), digest_size=8).digest()
    at_s, timed = event_time(event, entry_s, reading.future_s)
    meaning = READERS[tag](event, id_hash, reading)
    digest = digest_of(customer, at_s if timed else None, meaning)
    return EventFact(event_id, id_hash, digest, customer, at_s, timed, *meaning)


def digest_of(customer_id: str, at_s: int | None, meaning: Meaning) -> int:
    """32 bits over what an event says; at_s is None if the event has no time of its own.

    No id or name holds a control character, so these separate the fields without doubt.
    """
    kind, signal, items, order_id, currency, amount_minor, lines, registers = meaning
    text = "%s\x1f%s\x1f%d\x1f%s\x1f%s\x1f%s\x1f%s\x1f%s\x1f%s" % (  # noqa: UP031 - twice as fast
        customer_id,
        at_s,
        kind,
        signal,
        "\x1e".join(items),
        order_id,
        currency,
        amount_minor,
        "\x1e".join(["%s\x1d%d" % line for line in lines]) if lines else "",  # noqa: UP031
    )
    if registers:
        text += ascii(registers)
    return crc32(text.encode())

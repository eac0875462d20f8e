"""Fold one batch of a shard's stream: entries and stored values in, one commit out. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgpack

from integrations.facts import EventFact, Kind, Reading, Rejected, read_events
from integrations.inbound.feedback import CLICKED, touches_in
from integrations.inbound.names import ITEM_LISTS
from integrations.inbound.products import PRODUCT_UPDATED, product_in
from integrations.inbound.retraining import RETRAIN_REQUESTED, retrain_in
from integrations.rejection import RejectionError
from worker.profile import codec, fold, memory
from worker.profile.ledger import Profile, week_of
from worker.profile.memory import Limits, Seen
from worker.store.catalog import Stated
from worker.store.commits import Batch, Commit, Entry, Refused, Stored, Write
from worker.store.entries import EVENT, MIGRATE, refusal
from worker.store.envelope import Envelope, NewerEnvelopeError, open_week_of, pack, unpack
from worker.store.feedback import Touched
from worker.store.keys import shard_of
from worker.store.training import Asked

#: Tries from one cursor: a batch that ends its process is cut to single entries, and a single entry
#: that does so twice is quarantined.
POISON_TRIES: Final = 5

#: A newer release wrote the profile: this one must leave the batch to a worker that reads it.
NEWER: Final = (codec.NewerFormatError, NewerEnvelopeError)

_DAY_S: Final = 86_400
#: Looked up once: before Python 3.12 that takes 0.1 us, and each is asked for with every event.
_ECHO, _REGISTERS = Kind.ECHO, Kind.REGISTERS
_DUPLICATE, _CONFLICT = Seen.DUPLICATE, Seen.CONFLICT


class Rules(NamedTuple):
    """What folding depends on besides its input: the same for every worker of an installation."""

    shards: int
    reading: Reading
    limits: Limits
    retention_s: int


#: One readable entry: what it says, and the entry it came in. A bare tuple: one is made per event.
Told = tuple[EventFact, Entry]


def attempts(batch_size: int) -> tuple[int, ...]:
    """How many entries to read at the 1st, 2nd .. try from one cursor."""
    return (batch_size, batch_size, 1)


class Read(NamedTuple):
    """A batch after validation: the facts by customer, in stream order, and what was refused.

    products  what events state of items: they belong to the catalog, and to no profile
    touches   recommended items that were shown or clicked
    asked     trainings that events ask for: they belong to no profile either
    migrate   customers whose profile is written anew, by their last entry that says so
    """

    by_customer: dict[str, list[Told]]
    refused: list[Refused]
    echoes: int = 0
    products: tuple[Stated, ...] = ()
    touches: tuple[Touched, ...] = ()
    asked: tuple[Asked, ...] = ()
    migrate: Mapping[str, Entry] = {}


def read(batch: Batch, rules: Rules) -> Read:
    """Validate a batch. An entry that cannot be read is refused, the others go on."""
    by_customer: dict[str, list[Told]] = {}
    refused: list[Refused] = []
    entries = batch.entries
    if batch.tries >= POISON_TRIES:
        refused.append(_refuse(entries[0], "poison", "its batch ended the process each time"))
        entries = entries[1:]
    echoes = 0
    products: list[Stated] = []
    touches: list[Touched] = []
    asked: list[Asked] = []
    known = [entry for entry in entries if entry.kind == EVENT]
    facts = read_events([e.event for e in known], [e.at_s for e in known], rules.reading)
    for entry, fact in zip(known, facts, strict=True):
        if isinstance(fact, Rejected):
            refused.append(Refused(entry.id, *fact, entry.event, entry.quiet))
        elif shard_of(fact.customer_id, rules.shards) != batch.shard:
            belongs = shard_of(fact.customer_id, rules.shards)
            refused.append(_refuse(entry, "wrong_shard", f"the customer lives in shard {belongs}"))
        elif fact.kind is _ECHO:
            echoes += 1
        elif fact.signal == PRODUCT_UPDATED:
            stated = _stated(fact, entry, rules.reading)
            if isinstance(stated, Refused):
                refused.append(stated)
            else:
                products.append(stated)
        elif fact.signal == RETRAIN_REQUESTED:
            asked.append(_asked(fact, entry, rules.reading))
        else:
            by_customer.setdefault(fact.customer_id, []).append((fact, entry))
            if fact.signal in ITEM_LISTS:
                touches += _touches(fact, entry, rules.reading)
    others = [entry for entry in entries if entry.kind != EVENT]
    migrate = _read_others(others, batch.shard, rules.shards, by_customer, refused)
    told = (tuple(products), tuple(touches), tuple(asked))
    return Read(by_customer, refused, echoes, *told, migrate)


def _read_others(
    others: Sequence[Entry],
    shard: int,
    shards: int,
    by_customer: dict[str, list[Told]],
    refused: list[Refused],
) -> dict[str, Entry]:
    """Entries that are no events: whom to migrate, by the last entry that names them."""
    migrate = {}
    for entry in others:
        name = entry.event.decode(errors="replace")
        if entry.kind == MIGRATE and shard_of(name, shards) == shard:
            by_customer.setdefault(name, [])
            migrate[name] = entry
        else:
            refused.append(_refuse(entry, *refusal(entry.kind)))
    return migrate


def _stated(fact: EventFact, entry: Entry, reading: Reading) -> Stated | Refused:
    try:
        product = product_in(entry.event, reading)
    except RejectionError as error:
        return Refused(entry.id, *error.rejected, entry.event, entry.quiet)
    return Stated(product, fact.at_s, fact.id_hash.hex())


def _asked(fact: EventFact, entry: Entry, reading: Reading) -> Asked:
    wanted = retrain_in(entry.event, reading)
    return Asked(wanted.models, wanted.reason, fact.id_hash.hex(), _id_key(entry.id)[0])


def _touches(fact: EventFact, entry: Entry, reading: Reading) -> list[Touched]:
    clicked = fact.signal == CLICKED
    return [
        Touched(fact.customer_id, fact.at_s, fact.id_hash.hex(), clicked, *touch)
        for touch in touches_in(entry.event, reading)
    ]


def wants_cold(read_: Read) -> dict[str, bool]:
    """Whose cold part is certainly needed: orders are looked up in the whole ledger, and what is
    written anew is read as a whole.
    """
    return {
        customer: customer in read_.migrate
        or bool(tolds[0][0].order_id)
        or (len(tolds) > 1 and any(fact.order_id for fact, _ in tolds))
        for customer, tolds in read_.by_customer.items()
    }


def late(by_customer: Mapping[str, Sequence[Told]], stored: Mapping[str, Stored]) -> list[str]:
    """Customers with an event older than their open week, whose cold part was not loaded.

    The open week moves within the batch. A profile that cannot be read is left to the fold.
    """
    found = []
    for customer, tolds in by_customer.items():
        held = stored[customer]
        if held.profile is None or held.cold is not None:
            continue
        open_week = open_week_of(held.profile)
        for fact, _ in tolds:
            if fold.is_late(fact, open_week):
                found.append(customer)
                break
            open_week = fold.opened(fact, open_week)
    return found


class _Folded(NamedTuple):
    writes: list[Write]
    applied: list[Told]
    duplicates: int
    overflowed: int
    refused: list[Refused]
    tells: bool = True  # something that an insight may depend on


_NOTHING: Final = _Folded([], [], 0, 0, [])


def build(batch: Batch, read_: Read, stored: Mapping[str, Stored], rules: Rules) -> Commit:
    """Fold what was read into the stored profiles: the commit of the batch."""
    start = batch.position
    seq = start.seq + 1
    loud: list[str] = []
    quiet: list[str] = []
    new: list[tuple[str, int]] = []
    writes: list[Write] = []
    refused = list(read_.refused)
    changed: list[tuple[str, list[str]]] = []
    applied = duplicates = overflowed = 0
    for customer, tolds in read_.by_customer.items():
        held = stored[customer]
        folded = _fold_customer(customer, tolds, held, seq, rules) if tolds else _NOTHING
        if customer in read_.migrate and not folded.applied:
            folded = _migrated(customer, read_.migrate[customer], held, folded)
        duplicates += folded.duplicates
        refused += folded.refused
        writes += folded.writes
        if not folded.applied:
            continue
        applied += len(folded.applied)
        overflowed += folded.overflowed
        changed.append((customer, _items(folded.applied)))
        if folded.tells:
            is_quiet = all([entry.quiet for _, entry in folded.applied])  # noqa: C419 - twice as fast
            (quiet if is_quiet else loud).append(customer)
        if held.profile is None:
            spread_s = zlib.crc32(customer.encode()) % _DAY_S
            new.append((customer, folded.applied[0][1].at_s + spread_s))
    last = batch.entries[-1]
    position = start._replace(
        cursor=last.id,
        seq=seq if changed else start.seq,
        covered=start.covered + len(batch.entries),
        applied=start.applied + applied + len(read_.products) + len(read_.asked),
        duplicates=start.duplicates + duplicates,
        quarantined=start.quarantined + len(refused),
        overflowed=start.overflowed + overflowed,
        echoes=start.echoes + read_.echoes,
    )
    refused.sort(key=lambda one: _id_key(one.entry_id))
    delta = msgpack.packb(changed) if changed else b""
    keep_from_s = last.at_s - rules.retention_s
    trim = f"{keep_from_s * 1000}-0" if batch.entries[0].at_s < keep_from_s or seq % 64 == 0 else ""
    left = max(0, batch.left - 1) if batch.tries < POISON_TRIES else 0
    return Commit(batch, position, loud, quiet, new, refused, writes, delta, trim, left)


def _fold_customer(
    customer: str, tolds: Sequence[Told], held: Stored, seq: int, rules: Rules
) -> _Folded:
    try:
        return _fold_all(customer, tolds, held, seq, rules)
    except NEWER:
        raise
    except (Exception, MemoryError):  # noqa: BLE001 - whatever it is, the neighbors go on
        return _fold_carefully(customer, tolds, held, seq, rules)


def _fold_carefully(
    customer: str, tolds: Sequence[Told], held: Stored, seq: int, rules: Rules
) -> _Folded:
    """Find the events that cannot be applied: each is tried behind those that could."""
    good: list[Told] = []
    refused: list[Refused] = []
    for told in tolds:
        try:
            _fold_all(customer, [*good, told], held, seq, rules)
        except (Exception, MemoryError) as error:  # noqa: BLE001 - it is kept, with the reason
            detail = f"the event could not be applied: {type(error).__name__}: {error}"
            refused.append(_refuse(told[1], "not_applicable", detail[:300]))
        else:
            good.append(told)
    folded = _fold_all(customer, good, held, seq, rules) if good else _NOTHING
    return folded._replace(refused=folded.refused + refused)


def _fold_all(
    customer: str, tolds: Sequence[Told], held: Stored, seq: int, rules: Rules
) -> _Folded:
    if held.profile is None:
        profile, before = Profile(), b""
    else:
        envelope = unpack(held.profile)
        profile = codec.decode(envelope.hot or None, held.cold)
        before = (held.memory or b"")[: envelope.memory_len]
    remembered = before
    applied: list[Told] = []
    refused: list[Refused] = []
    duplicates = 0
    silent = (
        tolds[0][0].kind is _REGISTERS
        and held.profile is not None
        and all(fact.kind is _REGISTERS for fact, _ in tolds)
    )
    values = _register_values(profile) if silent else None
    for told in tolds:
        fact, entry = told
        entry_s = entry.at_s
        seen = memory.look_up(remembered, fact.id_hash, fact.digest, entry_s, rules.limits)
        if seen is _DUPLICATE:
            duplicates += 1
        elif seen is _CONFLICT:
            detail = "an event with this id and other content was applied before"
            refused.append(_refuse(entry, "conflict", detail))
        else:
            remembered += _records(fact, entry_s, fold.apply(profile, fact))
            applied.append(told)
    if not applied:
        return _Folded([], [], duplicates, 0, refused)
    kept, lost = memory.compact(remembered, applied[-1][1].at_s, rules.limits)
    writes = _writes(customer, profile, seq, applied[-1][0].event_id, before, kept)
    tells = values is None or _register_values(profile) != values
    return _Folded(writes, applied, duplicates, lost, refused, tells)


def _migrated(customer: str, entry: Entry, held: Stored, folded: _Folded) -> _Folded:
    """A stored profile in the current format; what else is stored of the customer stays."""
    if held.profile is None:
        return folded
    try:
        envelope = unpack(held.profile)
        profile = codec.decode(envelope.hot or None, held.cold)
    except NEWER:
        raise
    except ValueError as error:
        return folded._replace(
            refused=[*folded.refused, _refuse(entry, "not_applicable", str(error))]
        )
    encoded = codec.encode(profile)
    writes = []
    if encoded.cold is not None and encoded.cold.data:
        writes.append(_cold_write(customer, profile, encoded.cold))
    value = pack(envelope._replace(open_week=profile.open_week, hot=encoded.hot))
    if writes or value != held.profile:
        writes.append(Write("profile", customer, None, value))
    return folded._replace(writes=writes)


def _register_values(profile: Profile) -> dict[str, object]:
    """Traits, consents, group and aliases without when and by what they were said."""
    return {name: value for name, (_, _, value) in profile.registers.items()}


def _writes(
    customer: str, profile: Profile, seq: int, event_id: str, before: bytes, after: bytes
) -> list[Write]:
    encoded = codec.encode(profile)
    writes = []
    if encoded.cold is not None and encoded.cold.data:
        writes.append(_cold_write(customer, profile, encoded.cold))
    if after.startswith(before):
        writes.append(Write("memory", customer, len(before), after[len(before) :]))
    else:
        writes.append(Write("memory", customer, None, after))
    envelope = Envelope(seq, profile.open_week, len(after), event_id, encoded.hot)
    writes.append(Write("profile", customer, None, pack(envelope)))
    return writes


def _cold_write(customer: str, profile: Profile, new: codec.ColdWrite) -> Write:
    """Appended behind what counts, or the whole: what counts is never written over in part."""
    if new.offset >= profile.cold_len:
        return Write("cold", customer, new.offset, new.data)
    return Write("cold", customer, None, (profile.cold or b"")[: new.offset] + new.data)


def _records(fact: EventFact, entry_s: int, cells: Sequence[str]) -> bytes:
    if not cells:
        return memory.remember(fact.id_hash, fact.digest, entry_s, ())
    week = week_of(fact.at_s)
    hashes = [memory.cell_hash(week, key) for key in cells]
    return memory.remember(fact.id_hash, fact.digest, entry_s, hashes)


def _items(applied: Sequence[Told]) -> list[str]:
    items: set[str] = set()
    for fact, _ in applied:
        items.update(fact.items)
        for item, _ in fact.lines:
            items.add(item)
    return sorted(items) if len(items) > 1 else list(items)


def _refuse(entry: Entry, reason: str, detail: str) -> Refused:
    return Refused(entry.id, reason, "", detail, entry.event, entry.quiet)


def _id_key(entry_id: str) -> tuple[int, int]:
    ms, _, seq = entry_id.partition("-")
    return int(ms), int(seq)

"""Try a destination past the outbox: its options, its token, its fields, one customer's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from integrations.outbound.abilities import Authorizing, FieldSpec, FieldType, Lookup, Schema
from integrations.outbound.contract import Credentials, HttpCall, Outcome, Response, Row, Verdict
from integrations.outbound.ensure import SchemaReport, ensure_schema
from integrations.outbound.errors import TransportError

if TYPE_CHECKING:
    from integrations.destinations import Destination
    from worker.delivery.channel import Channel


class Step(NamedTuple):
    """One thing that was tried."""

    name: str
    ok: bool
    detail: str


class NoTokenError(Exception):
    """The destination gives no token."""


class NoSchemaError(Exception):
    """The destination knows no fields."""


def credentials(channel: Channel, at_s: int) -> Credentials:
    """A token of its own for this trial; empty where the adapter needs none.

    Raises  NoTokenError, TransportError
    """
    adapter = channel.adapter
    if not isinstance(adapter, Authorizing):
        return Credentials()
    found = adapter.read_token(channel.transport.send(adapter.token_call(at_s=at_s)), at_s=at_s)
    if isinstance(found, Outcome):
        raise NoTokenError(_words(found))
    return found


def fields_of(destination: Destination) -> tuple[FieldSpec, ...]:
    """The fields that the mapping writes."""
    return tuple(
        FieldSpec(rule.target, FieldType(rule.type), rule.shown_as) for rule in destination.fields
    )


def schema(channel: Channel, destination: Destination, *, at_s: int, dry_run: bool) -> SchemaReport:
    """Compare the mapping's fields with the destination's; create what lacks unless `dry_run`.

    Raises  NoTokenError, TransportError, NoSchemaError
    """
    if not isinstance(channel.adapter, Schema):
        raise NoSchemaError(f"{destination.adapter} takes any field: there is nothing to prepare")
    return ensure_schema(
        channel.adapter,
        fields_of(destination),
        channel.transport.send,
        credentials=credentials(channel, at_s),
        at_s=at_s,
        dry_run=dry_run,
    )


def steps(
    channel: Channel, destination: Destination, row: Row | None, *, at_s: Callable[[], int]
) -> Iterator[Step]:
    """What can be tried without harm, one after the other; ends at the first that fails.

    row  what to send of one customer; None: nothing is written
    """
    yield Step("options", ok=True, detail=f"adapter {destination.adapter}")
    try:
        given = credentials(channel, at_s())
        if given.token:
            yield Step("token", ok=True, detail="given")
        if isinstance(channel.adapter, Schema) and destination.fields:
            step = _schema_step(schema(channel, destination, at_s=at_s(), dry_run=True))
            yield step
            if not step.ok:
                return
        if row is not None:
            yield from _write(channel, row, given, at_s)
    except NoTokenError as error:
        yield Step("token", ok=False, detail=str(error))
    except TransportError as error:
        yield Step("call", ok=False, detail=f"{type(error).__name__}: {error}")


def _schema_step(report: SchemaReport) -> Step:
    if report.trouble is not None:
        return Step("fields", ok=False, detail=_words(report.trouble))
    lacking = ", ".join(one.field.name for one in report.differences)
    return Step("fields", ok=not lacking, detail=f"differ: {lacking}" if lacking else "as mapped")


def _write(
    channel: Channel, row: Row, given: Credentials, at_s: Callable[[], int]
) -> Iterator[Step]:
    adapter = channel.adapter
    if isinstance(adapter, Lookup):
        answer = channel.transport.send(adapter.lookup([row], credentials=given))
        (found,) = adapter.read_lookup([row], answer, at_s=at_s())
        yield Step("look-up", ok=found.verdict is Verdict.OK, detail=_words(found))
        if found.verdict is not Verdict.OK:
            return
        row = row._replace(vendor_id=found.vendor_id)
    (outcome,) = _classified(channel, row, given, at_s)
    taken = outcome.verdict in {Verdict.OK, Verdict.ACCEPTED}
    yield Step("write", ok=taken, detail=_words(outcome))


def _classified(
    channel: Channel, row: Row, given: Credentials, at_s: Callable[[], int]
) -> tuple[Outcome, ...]:
    row = row._replace(fields=channel.capabilities.cleared(row.fields))
    call: HttpCall = channel.adapter.encode([row], credentials=given, at_s=at_s())
    answer: Response = channel.transport.send(call)
    return channel.adapter.classify([row], answer, at_s=at_s())


def _words(outcome: Outcome) -> str:
    detail = f": {outcome.detail}" if outcome.detail and outcome.detail != outcome.code else ""
    return f"{outcome.verdict} ({outcome.code}{detail})"

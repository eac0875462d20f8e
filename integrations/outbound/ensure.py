"""Fields of a mapping that the vendor lacks: found, and created where asked. Never deletes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from integrations.outbound.abilities import Difference, FieldSpec, Schema
from integrations.outbound.contract import Credentials, HttpCall, Outcome, Response


class SchemaReport(NamedTuple):
    """What lacked before, and what became of it.

    differences  before anything was created; empty: the vendor has every field as it should be
    outcomes     of the calls that create; empty after a dry run
    left         after all was created, or after a dry run
    trouble      why nothing could be learned: the answer that was no list of fields
    """

    differences: tuple[Difference, ...]
    outcomes: tuple[Outcome, ...] = ()
    left: tuple[Difference, ...] = ()
    trouble: Outcome | None = None

    @property
    def is_ready(self) -> bool:
        """Can every field be written now?"""
        return self.trouble is None and not self.left


def ensure_schema(
    adapter: Schema,
    fields: Sequence[FieldSpec],
    send: Callable[[HttpCall], Response],
    *,
    credentials: Credentials,
    at_s: int,
    dry_run: bool,
) -> SchemaReport:
    """Compare, and unless `dry_run`, create what lacks and can be created, and compare again.

    Raises  TransportError of `send`
    """

    def compare() -> tuple[Difference, ...] | Outcome:
        call = adapter.schema_call(fields, credentials=credentials)
        return adapter.differences(fields, send(call), at_s=at_s)

    found = compare()
    if isinstance(found, Outcome):
        return SchemaReport((), trouble=found)
    missing = [difference for difference in found if difference.can_create]
    if dry_run or not missing:
        return SchemaReport(found, left=found)
    calls = adapter.create_calls(missing, credentials=credentials)
    outcomes = tuple(adapter.read_created(send(one), at_s=at_s) for one in calls)
    left = compare()
    if isinstance(left, Outcome):
        return SchemaReport(found, outcomes, trouble=left)
    return SchemaReport(found, outcomes, left)

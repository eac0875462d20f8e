"""Rows into calls: no more rows or bytes than a destination takes, no key twice in one call."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from integrations.outbound.contract import (
    Adapter,
    Credentials,
    HttpCall,
    Outcome,
    Row,
    Verdict,
)

NO_KEY: Final = Outcome(Verdict.PERMANENT, "no_key", "the customer has no value to be found by")
TOO_LARGE: Final = Outcome(Verdict.PERMANENT, "too_large", "more bytes than the destination takes")


class Packed(NamedTuple):
    """A call and its rows; or, where `call` is None, rows that can't be sent and why."""

    rows: tuple[Row, ...]
    call: HttpCall | None
    refused: Outcome | None = None


def packed(
    adapter: Adapter, rows: Sequence[Row], *, credentials: Credentials, at_s: int
) -> list[Packed]:
    """As few calls as the capabilities allow; every row is in exactly one of the results.

    rows  in any order: those of a state are sorted by key, so that calls that overlap lock the
          vendor's records in one order; events stay in theirs
    """
    takes = adapter.capabilities
    ready = [row for row in rows if row.key]
    made = [Packed((row,), None, NO_KEY) for row in rows if not row.key]
    if not takes.is_stream:
        ready.sort(key=lambda row: row.key)
    for batch in _batches(ready, takes.max_rows, once=not takes.is_stream):
        made += _fitting(adapter, batch, credentials, at_s)
    return made


def _batches(rows: Sequence[Row], most: int, *, once: bool) -> Iterator[list[Row]]:
    """Up to so many rows each; `once`: a key that is there already waits for the next batch."""
    left = list(rows)
    while left:
        batch: list[Row] = []
        later: list[Row] = []
        keys: set[str] = set()
        for row in left:
            key = row.key.strip().casefold()  # vendors compare emails so
            if len(batch) == most or (once and key in keys):
                later.append(row)
            else:
                batch.append(row)
                keys.add(key)
        yield batch
        left = later


def _fitting(
    adapter: Adapter, rows: Sequence[Row], credentials: Credentials, at_s: int
) -> Iterator[Packed]:
    takes = adapter.capabilities
    call = adapter.encode(rows, credentials=credentials, at_s=at_s)
    too_long = len(call.body) > takes.max_bytes
    if len(rows) == 1:
        too_long = too_long or (takes.max_row is not None and len(call.body) > takes.max_row)
        yield Packed(tuple(rows), None, TOO_LARGE) if too_long else Packed(tuple(rows), call)
    elif too_long or (takes.max_row is not None and _a_row_is_too_large(adapter, rows, call)):
        middle = len(rows) // 2
        yield from _fitting(adapter, rows[:middle], credentials, at_s)
        yield from _fitting(adapter, rows[middle:], credentials, at_s)
    else:
        yield Packed(tuple(rows), call)


def _a_row_is_too_large(adapter: Adapter, rows: Sequence[Row], call: HttpCall) -> bool:
    most = adapter.capabilities.max_row or 0
    if len(call.body) <= most:
        return False
    return any(
        len(adapter.encode([row], credentials=Credentials(), at_s=0).body) > most for row in rows
    )

"""The text of a digest for people: how many customers changed to what. Never one per customer."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from pydantic import Field, JsonValue

from integrations.outbound.contract import Capabilities, Limit, Matching, Row
from integrations.outbound.options import AdapterOptions

MAX_ROWS: Final = 10_000
"""Customers of one message; where more changed in a period, the next message follows at once."""
_MOST_VALUES: Final = 10
_LONGEST_VALUE: Final = 60


class DigestOptions(AdapterOptions):
    """Options that all robots share.

    title     first line; put the robot's keyword here where it wants one
    period_s  seconds for which changes gather, and between two digests
    """

    title: str = Field("Customers changed", min_length=1, max_length=100)
    period_s: int = Field(3600, ge=60, le=86_400)


def digest_capabilities(options: DigestOptions) -> Capabilities:
    """One message per period, over as many customers as there are; the robots' own limit beside it.

    The bytes are those of rows, which cost nothing here: a text is cut to what its robot takes.
    """
    return Capabilities(
        max_rows=MAX_ROWS,
        max_bytes=64_000_000,
        matching=Matching.ALL_OR_NOTHING,
        limits=(Limit(20, 60.0),),
        concurrency=1,
        digest_s=float(options.period_s),
    )


def digest_text(title: str, rows: Sequence[Row], *, max_bytes: int) -> str:
    """The digest: a line per field and value, the most frequent first, cut at a number of bytes.

    >>> segments = {"ann": "VIP", "bob": "VIP", "cho": "New"}
    >>> rows = [Row(who, who, {"segment": name}, 1, who) for who, name in segments.items()]
    >>> print(digest_text("Customers changed", rows, max_bytes=200))
    Customers changed: 3
    - segment → VIP: 2
    - segment → New: 1
    """
    is_full = len(rows) >= MAX_ROWS
    lines = [f"{title}: {len(rows)}" + (", the rest follows" if is_full else "")]
    for name in sorted({name for row in rows for name in row.fields}):
        lines += _lines(name, [row.fields[name] for row in rows if name in row.fields])
    return _cut(lines, max_bytes)


def _lines(name: str, values: Sequence[JsonValue]) -> list[str]:
    if any(_is_figure(value) for value in values):  # figures differ from customer to customer
        return [f"- {name}: {len(values)}"]
    counts = Counter(_shown(value) for value in values)
    often = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"- {name} → {value}: {count}" for value, count in often[:_MOST_VALUES]]
    rest = sum(count for _, count in often[_MOST_VALUES:])
    return [*lines, f"- {name} → …: {rest}"] if rest else lines


def _is_figure(value: JsonValue) -> bool:
    return isinstance(value, int | float | list | dict) and not isinstance(value, bool)


def _shown(value: JsonValue) -> str:
    if value is None:
        return "(empty)"
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    plain = "".join(sign if sign.isprintable() else " " for sign in shown)
    return plain if len(plain) <= _LONGEST_VALUE else plain[: _LONGEST_VALUE - 1] + "…"


def _cut(lines: Sequence[str], max_bytes: int) -> str:
    whole = "\n".join(lines)
    kept = list(lines)
    while len(whole.encode()) > max_bytes and len(kept) > 1:
        kept.pop()
        whole = "\n".join([*kept, "…"])
    return whole

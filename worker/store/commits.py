"""A batch of a shard's stream, what is stored of its customers, and the commit that it becomes."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from worker.store.keys import Keys

START: Final = "0-0"
STAGE: Final = "ingest"
COUNTERS: Final = (
    "seq", "covered", "applied", "duplicates", "quarantined", "overflowed", "echoes"
)  # fmt: skip


class Entry(NamedTuple):
    """One entry of a shard's stream."""

    id: str
    at_s: int  # when the server took it, Unix s
    kind: str
    event: bytes
    quiet: bool


class Position(NamedTuple):
    """Where a shard stands: what a commit compares and what it counts on."""

    epoch: bytes
    cursor: str
    seq: int
    covered: int
    applied: int
    duplicates: int
    quarantined: int
    overflowed: int
    echoes: int = 0


class Batch(NamedTuple):
    """A leased shard and the entries behind its cursor.

    tries  how often a batch was begun from this cursor, this time included
    left   entries still to be read one by one, because a batch ended its process
    """

    shard: int
    token: str
    tries: int
    position: Position
    entries: list[Entry]
    left: int = 0


class Stored(NamedTuple):
    """A customer's stored values; None where there is none, or it was not asked for."""

    profile: bytes | None
    memory: bytes | None
    cold: bytes | None


class Write(NamedTuple):
    """One value to write: the whole (`offset` None), or from an offset on."""

    part: str  # "cold", "memory" or "profile": the order in which a customer's are written
    customer_id: str
    offset: int | None
    data: bytes


class Refused(NamedTuple):
    """An entry for the quarantine."""

    entry_id: str
    reason: str
    path: str
    detail: str
    event: bytes
    quiet: bool = False


class Commit(NamedTuple):
    """All that one batch changes."""

    batch: Batch
    position: Position
    loud: list[str]
    quiet: list[str]
    new: list[tuple[str, int]]
    refused: list[Refused]
    writes: list[Write]
    delta: bytes
    trim_below: str
    left: int = 0


def commit_arguments(k: Keys, commit: Commit) -> tuple[list[str], list[Any]]:
    """Keys and arguments of the script `commit`."""
    shard = commit.batch.shard
    begin = {
        "cold": k.cold(shard, ""),
        "memory": k.memory(shard, ""),
        "profile": k.profile(shard, ""),
    }
    keys = [
        k.meta(shard), k.epoch(shard), k.lease(shard, STAGE), k.tries(shard), k.events(shard),
        k.dirty(shard), k.quiet(shard), k.customers(shard), k.due(shard), k.deltas(shard),
        k.quarantine(shard), *[begin[write.part] + write.customer_id for write in commit.writes],
    ]  # fmt: skip
    position = commit.position
    meta = [x for name in COUNTERS for x in (name, getattr(position, name))]
    args: list[Any] = [
        position.epoch, commit.batch.position.cursor, position.cursor, commit.batch.token,
        commit.trim_below, commit.delta, len(meta), len(commit.loud), len(commit.quiet),
        len(commit.new), len(commit.refused), position.seq, commit.left,
        *meta, *commit.loud, *commit.quiet,
    ]  # fmt: skip
    for pair in commit.new:
        args += pair
    for refused in commit.refused:
        args += refused[:-1]
        args.append("1" if refused.quiet else "")
    for write in commit.writes:
        args.append(_offset(write))
        args.append(write.data)
    return keys, [len(args) + 1, *args]


def _offset(write: Write) -> int:
    """Where the script writes; -1 a profile, -2 another whole value."""
    if write.offset is None:
        return -1 if write.part == "profile" else -2
    return write.offset

"""What a disturbed run is compared with: a single-threaded replay of what was accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from worker import batch as batches
from worker.batch import Rules
from worker.bootstrap import Runtime
from worker.profile import codec, derive
from worker.profile.ledger import Profile
from worker.store.commits import START, Batch, Commit, Entry, Position, Stored
from worker.store.envelope import unpack
from worker.store.keys import shard_of


class Differences(NamedTuple):
    """What a run got wrong, against the replay."""

    lost: int
    doubled: int
    wrong_customers: int


class Replay:
    """Profiles in memory: the same fold and codec, one event at a time, nothing that can fail."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._positions: dict[int, Position] = {}
        self._stored: dict[str, Stored] = {}

    def apply(self, customer_id: str, event: bytes, entry_ms: int) -> None:
        """Apply one accepted event."""
        shard = shard_of(customer_id, self._rules.shards)
        position = self._positions.get(shard, Position(b"", START, 0, 0, 0, 0, 0, 0))
        entry = Entry(f"{entry_ms}-0", entry_ms // 1000, "event", event, quiet=False)
        batch = Batch(shard, "", 1, position, [entry])
        read = batches.read(batch, self._rules)
        stored = {who: self._of(who) for who in read.by_customer}
        commit = batches.build(batch, read, stored, self._rules)
        self._positions[shard] = commit.position
        self._write(commit)

    def profiles(self) -> dict[str, Profile]:
        """Every customer's profile."""
        return {
            who: codec.decode(unpack(stored.profile).hot, stored.cold or b"")
            for who, stored in self._stored.items()
            if stored.profile is not None
        }

    def _of(self, customer_id: str) -> Stored:
        stored = self._stored.get(customer_id, Stored(None, None, None))
        return stored._replace(cold=stored.cold or b"")

    def _write(self, commit: Commit) -> None:
        for write in commit.writes:
            held = self._of(write.customer_id)
            old = getattr(held, write.part) or b""
            data = write.data if write.offset is None else old[: write.offset] + write.data
            self._stored[write.customer_id] = held._replace(**{write.part: data})


def stored_profiles(runtime: Runtime) -> dict[str, Profile]:
    """Every customer's profile on the server."""
    return {
        resident.customer_id: codec.decode(resident.hot, resident.cold)
        for shard in range(runtime.keys.shards)
        for resident in runtime.population.residents(shard)
    }


def compare(found: Mapping[str, Profile], expected: Mapping[str, Profile]) -> Differences:
    """Count what is missing or there too often, and the customers that are not byte-equal."""
    lost = doubled = wrong = 0
    for who in found.keys() | expected.keys():
        mine, truth = found.get(who, Profile()), expected.get(who, Profile())
        if codec.canonical(mine) == codec.canonical(truth):
            continue
        wrong += 1
        have, want = Counter(_effects(mine)), Counter(_effects(truth))
        lost += sum((want - have).values())
        doubled += sum((have - want).values())
    return Differences(lost, doubled, wrong)


def _effects(profile: Profile) -> Iterable[object]:
    for week, block in derive.blocks(profile):
        for order_id, record in block.orders.items():
            for part, statements in enumerate(codec.unpack_record(record)):
                for statement in statements:
                    yield (order_id, part, str(statement))
        for key, count in block.signals.items():
            for _ in range(count):
                yield (week, key)

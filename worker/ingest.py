"""Ingest: entries of the shards' streams become profiles, each exactly once in effect."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from worker import batch as batches
from worker.batch import Rules
from worker.store.catalog import CatalogStore
from worker.store.commits import Batch, Commit
from worker.store.feedback import FeedbackStore
from worker.store.ingesting import IngestStore
from worker.store.line import Line
from worker.store.training import TrainingDesk
from worker.telemetry import logger

log = logger(__name__)

#: Above this part of the server's memory a commit keeps no applied entries, whatever their age.
TIGHT_RATIO: Final = 0.6
#: The server's memory is looked at once in so many rounds.
LOOK_ROUNDS: Final = 64


class Round(NamedTuple):
    """What one round did."""

    entries: int
    applied: int
    refused_commits: int
    marked: int
    asked: int = 0  # trainings that now wait because of it


class Ingest:
    """Drains shards. Any number may run side by side: the commit decides whose batch counts.

    batch_size        entries of one commit, 1 to 1000
    shards_per_round  shards that one round works on together, to share its round trips
    catalog           takes what `Product Updated` events state; None: nobody does
    feedback          takes what was shown and clicked
    desk              takes what `Model Retrain Requested` events ask for
    """

    def __init__(
        self,
        store: IngestStore,
        rules: Rules,
        *,
        batch_size: int = 250,
        shards_per_round: int = 16,
        catalog: CatalogStore | None = None,
        feedback: FeedbackStore | None = None,
        desk: TrainingDesk | None = None,
    ) -> None:
        self._store = store
        self._rules = rules
        self._retention_s = rules.retention_s
        self._batch_size = batch_size
        self._shards_per_round = shards_per_round
        self._catalog = catalog
        self._feedback = feedback
        self._desk = desk
        self._next = 0
        self._rounds = 0

    def round(self, shards: Sequence[int] | None = None) -> Round:
        """Apply one batch of some shards that have entries; of the given ones, or of any."""
        if self._rounds % LOOK_ROUNDS == 0:
            self._watch_memory()
        self._rounds += 1
        chosen = self._choose(self._store.waiting()) if shards is None else list(shards)
        if not chosen:
            return Round(0, 0, 0, 0)
        return self._apply(chosen)

    def drain(self) -> int:
        """Rounds until nothing waits; the number of entries."""
        total = 0
        while done := self.round().entries:
            total += done
        return total

    def _watch_memory(self) -> None:
        tight = self._store.memory_ratio() > TIGHT_RATIO
        retention_s = 0 if tight else self._retention_s
        self._rules = self._rules._replace(retention_s=retention_s)

    def _choose(self, waiting: list[int]) -> list[int]:
        """Some of the waiting shards, each in its turn."""
        after = [shard for shard in waiting if shard >= self._next]
        chosen = (after + [shard for shard in waiting if shard < self._next])[
            : self._shards_per_round
        ]
        if chosen:
            self._next = chosen[-1] + 1
        return chosen

    def _apply(self, shards: Sequence[int]) -> Round:
        """Read one shard while the server looks up the customers of the one before, and fold that
        one while the server commits those before it. Shards do not depend on each other: what
        becomes of one changes none of the others.
        """
        taken: deque[tuple[Batch, batches.Read]] = deque()
        commits: list[Commit] = []
        asked = 0
        with self._store.line() as line:
            for batch in line.begin(shards, batches.attempts(self._batch_size)):
                read = batches.read(batch, self._rules)
                line.load(batch.shard, batches.wants_cold(read))
                asked += self._tell(batch.shard, read)
                taken.append((batch, read))
                if len(taken) > 1:
                    self._fold(line, *taken.popleft(), commits)
            while taken:
                self._fold(line, *taken.popleft(), commits)
            results = line.results()
        done = [commit for commit, result in zip(commits, results, strict=True) if result]
        return Round(
            entries=sum(len(commit.batch.entries) for commit in done),
            applied=sum(c.position.applied - c.batch.position.applied for c in done),
            refused_commits=results.count(0),
            marked=sum(len(commit.loud) + len(commit.quiet) for commit in done),
            asked=asked,
        )

    def _tell(self, shard: int, read: batches.Read) -> int:
        """Hand on what belongs to no profile; how many trainings wait because of it.

        Before the commit: what is lost with a commit is told again, and who hears it knows it.
        """
        if read.products and self._catalog is not None:
            self._catalog.put(read.products)
        if read.touches and self._feedback is not None:
            self._feedback.put({shard: read.touches})
        return self._ask(read)

    def _ask(self, read: batches.Read) -> int:
        if self._desk is None:
            return 0
        return sum(
            self._desk.request(kind, one.reason, one.at_ms, one.event_id)
            for one in read.asked
            for kind in one.kinds
        )

    def _fold(self, line: Line, batch: Batch, read: batches.Read, commits: list[Commit]) -> None:
        """Send the commit of a batch, unless a newer release wrote what it has to change."""
        stored = line.loaded()
        late = batches.late(read.by_customer, stored)
        if late:
            cold = self._store.load_cold([(batch.shard, customer) for customer in late])
            for (_, customer), value in cold.items():
                stored[customer] = stored[customer]._replace(cold=value)
        try:
            commit = batches.build(batch, read, stored, self._rules)
        except batches.NEWER as error:
            log.warning("shard left to a newer release", shard=batch.shard, reason=str(error))
            self._store.release(batch)
            return
        line.commit(commit)
        commits.append(commit)

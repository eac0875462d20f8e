"""Deliver: rows that are due become calls. Every destination has threads and limits of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from random import Random
from typing import Any, Final

from worker.clock import Clock
from worker.delivery.channel import Channel
from worker.delivery.content import Parcel, batches, parcel
from worker.delivery.ends import kept
from worker.delivery.jobs import Jobs
from worker.delivery.keeping import Keeper
from worker.delivery.sending import Sender
from worker.delivery.tokens import Tokens
from worker.store.delivering import Claimed, Delivered, DeliverStore, Row, Settled
from worker.store.destinations import FOREVER, Destinations, Ended, Token

WAIT_S: Final = 0.02
#: While calls are under way, the outboxes are looked at no more often than this.
LOOK_EVERY_S: Final = 0.02
#: A destination that gives no leave is asked again after so long at most: it may be resumed.
BLOCKED_S: Final = 0.25
ASK_JOBS_EVERY_S: Final = 0.25
_THREADS: Final = 64


class Line:
    """A channel within this process: its threads, its calls under way, until when it is blocked."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.blocked_until = float("-inf")
        self.asked_jobs = float("-inf")
        self.authorizing: Future[int] | None = None
        self.found: list[Row] = []
        self.looked = float("-inf")
        self._threads = min(channel.concurrency, _THREADS)
        self._pool: ThreadPoolExecutor | None = None
        self.pending: set[Future[int]] = set()

    @property
    def room(self) -> int:
        """Calls that can begin now."""
        return self._threads - len(self.pending)

    @property
    def rows(self) -> int:
        """Rows that the calls that can begin now would carry."""
        return self.room * self.channel.capabilities.max_rows

    def is_ready(self, now: float) -> bool:
        """Can a call begin?"""
        is_authorizing = self.authorizing is not None and not self.authorizing.done()
        return self.room > 0 and self.blocked_until <= now and not is_authorizing

    def submit(self, work: Callable[..., int], *args: Any) -> Future[int]:
        """Do it in a thread."""
        if self._pool is None:
            name = f"deliver-{self.channel.name}"
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=name)
        task = self._pool.submit(work, *args)
        self.pending.add(task)
        return task

    def close(self) -> None:
        """End the threads; calls under way are waited for."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


class Deliver:
    """Sends due rows; `round` after `round`, calls overlap across rounds and destinations.

    max_attempts  an event is given up after so many; a state never is
    """

    def __init__(
        self,
        store: DeliverStore,
        destinations: Destinations,
        channels: Sequence[Channel],
        clock: Clock,
        *,
        shards: int,
        max_attempts: int,
        rng: Random | None = None,
    ) -> None:
        self._store = store
        self._destinations = destinations
        self._lines = {channel.name: Line(channel) for channel in channels}
        self._clock = clock
        self._shards = shards
        self._rng = rng or Random()
        self._tokens = Tokens(destinations, clock)
        self._keeper = Keeper(destinations)
        self._jobs = Jobs(
            store, destinations, self._tokens, clock, max_attempts=max_attempts, rng=self._rng
        )
        self._sender = Sender(
            store, destinations, self._tokens, self._jobs, clock,
            max_attempts=max_attempts, rng=self._rng,
        )  # fmt: skip

    def round(self) -> int:
        """Send what is due and see what has ended; how many rows it moved."""
        ended = self._reap(wait_s=0.0)
        started = self._start()
        if not ended and not started and self._pending:
            return self._reap(wait_s=WAIT_S) or 1
        return ended + started

    def finish(self) -> int:
        """Wait for the calls under way."""
        total = 0
        while self._pending:
            total += self._reap(wait_s=1.0)
        return total

    def drain(self) -> int:
        """Rounds until nothing is due."""
        total = 0
        while done := self.round():
            total += done
        return total + self.finish()

    def close(self) -> None:
        """Wait for the calls under way and end the threads."""
        for line in self._lines.values():
            line.close()
        self._keeper.close()

    @property
    def _pending(self) -> list[Future[int]]:
        return [task for line in self._lines.values() for task in line.pending]

    def _reap(self, wait_s: float) -> int:
        """Rows that calls settled; an error of a call is raised here."""
        if not self._pending:
            return 0
        done, _ = wait(self._pending, timeout=wait_s, return_when=FIRST_COMPLETED)
        for line in self._lines.values():
            line.pending -= done
        return sum(task.result() for task in done)

    def _start(self) -> int:
        now = self._clock.monotonic()
        ready = [line for line in self._lines.values() if line.is_ready(now)]
        self._look(ready, now)
        started = 0
        for line in ready:
            if line.channel.polls:
                self._ask_jobs(line, now)
            if line.found:
                started += self._start_line(line, now)
        return started

    def _look(self, lines: Sequence[Line], now: float) -> None:
        """Look for due rows of lines that have used up what was found, or found it long ago.

        What was found may be another worker's by now: a claim takes only what is due.
        """
        is_busy = bool(self._pending)
        looking = [
            line
            for line in lines
            if now - line.looked >= (LOOK_EVERY_S if is_busy else 0.0)
            and (len(line.found) < line.rows or now - line.looked >= BLOCKED_S)
        ]
        if not looking:
            return
        due = self._store.due({line.channel.name: self._share(line) for line in looking})
        for line in looking:
            line.found, line.looked = due[line.channel.name], now

    def _share(self, line: Line) -> int:
        """Rows to look for in a shard: enough to fill all calls, however rows are spread."""
        return max(8, min(line.rows, 2 * line.rows // self._shards + 8))

    def _start_line(self, line: Line, now: float) -> int:
        channel, rows = line.channel, line.found
        max_rows = channel.capabilities.max_rows
        token = self._token(line, now)
        if token is None:
            return 0
        calls = self._permits(line, min(line.room, -(-len(rows) // max_rows)), now)
        if not calls:
            return 0
        claimed_at = self._clock.monotonic()
        line.found = rows[len(calls) * max_rows :]
        claimed = self._store.claim(channel, rows[: len(calls) * max_rows])
        ready, moved = self._prepare(channel, claimed)
        held = self._store.hold([(one.claimed.row, one.claim) for one in ready]) if ready else []
        ours = [one for one, is_ours in zip(ready, held, strict=True) if is_ours]
        filled = batches(ours, channel)
        if len(filled) > len(calls):
            calls += self._permits(line, min(line.room, len(filled)) - len(calls), now)
        for call, batch in zip(calls, filled, strict=False):
            line.submit(self._sender.send, channel, call, batch, token, claimed_at)
        how = "unused" if filled else "empty"
        unused = [
            self._destinations.report(channel.name, Ended(call, how))
            for call in calls[len(filled) :]
        ]
        left = [kept(one, "unsent") for batch in filled[len(calls) :] for one in batch]
        if unused or left:
            self._destinations.run([*unused, *self._store.settle_calls(channel, left)])
        return max(moved + len(ours) - len(left), bool(line.found))

    def _prepare(self, channel: Channel, claimed: Sequence[Claimed]) -> tuple[list[Parcel], int]:
        """What to send; rows without news are settled at once, and counted."""
        ready, settled = [], []
        for one in claimed:
            try:
                made = parcel(channel, one, self._clock.now_ms())
            except KeyError as error:
                claim = one.claim._replace(version=one.insight.version)
                reason = (
                    f"the insight has no {error.args[0]}, by which the destination finds customers"
                )
                without_key = Settled(one.row, claim, "dead", Delivered(), 0, "no_key", reason)
                settled.append(without_key)
                continue
            if made is not None:
                ready.append(made)
            else:
                claim = one.claim._replace(version=one.insight.version)
                settled.append(Settled(one.row, claim, "unchanged", Delivered(), 0, "", ""))
        if settled:
            self._store.settle(channel, settled)
        return ready, len(settled)

    def _permits(self, line: Line, wanted: int, now: float) -> list[str]:
        if wanted <= 0:
            return []
        permits = self._destinations.permits(line.channel, wanted)
        if not permits.calls:
            wait_s = BLOCKED_S if permits.wait_ms == FOREVER else permits.wait_ms / 1000
            line.blocked_until = now + min(wait_s, BLOCKED_S)
        else:
            self._keeper.start()
        return list(permits.calls)

    def _token(self, line: Line, now: float) -> Token | None:
        """The token to call with; None while one is being got."""
        token = self._tokens.current(line.channel)
        if token is not None:
            return token
        for call in self._permits(line, 1, now):
            line.authorizing = line.submit(self._get_token, line, call)
        return None

    def _get_token(self, line: Line, call: str) -> int:
        if not self._tokens.get(line.channel, call, self._rng.random()):
            line.blocked_until = self._clock.monotonic() + BLOCKED_S
        return 0

    def _ask_jobs(self, line: Line, now: float) -> None:
        if now - line.asked_jobs < ASK_JOBS_EVERY_S:
            return
        line.asked_jobs = now
        channel = line.channel
        jobs = self._destinations.take_jobs(channel.name, channel.lease_ms, line.room)
        if not jobs:
            return
        token = self._token(line, now)
        calls = self._permits(line, min(line.room, len(jobs)), now) if token else []
        for call, (job, rows) in zip(calls, jobs, strict=False):
            line.submit(self._jobs.ask, channel, call, token, job, rows)
        for job, rows in jobs[len(calls) :]:
            self._destinations.put_job(channel.name, job, rows, int(1000 * BLOCKED_S))

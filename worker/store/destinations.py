"""What all workers share about a destination: leave to call, pause, breaker, token, jobs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from worker.store.keys import Keys
from worker.store.scripts import Call, Client, Scripts

#: The breaker opens after so many failures in a row ..
FAILURES: Final = 5
#: .. or when at least so many calls ended within a minute and this share of them failed.
CALLS: Final = 20
SHARE: Final = 0.5
#: .. or when so many calls in a row took no row: what they refuse is not the rows' own fault.
REFUSALS: Final = 10
#: It stays open for so long at first, twice as long each time, at most so long.
OPEN_MS: Final = 5_000
OPEN_MAX_MS: Final = 60_000
#: After a destination refused our credentials, it is asked again after so long.
REFUSED_MS: Final = 300_000
#: Time that getting a token may take.
TOKEN_LOCK_MS: Final = 30_000
FOREVER: Final = -1
#: Who made a call says so often that it is under way; after so long without, it is taken for lost.
KEEP_EVERY_S: Final = 1.5
KEEP_MS: Final = 6_000


class Limits(Protocol):
    """What the calls to a destination must keep to."""

    @property
    def name(self) -> str:
        """The destination."""
        ...

    @property
    def longest_ms(self) -> int:
        """A call whose maker is not heard of is taken for lost after so long, or sooner."""
        ...

    @property
    def concurrency(self) -> int:
        """Calls under way at once."""
        ...

    @property
    def daily_cap(self) -> int:
        """Calls a day (UTC); 0: any number."""
        ...

    @property
    def gather_ms(self) -> int:
        """Calls are digests: rows gather for so long before one; 0: they do not."""
        ...

    @property
    def windows(self) -> Sequence[tuple[int, int]]:
        """(calls, length [ms]) of every window; all hold at once."""
        ...


class Permits(NamedTuple):
    """Leave for some calls.

    calls    names of the calls, to be reported when they have ended
    wait_ms  where there is none: ask again after so long; FOREVER: when somebody resumes it
    why      paused, gone, asked, broken, probing, gathering, daily cap, concurrency, limit, or "";
             probe: an open breaker lets this call pass
    """

    calls: tuple[str, ...]
    wait_ms: int
    why: str


class Ended(NamedTuple):
    """How a call ended.

    how      taken (a row, or more), ok (it answered), rejected (its rows, every one), failed,
             refused (our credentials), gone, unused (it was not made), empty (nor is there anything
             to send)
    rest_ms  the destination asked for so long a rest
    alarm    what people should know, "" nothing
    jitter   in [0, 1): spreads the times at which breakers close
    more     a digest was full: the next one goes at once, in the same period
    """

    call: str
    how: str
    rest_ms: int = 0
    alarm: str = ""
    jitter: float = 0.0
    more: bool = False


class State(NamedTuple):
    """How a destination stands.

    paused     by whom: operator, gone (it said so); "" nobody
    wait_ms    calls wait for so long: it asked for it, or the breaker is open
    is_open    the breaker is open, or lets single calls pass
    used       calls of today (UTC)
    under_way  calls under way
    alarm      what people should know, "" nothing; since when
    """

    paused: str
    wait_ms: int
    is_open: bool
    used: int
    under_way: int
    jobs: int
    alarm: str
    alarm_ms: int


class Token(NamedTuple):
    """A token as stored; number 0: there is none.

    number   grows with every token, so that a worker can tell that another one has renewed it
    refused  number of the last token that the destination refused, while none has worked since
    """

    number: int = 0
    value: str = ""
    base_url: str = ""
    expires_at_s: int | None = None
    refused: int = 0

    def __repr__(self) -> str:
        return f"Token(number={self.number})"


@dataclass(slots=True)
class _UnderWay:
    """A call of this process, how often it is said at most that it is under way, and whether an
    open breaker let it pass.
    """

    destination: str
    keep_ms: int
    times: int
    is_probe: bool


class Destinations:
    """Limits, pauses, tokens and jobs, by the server's clock, the same for all workers."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)
        self._under_way: dict[str, _UnderWay] = {}

    # ---- calls --------------------------------------------------------------------------------
    def permits(self, limits: Limits, wanted: int) -> Permits:
        """Leave for at most `wanted` calls, from all limits at once."""
        name = secrets.token_hex(6)
        keep_ms = min(KEEP_MS, limits.longest_ms)
        args = [
            name, wanted, keep_ms, limits.concurrency, limits.daily_cap, limits.gather_ms
        ]  # fmt: skip
        args += (part for window in limits.windows for part in window)
        granted, wait_ms, why = self._scripts.run("permit", self._of_calls(limits.name), args)
        calls = tuple(f"{name}:{n}" for n in range(1, granted + 1))
        times = 5 + int(limits.longest_ms / (1000 * KEEP_EVERY_S))
        for call in calls:
            self._under_way[call] = _UnderWay(limits.name, keep_ms, times, why == b"probe")
        return Permits(calls, int(wait_ms), why.decode())

    def is_probe(self, call: str) -> bool:
        """Is it a call of this process, under way, that an open breaker let pass?"""
        known = self._under_way.get(call)
        return known is not None and known.is_probe

    @property
    def under_way(self) -> int:
        """Calls of this process that were permitted and not reported."""
        return len(self._under_way)

    def keep(self) -> None:
        """Say that the calls of this process are under way; a call that nobody reports ends too."""
        by_destination: dict[tuple[str, int], list[str]] = {}
        for call, one in list(self._under_way.items()):
            by_destination.setdefault((one.destination, one.keep_ms), []).append(call)
            one.times -= 1
            if not one.times:
                self._under_way.pop(call, None)
        self.run(
            [
                Call("keep", self._of_calls(destination), [keep_ms, *calls])
                for (destination, keep_ms), calls in by_destination.items()
            ]
        )

    def report(self, destination: str, ended: Ended) -> Call:
        """The script that tells how a call ended; to be run with others in one round trip."""
        self._under_way.pop(ended.call, None)
        args = [
            ended.call, ended.how, ended.rest_ms, FAILURES, CALLS, SHARE, OPEN_MS, OPEN_MAX_MS,
            ended.jitter, ended.alarm, REFUSED_MS, REFUSALS,
            "1" if ended.more else "",
        ]  # fmt: skip
        return Call("report", self._of_calls(destination), args)

    def taken(self, destination: str) -> tuple[int, int]:
        """Calls by which it took a row, ever; calls that are under way now."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hget(self._keys.control(destination), "taken")
        pipeline.zcard(self._keys.flying(destination))
        taken, under_way = pipeline.execute()
        return int(taken or 0), under_way

    def run(self, calls: Sequence[Call]) -> None:
        """Run scripts of `report`."""
        if calls:
            self._scripts.run_all(calls)

    # ---- pauses -------------------------------------------------------------------------------
    def pause(self, destination: str, by: str = "operator") -> None:
        """Call it no more until somebody resumes it; its rows keep coalescing."""
        self._client.hset(self._keys.control(destination), "paused", by)

    def resume(self, destination: str) -> bool:
        """End pause, rest and breaker; False if there was nothing to end."""
        key = self._keys.control(destination)
        state = self.state(destination)
        names = (
            "paused", "until", "opened", "opens", "probe", "fails", "refusals", "alarm", "alarm_ms"
        )  # fmt: skip
        self._client.hdel(key, *names)
        return bool(state.paused or state.wait_ms or state.is_open)

    def state(self, destination: str) -> State:
        """How it stands now."""
        keys = [*self._of_calls(destination), self._keys.jobs(destination)]
        now_ms, fields, under_way, jobs = self._scripts.run("state", keys, [])
        words = [word.decode() for word in fields]
        text = dict(zip(words[::2], words[1::2], strict=True))
        opened_ms, until_ms = int(text.get("opened", 0)), int(text.get("until", 0))
        is_today = int(text.get("day", -1)) == now_ms // 86_400_000
        return State(
            text.get("paused", ""), max(0, max(opened_ms, until_ms) - now_ms), opened_ms > 0,
            int(text.get("used", 0)) if is_today else 0, under_way, jobs, text.get("alarm", ""),
            int(text.get("alarm_ms", 0)),
        )  # fmt: skip

    def paused_ms(self, destination: str) -> int:
        """How long nothing is sent: 0 = it is, FOREVER = until it is resumed."""
        state = self.state(destination)
        return FOREVER if state.paused else state.wait_ms

    # ---- tokens -------------------------------------------------------------------------------
    def token(self, destination: str) -> Token:
        """The newest token."""
        fields = self._client.hgetall(self._keys.token(destination))
        text = {name.decode(): value.decode() for name, value in fields.items()}
        expires = text.get("expires_at_s")
        return Token(
            int(text.get("number", 0)), text.get("value", ""), text.get("base_url", ""),
            int(expires) if expires else None, int(text.get("refused", 0)),
        )  # fmt: skip

    def put_token(self, destination: str, token: Token) -> None:
        """Replace the token; only who holds its lock does."""
        expires = "" if token.expires_at_s is None else token.expires_at_s
        fields: Mapping[str, str | int] = {
            "number": token.number, "value": token.value, "base_url": token.base_url,
            "expires_at_s": expires,
        }  # fmt: skip
        self._client.hset(self._keys.token(destination), mapping=fields)

    def refuse_token(self, destination: str, number: int) -> None:
        """The destination refused this token: nobody uses it any more."""
        self._client.hset(self._keys.token(destination), "refused", number)

    def accept_token(self, destination: str) -> None:
        """A token works, after another was refused."""
        self._client.hdel(self._keys.token(destination), "refused")

    def lock_token(self, destination: str) -> bool:
        """May we get a token now? So that not all workers ask for one at once."""
        key = self._keys.token_lock(destination)
        return bool(self._client.set(key, "1", nx=True, px=TOKEN_LOCK_MS))

    def unlock_token(self, destination: str) -> None:
        """We have asked."""
        self._client.delete(self._keys.token_lock(destination))

    # ---- jobs ---------------------------------------------------------------------------------
    def put_job(
        self, destination: str, job: str, rows: bytes, wait_ms: int, *, follows: str = ""
    ) -> None:
        """Remember a job and ask about it after `wait_ms`; it may follow another."""
        self._scripts.run("job_put", self._of_jobs(destination), [job, wait_ms, rows, follows])

    def take_jobs(self, destination: str, lease_ms: int, limit: int) -> list[tuple[str, bytes]]:
        """Jobs to ask about, with their rows; ours for the length of a lease."""
        found = self._scripts.run("job_take", self._of_jobs(destination), [lease_ms, limit])
        return [(job.decode(), rows) for job, rows in zip(found[::2], found[1::2], strict=True)]

    def drop_job(self, destination: str, job: str) -> None:
        """All is known about a job."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zrem(self._keys.jobs(destination), job)
        pipeline.hdel(self._keys.job_rows(destination), job)
        pipeline.execute()

    def _of_calls(self, destination: str) -> list[str]:
        k = self._keys
        return [k.control(destination), k.calls(destination), k.flying(destination)]

    def _of_jobs(self, destination: str) -> list[str]:
        return [self._keys.jobs(destination), self._keys.job_rows(destination)]

"""Tokens: one for all workers, got by one of them before it expires or when it is refused."""

from __future__ import annotations

from typing import Final, cast

from integrations.outbound.abilities import Authorizing
from integrations.outbound.contract import Credentials, Outcome, Verdict
from integrations.outbound.errors import TransportError
from worker.clock import Clock
from worker.delivery.channel import Channel, defect
from worker.store.destinations import Destinations, Ended, Token
from worker.telemetry import logger

log = logger(__name__)

#: A token is renewed so long before it expires: longer than a call takes.
_EARLY_S: Final = 20
NONE: Final = Token()


class Tokens:
    """The tokens of all channels, as this process knows them."""

    def __init__(self, store: Destinations, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, Token] = {}

    def current(self, channel: Channel) -> Token | None:
        """The token to call with; None where one has to be got first."""
        if not channel.authorizes:
            return NONE
        known = self._known.get(channel.name, NONE)
        if not self._is_good(known):
            known = self._known[channel.name] = self._store.token(channel.name)
        return known if self._is_good(known) else None

    def get(self, channel: Channel, call: str, jitter: float) -> bool:
        """Ask for a token, by a permitted call, unless another worker does; was there one?"""
        if not self._store.lock_token(channel.name):
            self._report(channel, Ended(call, "unused"))
            return False
        try:
            before = self._store.token(channel.name)
            if self._is_good(before):
                self._report(channel, Ended(call, "unused"))
                return True
            found = self._ask(channel)
            if isinstance(found, Credentials):
                token = Token(
                    before.number + 1, found.token, found.base_url, found.expires_at_s,
                    before.refused,
                )  # fmt: skip
                self._store.put_token(channel.name, token)
                self._report(channel, Ended(call, "ok"))
                return True
            self._report(channel, _ended(call, found, jitter))
            log.warning("no token", destination=channel.name, code=found.code)
            return False
        finally:
            self._store.unlock_token(channel.name)

    def judged(self, channel: Channel, used: Token, ended: Ended) -> Ended:
        """The end of a call with this token; people are told when another did not help either."""
        if ended.how == "refused":
            if not self._refused(channel, used):
                return Ended(ended.call, "ok", ended.rest_ms)
            log.error("credentials refused", destination=channel.name, reason=ended.alarm)
        elif ended.how == "gone":
            log.error("destination is gone", destination=channel.name)
        elif ended.how != "failed":
            self._worked(channel, used)
        return ended

    def _refused(self, channel: Channel, used: Token) -> bool:
        """A call was refused with this token; True where another token did not help."""
        if used.number == 0:
            return True
        newest = self._store.token(channel.name)
        if newest.number != used.number:
            return False
        self._store.refuse_token(channel.name, used.number)
        self._known.pop(channel.name, None)
        return 0 < newest.refused < used.number

    def _worked(self, channel: Channel, used: Token) -> None:
        if used.refused:
            self._store.accept_token(channel.name)
            self._known[channel.name] = used._replace(refused=0)

    def _is_good(self, token: Token) -> bool:
        if not token.value or token.refused == token.number:
            return False
        return token.expires_at_s is None or token.expires_at_s > self._clock.now_s() + _EARLY_S

    def _ask(self, channel: Channel) -> Credentials | Outcome:
        adapter = cast("Authorizing", channel.adapter)  # `current` asked
        try:
            answer = channel.transport.send(adapter.token_call(at_s=self._clock.now_s()))
            return adapter.read_token(answer, at_s=self._clock.now_s())
        except TransportError as error:
            return Outcome(Verdict.RETRY, "transport", type(error).__name__)
        except Exception as error:  # noqa: BLE001  a defect of one adapter stops no other
            return defect(error)

    def _report(self, channel: Channel, ended: Ended) -> None:
        self._store.run([self._store.report(channel.name, ended)])


def credentials(token: Token) -> Credentials:
    """A stored token as adapters take it."""
    return Credentials(token.value, token.base_url, token.expires_at_s)


def _ended(call: str, outcome: Outcome, jitter: float) -> Ended:
    rest_ms = int(1000 * (outcome.retry_after_s or 0.0))
    if outcome.verdict in {Verdict.RETRY, Verdict.THROTTLED}:
        return Ended(call, "failed", rest_ms, jitter=jitter)
    return Ended(call, "refused", rest_ms, f"no token: {outcome.code}"[:200], jitter)

"""A destination as the engine knows it: its adapter, what carries its calls, and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol
from urllib.parse import urlsplit

from integrations.destinations import Destination
from integrations.insight_fields import steps_of
from integrations.mapping import MappedField
from integrations.outbound import registry
from integrations.outbound.abilities import Authorizing, Lookup, Polling
from integrations.outbound.contract import (
    Adapter,
    Capabilities,
    HttpCall,
    Outcome,
    Response,
    Verdict,
)
from integrations.outbound.errors import OptionsError, UnknownAdapterError
from integrations.outbound.http import HttpSender
from worker.destinations import is_stream
from worker.telemetry import logger

log = logger(__name__)

#: Longest rest that a destination may ask for: it must not park us.
REST_MAX_S: Final = 3600.0
_MARGIN_S: Final = 5.0
#: Code of what an adapter failed to read.
DEFECT: Final = "adapter"


def defect(error: Exception) -> Outcome:
    """An adapter broke its promise to raise nothing: its rows are tried again later."""
    log.error("an adapter failed", error=type(error).__name__)
    return Outcome(Verdict.RETRY, DEFECT, f"the adapter failed: {type(error).__name__}")


class Transport(Protocol):
    """What carries a call."""

    def send(self, call: HttpCall) -> Response:
        """Send it; raises TransportError when no answer came."""


@dataclass(frozen=True)
class Channel:
    """One destination.

    timeout_s       of one call
    windows         (calls, length [ms]) that hold at once
    daily_cap       calls a day (UTC); 0: any number
    gather_ms       of a digest: from the first row that waits until its call; 0: rows do not gather
    key             steps to the value of the insight by which the destination finds a customer
    fields          what goes where; empty: the whole insight
    """

    name: str
    adapter: Adapter
    transport: Transport
    timeout_s: float = 15.0
    coalesce_ms: int = 0
    coalesce_max_ms: int = 0
    concurrency: int = 4
    windows: tuple[tuple[int, int], ...] = ()
    daily_cap: int = 0
    gather_ms: int = 0
    key: tuple[str | int, ...] = ("customer_id",)
    fields: tuple[MappedField, ...] = ()

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the adapter takes: asked once, it is looked at for every row."""
        return self.adapter.capabilities

    @property
    def is_stream(self) -> bool:
        """It takes events, in order per customer."""
        return self.capabilities.is_stream

    @cached_property
    def looks_up(self) -> bool:
        """A record is looked up before it is written."""
        return isinstance(self.adapter, Lookup)

    @cached_property
    def authorizes(self) -> bool:
        """Calls carry a token that a call of its own gets."""
        return isinstance(self.adapter, Authorizing)

    @cached_property
    def polls(self) -> bool:
        """Calls begin jobs, which are asked about."""
        return isinstance(self.adapter, Polling)

    @property
    def lease_ms(self) -> int:
        """A claim is ours for more than twice the time that its calls may take."""
        calls = 2 if self.looks_up else 1
        return int(1000 * (2 * calls * self.timeout_s + _MARGIN_S))

    @property
    def longest_ms(self) -> int:
        """A call ends within the lease of its rows, and these are claimed after its permit."""
        return self.lease_ms + int(1000 * _MARGIN_S)


def channels_of(destinations: Sequence[Destination]) -> list[Channel]:
    """The channels of all destinations; one that cannot be made keeps no other from it."""
    channels = []
    for destination in destinations:
        try:
            channels.append(channel_of(destination))
        except (UnknownAdapterError, OptionsError) as error:
            reason = str(error)
            log.warning("destination cannot be used", destination=destination.name, reason=reason)
    return channels


def channel_of(destination: Destination) -> Channel:
    """The channel of a destination in the file.

    Raises UnknownAdapterError, OptionsError.
    """
    adapter = registry.build(destination.adapter, destination.options, destination.secrets)
    capabilities = adapter.capabilities
    if capabilities.is_stream != is_stream(destination):
        raise OptionsError(["send: an adapter takes events where this says so, and only there"])
    if not (destination.fields or capabilities.takes_whole or capabilities.is_stream):
        raise OptionsError(["fields: an adapter that holds fields needs at least one of them"])
    limits = destination.requests_per or capabilities.limits
    is_digest = capabilities.is_digest
    return Channel(
        name=destination.name,
        adapter=adapter,
        transport=_transport(destination),
        timeout_s=destination.timeout_s,
        # who is in a digest has waited with all others, and two calls at once would be two messages
        coalesce_ms=0 if is_digest else int(1000 * destination.coalesce_s),
        coalesce_max_ms=0 if is_digest else int(1000 * destination.coalesce_max_s),
        concurrency=1 if is_digest else destination.concurrency or capabilities.concurrency,
        gather_ms=int(1000 * capabilities.digest_s),
        windows=tuple(
            (shared(limit.requests, destination.reserve), int(1000 * limit.window_s))
            for limit in limits
        ),
        daily_cap=destination.daily_cap or 0,
        key=steps_of(destination.key),
        fields=destination.fields,
    )


def shared(requests: int, reserve: float) -> int:
    """Our part of a limit, when a share is left to the account's other programs; at least 1.

    >>> shared(190, 0.1), shared(3, 0.9)
    (171, 1)
    """
    return max(1, int(requests * (1.0 - reserve) + 1e-9))


def _transport(destination: Destination) -> Transport:
    """Private addresses are called only where the file names their host, and allows it."""
    texts = [value for value in destination.options.values() if isinstance(value, str)]
    texts += [one.get_secret_value() for each in destination.secrets.values() for one in each]
    hosts = {urlsplit(text).hostname or "" for text in texts if text.startswith("http")}
    trusted = frozenset(hosts - {""}) if destination.allow_private else frozenset()
    return HttpSender(trusted_hosts=trusted, deadline_s=destination.timeout_s)

"""An adapter under test: how it is built, what its vendor is, and what differs from the rule."""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Final

from pydantic import SecretStr

from integrations.outbound.abilities import Authorizing, Lookup, Polling
from integrations.outbound.contract import (
    Adapter,
    Credentials,
    HttpCall,
    Outcome,
    Response,
    Row,
    Verdict,
)
from integrations.outbound.registry import build
from integrations.outbound.suite.vendor import Vendor

GROUP: Final = "crm_reflex.adapter_kinds"
"""Entry points by which other packages put their adapters under the suite: name -> a `Kind`."""

NOW: Final = int(time.time())
"""Receivers compare signatures and tokens with this machine's clock."""


@dataclass(frozen=True)
class Kind:
    """One adapter under test.

    name         as registered
    options      of the adapter, given the vendor's URL
    secrets      option -> values
    vendor       makes the vendor
    fields       target field -> value, one of each type that the vendor knows
    stored       the same as the vendor keeps them
    key          of the n-th customer
    meaning      status -> verdict, where it differs from the shared table
    says_nothing a 2xx without a body is enough
    """

    name: str
    options: Callable[[str], dict[str, Any]]
    secrets: Mapping[str, Sequence[str]]
    vendor: Callable[[], Vendor]
    fields: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, Any] | None = None
    key: Callable[[int], str] = "c{}".format
    meaning: Mapping[int, Verdict] = field(default_factory=dict)
    says_nothing: bool = False

    @property
    def secret_texts(self) -> list[str]:
        """What may appear in no repr and no message."""
        return [secret for values in self.secrets.values() for secret in values]

    def adapter(self, url: str, **options: Any) -> Adapter:
        """The adapter of a vendor at a URL."""
        secrets = {n: [*map(SecretStr, values)] for n, values in self.secrets.items()}
        return build(self.name, self.options(url) | options, secrets)

    def row(self, n: int, **changes: Any) -> Row:
        """The n-th customer's row."""
        customer = f"c{n}"
        body = {"customer_id": customer, "insight_version": 7, "as_of": "2026-11-23T10:00:00Z"}
        raw = json.dumps(body).encode()
        row = Row(customer, self.key(n), self.fields, 7, f"msg_{n}", raw)
        return row._replace(**changes)

    def rows(self, count: int) -> list[Row]:
        """The first customers' rows."""
        return [self.row(n) for n in range(count)]


def kinds() -> dict[str, Kind]:
    """Those of other packages that are installed."""
    return {point.name: point.load() for point in entry_points(group=GROUP)}


@dataclass
class Pusher:
    """The engine in the small: token, look-up, call, job; one outcome per row at the end."""

    adapter: Adapter
    send: Callable[[HttpCall], Response]
    credentials: Credentials = field(default_factory=Credentials)
    at_s: int = NOW

    def push(self, rows: Sequence[Row]) -> dict[str, Outcome]:
        """Customer -> what became of the row."""
        self.authorize()
        cleared = self.adapter.capabilities.cleared
        rows = [row._replace(fields=cleared(row.fields)) for row in rows]
        if isinstance(self.adapter, Lookup):
            rows = [self._found(self.adapter, row) for row in rows]
        told: dict[str, Outcome] = {}
        most = self.adapter.capabilities.max_rows
        for batch in (rows[at : at + most] for at in range(0, len(rows), most)):
            outcomes = self._outcomes(batch)
            told |= {r.customer_id: o for r, o in zip(batch, outcomes, strict=True)}
        return told

    def authorize(self) -> None:
        """Get a token where there is none."""
        if isinstance(self.adapter, Authorizing) and not self.credentials.token:
            call = self.adapter.token_call(at_s=self.at_s)
            given = self.adapter.read_token(self.send(call), at_s=self.at_s)
            assert isinstance(given, Credentials), given
            self.credentials = given

    def _found(self, adapter: Lookup, row: Row) -> Row:
        call = adapter.lookup([row], credentials=self.credentials)
        (outcome,) = adapter.read_lookup([row], self.send(call), at_s=self.at_s)
        assert outcome.verdict is Verdict.OK, outcome
        return row._replace(vendor_id=outcome.vendor_id)

    def _outcomes(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        call = self.adapter.encode(rows, credentials=self.credentials, at_s=self.at_s)
        outcomes = self.adapter.classify(rows, self.send(call), at_s=self.at_s)
        if outcomes[0].verdict is not Verdict.ACCEPTED:
            return outcomes
        job = outcomes[0].job or ""
        assert isinstance(self.adapter, Polling)
        assert {outcome.job for outcome in outcomes} == {job}
        for _ in range(100):
            answer = self.send(self.adapter.poll(job, credentials=self.credentials))
            progress = self.adapter.read_poll(job, rows, answer, at_s=self.at_s)
            if progress.outcomes is not None:
                return progress.outcomes
            job = progress.job
        raise AssertionError("the job never ended")


def fragments(secret: str) -> set[str]:
    """A secret as it might slip out: as it is, in base64, without its prefix."""
    plain = {secret, secret.removeprefix("whsec_")}
    return plain | {b64encode(f"{secret}:".encode()).decode()}

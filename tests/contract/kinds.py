"""Every registered adapter with its vendor: what the shared suite needs to know of each."""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from integrations.outbound.abilities import Authorizing, Lookup, Polling
from integrations.outbound.contract import Adapter, Credentials, Outcome, Row, Verdict
from integrations.outbound.registry import build
from tests.vendors import bottle, hubspot, klaviyo, robots, salesforce, segment, webhook, zoho
from tests.vendors.server import Vendor

NOW = int(time.time())
"""Receivers compare signatures and tokens with this machine's clock."""


@dataclass(frozen=True)
class Kind:
    """One adapter under test.

    options      of the adapter, given the vendor's URL
    secrets      option -> values
    vendor       makes the vendor
    fields       target field -> value, one of each type that the vendor knows
    stored       the same as the vendor keeps them
    key          of the n-th customer
    meaning      status -> verdict, where it differs from the shared table
    says_nothing a 2xx without a body is enough
    """

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

    def adapter(self, name: str, url: str) -> Adapter:
        secrets = {n: [*map(SecretStr, values)] for n, values in self.secrets.items()}
        return build(name, self.options(url), secrets)

    def row(self, n: int, **changes: Any) -> Row:
        """The n-th customer's row."""
        customer = f"c{n}"
        body = {"customer_id": customer, "insight_version": 7, "as_of": "2026-11-23T10:00:00Z"}
        raw = json.dumps(body).encode()
        row = Row(customer, self.key(n), self.fields, 7, f"msg_{n}", raw)
        return row._replace(**changes)

    def rows(self, count: int) -> list[Row]:
        return [self.row(n) for n in range(count)]


@cache
def rsa_key() -> tuple[str, str]:
    """(private, public) PEM of a key that is made once for all tests."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def _email(n: int) -> str:
    return f"c{n}@example.com"


def _hubspot_with_properties() -> hubspot.HubSpot:
    vendor = hubspot.HubSpot()
    kinds = {"segment": "string", "alive": "number", "vip": "bool", "next": "date"}
    for name, kind in kinds.items():
        vendor.properties[name] = hubspot.definition(name, kind, "text")
    return vendor


CONFIGURATION = {404: Verdict.AUTH}
BATCH = {400: Verdict.SPLIT, 409: Verdict.SPLIT, 413: Verdict.SPLIT, 422: Verdict.SPLIT}
ROBOT_SECRETS = {"secret": [robots.SECRET]}
DIGEST = {"segment": "VIP", "alive": 0.5}

KINDS: dict[str, Kind] = {
    "standard_webhook": Kind(
        options=lambda url: {"url": f"{url}/hook"},
        secrets={"secrets": webhook.SECRETS},
        vendor=webhook.Endpoint,
        says_nothing=True,
    ),
    "bottlecrm": Kind(
        options=lambda url: {"base_url": url},
        secrets={"token": [bottle.TOKEN]},
        vendor=bottle.Bottle,
        fields={"segment": "VIP", "alive": 0.5, "vip": True, "next": "2026-12-01"},
        key=_email,
        meaning=CONFIGURATION,
    ),
    "hubspot": Kind(
        options=lambda url: {"base_url": url, "id_property": "email"},
        secrets={"token": [hubspot.TOKEN]},
        vendor=_hubspot_with_properties,
        fields={"segment": "VIP", "alive": 0.5, "vip": True, "next": "2026-12-01"},
        stored={"segment": "VIP", "alive": "0.5", "vip": "true", "next": "2026-12-01"},
        key=_email,
        meaning=CONFIGURATION | BATCH,
    ),
    "salesforce": Kind(
        options=lambda url: {
            "login_url": url,
            "external_id_field": "ExtId__c",
            "client_id": salesforce.CLIENT_ID,
        },
        secrets={"client_secret": [salesforce.CLIENT_SECRET]},
        vendor=salesforce.Salesforce,
        fields={
            "LastName": "Li",
            "Segment__c": "VIP",
            "Alive__c": 0.5,
            "Vip__c": True,
            "Next__c": "2026-12-01",
        },
        meaning=CONFIGURATION | BATCH,
    ),
    "klaviyo": Kind(
        options=lambda url: {"base_url": url, "max_rows": 300, "match": "email"},
        secrets={"api_key": [klaviyo.KEY]},
        vendor=klaviyo.Klaviyo,
        fields={"segment": "VIP", "alive": 0.5, "vip": True, "next": "2026-12-01", "buy": ["a"]},
        key=_email,
        meaning=CONFIGURATION | BATCH,
    ),
    "segment": Kind(
        options=lambda url: {"base_url": f"{url}/v1"},
        secrets={"write_key": [segment.WRITE_KEY]},
        vendor=segment.Segment,
        fields={"segment": "VIP", "alive": 0.5, "vip": True, "next": "2026-12-01", "buy": ["a"]},
        meaning=BATCH,
        says_nothing=True,
    ),
    "zoho": Kind(
        options=lambda url: {
            "accounts_url": url,
            "client_id": zoho.CLIENT_ID,
            "key_field": "Email",
        },
        secrets={"client_secret": [zoho.CLIENT_SECRET], "refresh_token": [zoho.REFRESH_TOKEN]},
        vendor=zoho.Zoho,
        fields={
            "Last_Name": "Li",
            "Segment": "VIP",
            "Alive": 0.5,
            "Vip": True,
            "Next": "2026-12-01",
        },
        key=_email,
        meaning=CONFIGURATION | BATCH,
    ),
    "wecom": Kind(
        options=lambda url: {"base_url": url},
        secrets={"key": [robots.KEY]},
        vendor=robots.WeCom,
        fields=DIGEST,
    ),
    "dingtalk": Kind(
        options=lambda url: {"base_url": url},
        secrets={"access_token": [robots.KEY], **ROBOT_SECRETS},
        vendor=robots.DingTalk,
        fields=DIGEST,
    ),
    "feishu": Kind(
        options=lambda url: {"base_url": url},
        secrets={"hook": [robots.KEY], **ROBOT_SECRETS},
        vendor=robots.Feishu,
        fields=DIGEST,
    ),
}


@dataclass
class Pusher:
    """The engine in the small: token, look-up, call, job; one outcome per row at the end."""

    adapter: Adapter
    send: Callable
    credentials: Credentials = field(default_factory=Credentials)
    at_s: int = NOW

    def push(self, rows: Sequence[Row]) -> dict[str, Outcome]:
        """Customer -> what became of the row."""
        self.authorize()
        cleared = self.adapter.capabilities.cleared
        rows = [row._replace(fields=cleared(row.fields)) for row in rows]
        if isinstance(self.adapter, Lookup):
            rows = [self._found(row) for row in rows]
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

    def _found(self, row: Row) -> Row:
        call = self.adapter.lookup([row], credentials=self.credentials)
        (outcome,) = self.adapter.read_lookup([row], self.send(call), at_s=self.at_s)
        assert outcome.verdict is Verdict.OK, outcome
        return row._replace(vendor_id=outcome.vendor_id)

    def _outcomes(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        call = self.adapter.encode(rows, credentials=self.credentials, at_s=self.at_s)
        outcomes = self.adapter.classify(rows, self.send(call), at_s=self.at_s)
        if outcomes[0].verdict is not Verdict.ACCEPTED:
            return outcomes
        job = outcomes[0].job
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

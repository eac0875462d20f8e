"""Any endpoint that speaks Standard Webhooks v1 (docs/adapters/standard_webhook.md).

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

row                      | request
------------------------ | ---------------------------------------------------
the insight, or the event | body.data
as_of, or the event's time | body.timestamp
"customer.insight.updated", or the event's name | body.type
delivery id              | header webhook-id
time of the attempt      | header webhook-timestamp
every secret in use      | header webhook-signature
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, SecretStr, field_validator
from pydantic_core import from_json, to_json

from integrations.outbound.contract import (
    Capabilities,
    Credentials,
    HttpCall,
    Limit,
    Matching,
    Outcome,
    Response,
    Row,
)
from integrations.outbound.errors import SecretError
from integrations.outbound.options import AdapterOptions
from integrations.outbound.signing import keys_of, signature_headers
from integrations.outbound.status import outcome_of_status

EVENT_TYPE: Final = "customer.insight.updated"


class Options(AdapterOptions):
    """Options of an endpoint.

    url      where to
    secrets  `whsec_...`, the newest first; each signs every request
    send     `insights`: the newest state; `events`: every change of segment, in order
    """

    url: str = Field(repr=False, min_length=1)
    secrets: tuple[SecretStr, ...] = Field(min_length=1)
    send: Literal["insights", "events"] = "insights"

    @field_validator("secrets")
    @classmethod
    def _can_sign(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        try:
            keys_of([secret.get_secret_value() for secret in secrets])
        except SecretError as error:
            raise ValueError(str(error)) from None
        return secrets


@dataclass(frozen=True, slots=True)
class StandardWebhook:
    """One endpoint; keys of all secrets in use, the newest first."""

    name: ClassVar[str] = "standard_webhook"
    options_type: ClassVar[type[AdapterOptions]] = Options

    url: str = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    is_stream: bool = False

    @classmethod
    def build(cls, options: Options) -> Self:
        """See `Buildable.build`."""
        keys = keys_of([secret.get_secret_value() for secret in options.secrets])
        return cls(options.url, keys, is_stream=options.send == "events")

    @property
    def capabilities(self) -> Capabilities:
        """See `Adapter.capabilities`."""
        return Capabilities(
            max_rows=1,
            max_bytes=1_048_576,
            matching=Matching.ALL_OR_NOTHING,
            limits=(Limit(100, 1.0),),
            concurrency=8,
            is_stream=self.is_stream,
            takes_whole=True,
        )

    def encode(self, rows: Sequence[Row], *, credentials: Credentials, at_s: int) -> HttpCall:
        """See `Adapter.encode`; takes one row, whose body goes out unchanged."""
        (row,) = rows
        time = _iso(row.occurred_s) if row.event else from_json(row.body)["as_of"]
        body = b'{"type":%b,"timestamp":%b,"data":%b}' % (
            to_json(row.event or EVENT_TYPE),
            to_json(time),
            row.body,
        )
        headers = {
            "content-type": "application/json",
            **signature_headers(self.keys, message_id=row.delivery_id, at_s=at_s, body=body),
        }
        return HttpCall(self.name, "POST", self.url, headers, body)

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`; the status alone decides, the body is not read."""
        return (outcome_of_status(response, at_s=at_s, rows=len(rows)),) * len(rows)


def _iso(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

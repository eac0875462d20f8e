"""Any endpoint that speaks Standard Webhooks v1 (docs/adapters/standard_webhook.md).

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

insight                  | request
------------------------ | ---------------------------------------------------
the whole insight        | body.data
insight.as_of            | body.timestamp
"customer.insight.updated" | body.type
delivery id              | header webhook-id
time of the attempt      | header webhook-timestamp
every secret in use      | header webhook-signature
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from pydantic_core import from_json, to_json

from integrations.outbound.contract import HttpCall, Outcome, outcome_of_status
from integrations.outbound.signing import keys_of, signature_headers

EVENT_TYPE: Final = "customer.insight.updated"


@dataclass(frozen=True, slots=True)
class StandardWebhook:
    """One endpoint; keys of all secrets in use, the newest first."""

    name: ClassVar[str] = "standard_webhook"
    max_rows: ClassVar[int] = 1

    url: str = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def build(cls, url: str, secrets: Sequence[str]) -> Self:
        """An endpoint from its settings; raise SecretError if a secret is malformed or absent."""
        return cls(url, keys_of(secrets))

    def encode(self, rows: Sequence[bytes], *, delivery_id: str, at_s: int) -> HttpCall:
        """See `Adapter.encode`; takes one row, whose bytes go out unchanged."""
        (insight,) = rows
        as_of = from_json(insight)["as_of"]
        body = b'{"type":"%b","timestamp":%b,"data":%b}' % (
            EVENT_TYPE.encode(),
            to_json(as_of),
            insight,
        )
        headers = {
            "content-type": "application/json",
            **signature_headers(self.keys, message_id=delivery_id, at_s=at_s, body=body),
        }
        return HttpCall(adapter=self.name, method="POST", url=self.url, headers=headers, body=body)

    def classify(
        self, status: int, headers: Mapping[str, str], _body: bytes, /, *, rows: int, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`; the status alone decides, the body is not read."""
        return (outcome_of_status(status, headers, at_s=at_s),) * rows

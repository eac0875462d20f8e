"""Segment's HTTP tracking API, and all that speak it (docs/adapters/segment.md).

Sources: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/,
https://segment.com/docs/connections/spec/identify/, .../spec/track/

row                     | request
----------------------- | -----------------------------------------------------------
key                     | batch[].userId
delivery id             | batch[].messageId: repeats are dropped by it
fields                  | batch[].traits of an identify; null clears
event, occurred_s       | batch[].event, batch[].timestamp of a track
body                    | batch[].properties of a track
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Self

from pydantic import SecretStr
from pydantic_core import from_json

from integrations.ours import LIBRARY
from integrations.outbound.answers import compact, document, mapping
from integrations.outbound.contract import (
    Capabilities,
    Credentials,
    HttpCall,
    Limit,
    Matching,
    Outcome,
    Response,
    Row,
    Verdict,
)
from integrations.outbound.options import AdapterOptions, BaseUrl
from integrations.outbound.status import outcome_of_status


class Options(AdapterOptions):
    """Options of a source.

    write_key  of the source
    base_url   `https://events.eu1.segmentapis.com/v1` in the EU; RudderStack's data plane and `/v1`
    send       `insights`: the newest state by identify; `events`: changes of segment by track
    """

    write_key: SecretStr
    base_url: BaseUrl = "https://api.segment.io/v1"
    send: Literal["insights", "events"] = "insights"


@dataclass(frozen=True, slots=True)
class Segment:
    """One source."""

    name: ClassVar[str] = "segment"
    options_type: ClassVar[type[AdapterOptions]] = Options

    options: Options = field(repr=False)

    @classmethod
    def build(cls, options: Options) -> Self:
        """See `Buildable.build`."""
        return cls(options)

    @property
    def capabilities(self) -> Capabilities:
        """See `Adapter.capabilities`."""
        return Capabilities(
            max_rows=2500,
            max_bytes=500_000,
            max_row=32_000,
            matching=Matching.ALL_OR_NOTHING,
            limits=(Limit(1000, 1.0),),
            concurrency=8,
            is_stream=self.options.send == "events",
        )

    def encode(self, rows: Sequence[Row], *, credentials: Credentials, at_s: int) -> HttpCall:
        """See `Adapter.encode`."""
        key = b64encode(f"{self.options.write_key.get_secret_value()}:".encode()).decode()
        headers = {"authorization": f"Basic {key}", "content-type": "application/json"}
        body = compact({"batch": [_message(row) for row in rows]})
        return HttpCall(self.name, "POST", f"{self.options.base_url}/batch", headers, body)

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`: Segment takes events first and judges them later, unseen."""
        outcome = outcome_of_status(response, at_s=at_s, rows=len(rows))
        answer = mapping(document(response))
        if outcome.verdict is Verdict.OK and False in (answer.get("success"), answer.get("ok")):
            outcome = Outcome(Verdict.RETRY, "not_taken", "the answer says that it failed")
        return (outcome,) * len(rows)


def _message(row: Row) -> dict[str, Any]:
    context = {"library": {"name": LIBRARY}}
    common = {"messageId": row.delivery_id, "userId": row.key, "context": context}
    if not row.event:
        return {"type": "identify", **common, "traits": dict(row.fields)}
    return {
        "type": "track",
        **common,
        "event": row.event,
        "timestamp": datetime.fromtimestamp(row.occurred_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "properties": from_json(row.body),
    }

"""How vendors' requests and answers look to the vendor that does harm."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from integrations.outbound.suite import vendor as suite


class Item(NamedTuple):
    """One row as a vendor reads it."""

    key: str
    fields: Mapping[str, Any]
    trace: str = ""


class Answer(NamedTuple):
    """What a vendor says."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Dialect(Protocol):
    """How one vendor's requests and answers look."""

    def token(self, path: str, body: bytes) -> Answer | None:
        """The answer to a request for a token; None if this is none."""

    def items(self, path: str, headers: Mapping[str, str], body: bytes) -> list[Item]:
        """The rows of a request."""

    def answer(self, items: Sequence[Item], stored: Sequence[bool]) -> Answer:
        """What is said of rows that were stored, and of those that were refused for now."""

    def throttled(self) -> Answer:
        """The vendor's own words for too many requests."""

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        """Is the token one that was given, and not taken back?"""

    def expire(self) -> None:
        """Take the token back."""


class Tokenless:
    """A vendor whose secret does not end."""

    def token(self, _path: str, _body: bytes) -> Answer | None:
        return None

    def is_authorized(self, _headers: Mapping[str, str]) -> bool:
        return True

    def expire(self) -> None:
        """It has no token."""

    def throttled(self) -> Answer:
        return Answer(429)


class Webhook(Tokenless):
    """A Standard Webhooks endpoint: the version of a customer's insight is its only field."""

    def items(self, _path: str, headers: Mapping[str, str], body: bytes) -> list[Item]:
        data = json.loads(body)["data"]
        return [
            Item(data["customer_id"], {"version": data["insight_version"]}, headers["webhook-id"])
        ]

    def answer(self, _items: Sequence[Item], stored: Sequence[bool]) -> Answer:
        return Answer(204 if all(stored) else 503)


class Events(Webhook):
    """The same, of every event in order; the version of an event is its number."""


class HubSpot(Tokenless):
    """Contacts by batch upsert: trace ids name the rows, 207 says that not all went well."""

    def items(self, _path: str, _headers: Mapping[str, str], body: bytes) -> list[Item]:
        return [
            Item(one["id"], one["properties"], one["objectWriteTraceId"])
            for one in json.loads(body)["inputs"]
        ]

    def answer(self, items: Sequence[Item], stored: Sequence[bool]) -> Answer:
        pairs = list(zip(items, stored, strict=True))
        results = [_hubspot_contact(item) for item, ok in pairs if ok]
        errors = [_hubspot_error(item) for item, ok in pairs if not ok]
        times = {"startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:00:01Z"}
        answer: dict[str, Any] = {"status": "COMPLETE", "results": results[::-1], **times}
        if errors:
            answer |= {"numErrors": len(errors), "errors": errors}
        return Answer(207 if errors else 200, _json(answer), JSON)

    def throttled(self) -> Answer:
        said = {
            "status": "error",
            "category": "RATE_LIMITS",
            "errorType": "RATE_LIMIT",
            "policyName": "TEN_SECONDLY_ROLLING",
            "message": "You have reached your ten_secondly_rolling limit.",
            "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
        }
        return Answer(429, _json(said), JSON)


@dataclass
class Salesforce:
    """Collections by external id: results in the order of the rows, throttling is a 403."""

    url: str = ""
    tokens: int = 0
    issued: int = 0

    def token(self, path: str, _body: bytes) -> Answer | None:
        if not path.startswith("/services/oauth2/token"):
            return None
        self.tokens += 1
        self.issued += 1
        said = {
            "access_token": f"token-{self.tokens}",
            "instance_url": self.url,
            "id": f"{self.url}/id/00D/005",
            "token_type": "Bearer",
            "issued_at": "1795428892000",
            "signature": "c2ln",
        }
        return Answer(200, _json(said), JSON)

    def items(self, path: str, _headers: Mapping[str, str], body: bytes) -> list[Item]:
        by = path.partition("?")[0].rsplit("/", 1)[1]
        return [
            Item(one[by], {k: v for k, v in one.items() if k not in {by, "attributes"}})
            for one in json.loads(body)["records"]
        ]

    def answer(self, items: Sequence[Item], stored: Sequence[bool]) -> Answer:
        lock = {
            "statusCode": "UNABLE_TO_LOCK_ROW",
            "message": "unable to obtain exclusive access to this record",
            "fields": [],
        }
        said = [
            {"id": f"003{n:015d}", "success": True, "created": False, "errors": []}
            if ok
            else {"success": False, "errors": [lock]}
            for n, ok in enumerate(stored)
        ]
        return Answer(200, _json(said), JSON)

    def throttled(self) -> Answer:
        said = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]
        return Answer(403, _json(said), JSON)

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        return headers.get("authorization") == f"Bearer token-{self.tokens}"

    def expire(self) -> None:
        """The next token has another number."""
        self.tokens += 1


class Kept(Tokenless):
    """A vendor of the contract suite, with its own answers: look-ups, jobs.

    keys  of the customers that a request writes
    """

    def __init__(
        self, vendor: suite.Vendor, keys: Callable[[suite.Vendor, suite.Request], list[str]]
    ) -> None:
        vendor._server.server_close()  # it is asked here, not on its own port
        self.vendor = vendor
        self.keys = keys

    def act(self, request: suite.Request) -> Answer:
        """What the vendor does and says."""
        reply = self.vendor.answer(request)
        return Answer(reply.status, reply.raw, {"content-type": self.vendor.content_type})


def emails_of_bottle(vendor: Any, request: suite.Request) -> list[str]:
    """A contact that is created names its email, one that is changed its id."""
    if request.method == "POST":
        return [request.json["email"]]
    contact = request.path.rstrip("/").rsplit("/", 1)[1]
    return [email for email, one in vendor.ids.items() if one == contact]


def ids_of_klaviyo(_vendor: Any, request: suite.Request) -> list[str]:
    """The profiles of a job that is begun."""
    if request.method != "POST":
        return []
    profiles = request.json["data"]["attributes"]["profiles"]["data"]
    return [one["attributes"]["external_id"] for one in profiles]


JSON = {"content-type": "application/json"}


def _hubspot_contact(item: Item) -> dict[str, Any]:
    return {
        "id": str(abs(hash(item.key)) % 10**9),
        "new": False,
        "properties": dict(item.fields),
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "archived": False,
        "objectWriteTraceId": item.trace,
    }


def _hubspot_error(item: Item) -> dict[str, Any]:
    return {
        "status": "error",
        "category": "INTERNAL_ERROR",
        "message": "the record could not be written for now",
        "context": {"objectWriteTraceId": [item.trace]},
        "errors": [],
        "links": {},
    }


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()

"""Salesforce: upsert of up to 200 records by an external id (docs/adapters/salesforce.md).

Sources: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/
resources_composite_sobjects_collections_upsert.htm, .../errorcodes.htm, .../headers_api_usage.htm,
tokens: `integrations.outbound.salesforce_token`, fields: `integrations.outbound.salesforce_fields`

row             | request
--------------- | -------------------------------------------------------------------
key             | records[].<external_id_field>
fields          | records[].<field>; null clears, a list becomes text with semicolons
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self

from pydantic import JsonValue

from integrations.outbound.abilities import Difference, FieldSpec
from integrations.outbound.answers import UNMENTIONED, compact, document, mapping, sequence, text
from integrations.outbound.contract import (
    Capabilities,
    Credentials,
    HttpCall,
    Matching,
    Outcome,
    Response,
    Row,
    Verdict,
)
from integrations.outbound.options import AdapterOptions
from integrations.outbound.salesforce_fields import creations, differences_of
from integrations.outbound.salesforce_token import Options, read_token, token_call
from integrations.outbound.status import outcome_of_status

_AGAIN: Final = frozenset({
    "UNABLE_TO_LOCK_ROW",
    "SERVER_UNAVAILABLE",
    "REQUEST_RUNNING_TOO_LONG",
    "QUERY_TIMEOUT",
    "UNKNOWN_EXCEPTION",
    "PROCESSING_HALTED",
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
})  # fmt: skip
_LIMITS: Final = frozenset({"REQUEST_LIMIT_EXCEEDED", "TXN_SECURITY_METERING_ERROR"})
_NOBODY_CAN_PASS: Final = frozenset({"INVALID_FIELD", "INVALID_TYPE", "NOT_FOUND"})
"""Whole calls refused for what every call has: they wait until a human has mended it."""

_REST_S: Final = 900.0
"""The quota is of a rolling day: after so long there is some room again."""


@dataclass(frozen=True, slots=True)
class Salesforce:
    """One org."""

    name: ClassVar[str] = "salesforce"
    options_type: ClassVar[type[AdapterOptions]] = Options

    options: Options = field(repr=False)

    @classmethod
    def build(cls, options: Options) -> Self:
        """See `Buildable.build`."""
        return cls(options)

    @property
    def capabilities(self) -> Capabilities:
        """See `Adapter.capabilities`; the limit is a quota of the day, told by every answer."""
        return Capabilities(
            max_rows=200, max_bytes=6_000_000, matching=Matching.POSITION, concurrency=4
        )

    def token_call(self, *, at_s: int) -> HttpCall:
        """See `Authorizing.token_call`."""
        return token_call(self.name, self.options, at_s=at_s)

    def read_token(self, response: Response, *, at_s: int) -> Credentials | Outcome:
        """See `Authorizing.read_token`."""
        return read_token(response, at_s=at_s)

    def encode(self, rows: Sequence[Row], *, credentials: Credentials, at_s: int) -> HttpCall:
        """See `Adapter.encode`."""
        key = self.options.external_id_field
        attributes = {"type": self.options.object}
        body = {
            "allOrNone": False,
            "records": [{"attributes": attributes, **_values(row), key: row.key} for row in rows],
        }
        path = f"composite/sobjects/{self.options.object}/{key}"
        return self._call("PATCH", path, credentials, compact(body))

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`: the n-th result is of the n-th record."""
        answer = document(response)
        if not 200 <= response.status < 300:
            return (_refused(response, answer, at_s=at_s, rows=len(rows)),) * len(rows)
        results = sequence(answer)
        rest_s = self._rest_s(response.headers)
        if len(results) != len(rows):  # then no position can be trusted
            return (UNMENTIONED,) * len(rows)
        return tuple(_of_record(mapping(one), rest_s) for one in results)

    def schema_call(self, fields: Sequence[FieldSpec], *, credentials: Credentials) -> HttpCall:
        """See `Schema.schema_call`."""
        return self._call("GET", f"sobjects/{self.options.object}/describe", credentials, b"")

    def differences(
        self, fields: Sequence[FieldSpec], response: Response, *, at_s: int
    ) -> tuple[Difference, ...] | Outcome:
        """See `Schema.differences`."""
        answer = document(response)
        if response.status != 200:
            return _refused(response, answer, at_s=at_s, rows=1)
        described = sequence(mapping(answer).get("fields"))
        return differences_of(self.options, fields, described) if described else UNMENTIONED

    def create_calls(
        self, missing: Sequence[Difference], *, credentials: Credentials
    ) -> tuple[HttpCall, ...]:
        """See `Schema.create_calls`: one call a field, then one a permission."""
        return tuple(
            self._call("POST", path, credentials, compact(record))
            for path, record in creations(self.options, [one.field for one in missing])
        )

    def read_created(self, response: Response, *, at_s: int) -> Outcome:
        """See `Schema.read_created`."""
        answer = document(response)
        if response.status == 201 and mapping(answer).get("success") is True:
            return Outcome(Verdict.OK, "created")
        refused = _refused(response, answer, at_s=at_s, rows=1)
        return UNMENTIONED if refused.verdict is Verdict.OK else refused

    def _call(self, method: str, path: str, credentials: Credentials, body: bytes) -> HttpCall:
        headers = {"authorization": f"Bearer {credentials.token}", "accept": "application/json"}
        if body:
            headers["content-type"] = "application/json"
        url = f"{credentials.base_url}/services/data/v{self.options.version}/{path}"
        return HttpCall(self.name, method, url, headers, body, max_answer=8_388_608)

    def _rest_s(self, headers: Mapping[str, str]) -> float | None:
        """Rest where the org has used its share of the day's calls: other programs need some."""
        usage = headers.get("sforce-limit-info", "").partition("api-usage=")[2]
        used, _, most = usage.partition(";")[0].partition(",")[0].partition("/")
        if not (used.isdecimal() and most.isdecimal()) or int(most) == 0:
            return None
        return _REST_S if int(used) >= self.options.stop_at * int(most) else None


def _values(row: Row) -> dict[str, JsonValue]:
    """Fields as Salesforce takes them: those of multi-select picklists joined by semicolons."""
    return {
        name: ";".join(map(str, value)) if isinstance(value, list) else value
        for name, value in row.fields.items()
    }


def _of_record(result: Mapping[str, Any], rest_s: float | None) -> Outcome:
    if result.get("success") is True and text(result.get("id")):
        return Outcome(Verdict.OK, "written", "", rest_s, vendor_id=text(result.get("id")))
    errors = [mapping(one) for one in sequence(result.get("errors"))]
    if not errors:
        return UNMENTIONED
    codes = [text(one.get("statusCode")) for one in errors]
    detail = "; ".join(text(one.get("message")) for one in errors)
    verdict = Verdict.PERMANENT
    if any(code in _LIMITS for code in codes):
        return Outcome(Verdict.THROTTLED, codes[0], detail, _REST_S)
    if all(code in _AGAIN for code in codes):
        verdict = Verdict.RETRY
    return Outcome(verdict, codes[0] or "error", detail, rest_s)


def _refused(response: Response, answer: Any, *, at_s: int, rows: int) -> Outcome:
    """What an error status says of every record; a spent quota is a 403."""
    first = mapping(next(iter(sequence(answer)), None))
    code, detail = text(first.get("errorCode")), text(first.get("message"))
    plain = outcome_of_status(response, at_s=at_s, rows=rows)
    verdict, wait_s = plain.verdict, plain.retry_after_s
    if code in _LIMITS:
        verdict, wait_s = Verdict.THROTTLED, wait_s or _REST_S
    elif code in _NOBODY_CAN_PASS or response.status == 404:
        verdict = Verdict.AUTH
    return Outcome(verdict, code or plain.code, detail, wait_s)

"""HubSpot CRM: batch upsert of contacts or of another object type (docs/adapters/hubspot.md).

Sources: https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/batch/
post-crm-v3-objects-contacts-batch-upsert, .../docs/api-reference/error-handling,
.../docs/developer-tooling/platform/usage-guidelines

row             | request
--------------- | -------------------------------------------------------------------
key             | inputs[].id, found by inputs[].idProperty = option `id_property`
delivery id     | inputs[].objectWriteTraceId: turns on an outcome per input (207)
fields          | inputs[].properties, every value as text; "" clears
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Final, Self

from pydantic import Field, JsonValue, SecretStr

from integrations.outbound.abilities import Difference, FieldSpec, FieldType
from integrations.outbound.answers import (
    MAX_KEY,
    UNMENTIONED,
    compact,
    document,
    mapping,
    sequence,
    text,
)
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
from integrations.outbound.options import FIELD_NAME, AdapterOptions, BaseUrl
from integrations.outbound.retry_after import LONGEST_S, rest_s, retry_after_s
from integrations.outbound.status import outcome_of_status

_TYPES: Final[dict[FieldType, tuple[str, str]]] = {
    FieldType.TEXT: ("string", "text"),
    FieldType.LIST: ("string", "text"),
    FieldType.NUMBER: ("number", "number"),
    FieldType.INTEGER: ("number", "number"),
    FieldType.BOOLEAN: ("bool", "booleancheckbox"),
    FieldType.DATE: ("date", "date"),
    FieldType.DATETIME: ("datetime", "date"),
}
"""Ours -> HubSpot's type and how it is shown."""

_YES_OR_NO: Final[JsonValue] = [
    {"label": "Yes", "value": "true", "hidden": False},
    {"label": "No", "value": "false", "hidden": False},
]
"""HubSpot wants exactly these two of a boolean property."""

_VERDICTS: Final = {
    "RATE_LIMITS": Verdict.THROTTLED,
    "RATE_LIMIT": Verdict.THROTTLED,
    "INTERNAL_ERROR": Verdict.RETRY,
    "SERVICE_UNAVAILABLE": Verdict.RETRY,
    "INVALID_AUTHENTICATION": Verdict.AUTH,
    "EXPIRED_AUTHENTICATION": Verdict.AUTH,
    "MISSING_SCOPES": Verdict.AUTH,
    "BANNED": Verdict.AUTH,
}
"""Categories of an error; all others are permanent."""

_MOVING: Final = 477  # the account is being moved between data centers
_LONGEST_WINDOW_S: Final = 600.0
_ANSWER: Final = 2_097_152  # an answer repeats every property of every contact


class Options(AdapterOptions):
    """Options of a HubSpot account.

    token         of a private app, with scopes of contacts and of their schema
    id_property   unique property that a row's key is the value of: `email`, or one of your own
    version       `v3`, or a dated version such as `2026-03`
    object_type   what is written
    requests_per_10s  100 (Free, Starter), 190 (Professional, Enterprise), 110 (OAuth app)
    property_group    where properties that we create are shown
    """

    token: SecretStr
    id_property: str = Field(pattern=FIELD_NAME)
    version: str = Field("v3", pattern=r"^(v3|[0-9]{4}-[0-9]{2})$")
    object_type: str = Field("contacts", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    requests_per_10s: int = Field(100, ge=1, le=1000)
    property_group: str = Field("contactinformation", pattern=FIELD_NAME)
    base_url: BaseUrl = "https://api.hubapi.com"


@dataclass(frozen=True, slots=True)
class HubSpot:
    """One account."""

    name: ClassVar[str] = "hubspot"
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
            max_rows=100,
            max_bytes=3_000_000,
            matching=Matching.KEY,
            limits=(Limit(self.options.requests_per_10s, 10.0),),
            concurrency=4,
            clear_value="",
        )

    def encode(self, rows: Sequence[Row], *, credentials: Credentials, at_s: int) -> HttpCall:
        """See `Adapter.encode`."""
        inputs = [
            {
                "id": row.key,
                "idProperty": self.options.id_property,
                "objectWriteTraceId": row.delivery_id,
                "properties": {name: _as_text(value) for name, value in row.fields.items()},
            }
            for row in rows
        ]
        return self._post("objects", "batch/upsert", {"inputs": inputs})

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`: results and errors are matched by trace id, else by key."""
        if not 200 <= response.status < 300:
            return (_refused(response, at_s=at_s, rows=len(rows)),) * len(rows)
        answer = mapping(document(response))
        told = self._results(answer) | _errors(answer)
        outcomes = (told.get(row.delivery_id) or told.get(row.key.casefold()) for row in rows)
        return tuple(outcome or UNMENTIONED for outcome in outcomes)

    def schema_call(self, fields: Sequence[FieldSpec], *, credentials: Credentials) -> HttpCall:
        """See `Schema.schema_call`."""
        names = [{"name": name} for name in (self.options.id_property, *_names(fields))]
        body = {"archived": False, "dataSensitivity": "non_sensitive", "inputs": names}
        return self._post("properties", "batch/read", body)

    def differences(
        self, fields: Sequence[FieldSpec], response: Response, *, at_s: int
    ) -> tuple[Difference, ...] | Outcome:
        """See `Schema.differences`."""
        if response.status not in {200, 207}:
            return _refused(response, at_s=at_s, rows=1)
        answer = mapping(document(response))
        if "results" not in answer:
            return UNMENTIONED
        found = {
            text(one.get("name")): one for one in map(mapping, sequence(answer.get("results")))
        }
        key = FieldSpec(self.options.id_property, FieldType.TEXT, "crm-reflex id")
        lacking = [_difference(one, found.get(one.name)) for one in fields]
        return tuple(one for one in (_key_difference(key, found), *lacking) if one is not None)

    def create_calls(
        self, missing: Sequence[Difference], *, credentials: Credentials
    ) -> tuple[HttpCall, ...]:
        """See `Schema.create_calls`."""
        inputs = []
        for spec in (difference.field for difference in missing):
            kind, shown = _TYPES[spec.type]
            made: dict[str, JsonValue] = {
                "name": spec.name,
                "label": spec.label,
                "groupName": self.options.property_group,
                "type": kind,
                "fieldType": shown,
            }
            if kind == "bool":
                made["options"] = _YES_OR_NO
            if spec.name == self.options.id_property:
                made["hasUniqueValue"] = True
            inputs.append(made)
        chunks = [inputs[at : at + 100] for at in range(0, len(inputs), 100)]
        return tuple(self._post("properties", "batch/create", {"inputs": one}) for one in chunks)

    def read_created(self, response: Response, *, at_s: int) -> Outcome:
        """See `Schema.read_created`."""
        answer = mapping(document(response))
        if response.status == 201 and sequence(answer.get("results")):
            return Outcome(Verdict.OK, "created")
        if 200 <= response.status < 300:
            details = [text(one.get("message")) for one in map(mapping, _list(answer, "errors"))]
            return Outcome(Verdict.PERMANENT, "not_created", "; ".join(details))
        return _refused(response, at_s=at_s, rows=1)

    def _post(self, api: str, action: str, body: Mapping[str, Any]) -> HttpCall:
        version, kind = self.options.version, self.options.object_type
        place = f"{version}/{api}" if version == "v3" else f"{api}/{version}"
        headers = {
            "authorization": f"Bearer {self.options.token.get_secret_value()}",
            "content-type": "application/json",
        }
        url = f"{self.options.base_url}/crm/{place}/{kind}/{action}"
        return HttpCall(self.name, "POST", url, headers, compact(body), max_answer=_ANSWER)

    def _results(self, answer: Mapping[str, Any]) -> dict[str, Outcome]:
        told: dict[str, Outcome] = {}
        for one in map(mapping, _list(answer, "results")):
            outcome = Outcome(Verdict.OK, "written", vendor_id=text(one.get("id")) or None)
            trace = text(one.get("objectWriteTraceId"))
            properties = mapping(one.get("properties"))
            key = text(properties.get(self.options.id_property), most=MAX_KEY).casefold()
            told |= {name: outcome for name in (trace or key,) if name}
        return told


def _errors(answer: Mapping[str, Any]) -> dict[str, Outcome]:
    told: dict[str, Outcome] = {}
    for one in map(mapping, _list(answer, "errors")):
        context = mapping(one.get("context"))
        category = text(one.get("category"))
        verdict = _VERDICTS.get(category, Verdict.PERMANENT)
        outcome = Outcome(verdict, category or "error", text(one.get("message")))
        named = _list(context, "objectWriteTraceId") or [
            *_list(context, "ids"),
            *_list(context, "id"),
        ]
        for name in (text(each, most=MAX_KEY) for each in named):
            told |= {name: outcome, name.casefold(): outcome}
    return told


def _refused(response: Response, *, at_s: int, rows: int) -> Outcome:
    """What an error status says of every row of the call."""
    answer = mapping(document(response))
    code, detail = text(answer.get("category")), text(answer.get("message"))
    plain = outcome_of_status(response, at_s=at_s, rows=rows)
    if response.status in {429, _MOVING}:
        wait_s = _wait_s(response, at_s)
        if answer.get("policyName") == "DAILY":
            wait_s = LONGEST_S
        policy = text(answer.get("policyName")) or code or plain.code
        return Outcome(Verdict.THROTTLED, policy, detail, wait_s)
    no_property = response.status == 400 and b"PROPERTY_DOESNT_EXIST" in response.body
    if response.status == 404 or no_property:
        return Outcome(Verdict.AUTH, code or plain.code, detail)  # no row can go until it is mended
    return Outcome(plain.verdict, code or plain.code, detail, plain.retry_after_s)


def _wait_s(response: Response, at_s: int) -> float | None:
    """The rest that is asked for, else the window of the limit that was met.

    Retry-After counts seconds. Under 429 it may count milliseconds: where it is longer than the
    window that the answer names, or than any but the day's, which is told by its name.
    """
    headers = response.headers
    if response.status == _MOVING:
        return rest_s(headers, at_s=at_s)
    interval = headers.get("x-hubspot-ratelimit-interval-milliseconds", "")
    window_s = retry_after_s({"retry-after": interval}, at_s=at_s, milliseconds=True)
    given_s = retry_after_s(headers, at_s=at_s)
    if given_s is not None and given_s > (window_s or _LONGEST_WINDOW_S):
        return retry_after_s(headers, at_s=at_s, milliseconds=True)
    asked_s = rest_s(headers, at_s=at_s)
    return window_s if asked_s is None else asked_s


def _as_text(value: JsonValue) -> str:
    """A property's value: HubSpot takes text alone; options of a list are joined by semicolons."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ";".join(map(_as_text, value))
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"  # HubSpot takes no exponents
    return value if isinstance(value, str) else compact(value).decode()


def _difference(spec: FieldSpec, found: Mapping[str, Any] | None) -> Difference | None:
    wanted, _ = _TYPES[spec.type]
    if found is None:
        return Difference(spec, f"no such property; it would be created as {wanted}", True)
    kind = text(found.get("type"))
    if kind not in {wanted, "string"} and not (wanted == "string" and kind == "enumeration"):
        return Difference(spec, f"the property is of type {kind}, {wanted} is sent", False)
    return None


def _key_difference(key: FieldSpec, found: Mapping[str, Mapping[str, Any]]) -> Difference | None:
    if key.name == "email":
        return None
    if key.name not in found:
        return Difference(key, "no such property; it would be created with unique values", True)
    if found[key.name].get("hasUniqueValue") is not True:
        return Difference(key, "the property has no unique values, and can't be given them", False)
    return None


def _names(fields: Sequence[FieldSpec]) -> list[str]:
    return [spec.name for spec in fields]


def _list(answer: Mapping[str, Any], name: str) -> Sequence[Any]:
    return sequence(answer.get(name))

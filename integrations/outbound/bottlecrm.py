"""BottleCRM (package django-crm): look a contact up, then write it (docs/adapters/bottlecrm.md).

Source: https://github.com/MicroPyramid/Django-CRM, its OpenAPI document `/schema/`

row             | request
--------------- | -------------------------------------------------------------------
key             | email of the contact: there is no upsert
fields          | custom_fields.<key>; null clears, fields that are absent stay
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote, urlencode

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
from integrations.outbound.options import AdapterOptions, BaseUrl
from integrations.outbound.status import outcome_of_status

_TYPES: Final[dict[FieldType, str]] = {
    FieldType.TEXT: "text",
    FieldType.LIST: "text",
    FieldType.NUMBER: "number",
    FieldType.INTEGER: "number",
    FieldType.BOOLEAN: "checkbox",
    FieldType.DATE: "date",
    FieldType.DATETIME: "text",
}
_TEXTS: Final = frozenset({"text", "textarea", "dropdown"})
_TAKEN: Final = re.compile(r"already exists|unique", re.IGNORECASE)
_ANSWER: Final = 2_097_152  # a page of contacts comes with every choice of the form


class Options(AdapterOptions):
    """Options of an organization.

    token       personal access token with contacts:read and contacts:write; fields that are to
                be created need one of an administrator
    create      create contacts that are not there yet
    first_name, last_name   of contacts that are created: the CRM wants both
    """

    base_url: BaseUrl
    token: SecretStr
    create: bool = True
    first_name: str = Field("-", min_length=1, max_length=255)
    last_name: str = Field("-", min_length=1, max_length=255)
    requests_per_s: int = Field(10, ge=1, le=1000)


@dataclass(frozen=True, slots=True)
class BottleCRM:
    """One organization."""

    name: ClassVar[str] = "bottlecrm"
    options_type: ClassVar[type[AdapterOptions]] = Options

    options: Options = field(repr=False)

    @classmethod
    def build(cls, options: Options) -> Self:
        """See `Buildable.build`."""
        return cls(options)

    @property
    def capabilities(self) -> Capabilities:
        """See `Adapter.capabilities`; the CRM states no limit, ours spares a small server."""
        return Capabilities(
            max_rows=1,
            max_bytes=1_000_000,
            matching=Matching.ALL_OR_NOTHING,
            limits=(Limit(self.options.requests_per_s, 1.0),),
            concurrency=2,
        )

    def lookup(self, rows: Sequence[Row], *, credentials: Credentials) -> HttpCall:
        """See `Lookup.lookup`."""
        (row,) = rows
        query = urlencode({"email": row.key, "limit": 100})
        return self._call("GET", f"contacts/?{query}", b"")

    def read_lookup(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Lookup.read_lookup`: the filter finds parts of emails, so ours is picked out."""
        (row,) = rows
        answer = mapping(document(response))
        if response.status != 200:
            return (_refused(response, at_s=at_s),)
        found = [mapping(one) for one in sequence(answer.get("results"))]
        if not isinstance(answer.get("results"), list):
            return (UNMENTIONED,)
        ours = [
            one
            for one in found
            if text(one.get("email"), most=MAX_KEY).casefold() == row.key.casefold()
        ]
        if ours:
            return (Outcome(Verdict.OK, "found", vendor_id=text(ours[0].get("id"))),)
        total = answer.get("count")
        if isinstance(total, int) and total > len(found):
            return (Outcome(Verdict.PERMANENT, "ambiguous", "too many emails contain this one"),)
        if not self.options.create:
            return (Outcome(Verdict.PERMANENT, "no_contact", "the CRM has no such contact"),)
        return (Outcome(Verdict.OK, "absent", vendor_id=""),)

    def encode(self, rows: Sequence[Row], *, credentials: Credentials, at_s: int) -> HttpCall:
        """See `Adapter.encode`: changes a contact that was found, creates one that was not."""
        (row,) = rows
        fields: dict[str, JsonValue] = {name: _value(value) for name, value in row.fields.items()}
        if row.vendor_id:
            body: dict[str, JsonValue] = {"custom_fields": fields}
            return self._call("PATCH", f"contacts/{quote(row.vendor_id, safe='')}/", compact(body))
        contact = {
            "first_name": self.options.first_name,
            "last_name": self.options.last_name,
            "email": row.key,
            "custom_fields": fields,
        }
        return self._call("POST", "contacts/", compact(contact))

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`: the one row; ok needs the CRM's own word besides the status."""
        (row,) = rows
        answer = mapping(document(response))
        if 200 <= response.status < 300:
            if answer.get("error") is not False:
                return (UNMENTIONED,)
            return (
                Outcome(Verdict.OK, "written", vendor_id=text(answer.get("id")) or row.vendor_id),
            )
        if response.status == 404 and row.vendor_id:  # deleted since it was found: look again
            return (Outcome(Verdict.RETRY, "contact_gone", vendor_id=""),)
        errors = mapping(answer.get("errors"))
        if response.status == 400 and not row.vendor_id and _is_taken(errors):
            return (Outcome(Verdict.RETRY, "created_meanwhile", "look it up again"),)
        return (_refused(response, at_s=at_s),)

    def schema_call(self, fields: Sequence[FieldSpec], *, credentials: Credentials) -> HttpCall:
        """See `Schema.schema_call`."""
        return self._call("GET", "custom-fields/?target_model=Contact", b"")

    def differences(
        self, fields: Sequence[FieldSpec], response: Response, *, at_s: int
    ) -> tuple[Difference, ...] | Outcome:
        """See `Schema.differences`."""
        described = mapping(document(response)).get("definitions")
        if response.status != 200:
            return _refused(response, at_s=at_s)
        if not isinstance(described, list):
            return UNMENTIONED
        found = {text(one.get("key")): one for one in map(mapping, described)
                 if one.get("target_model") == "Contact"}  # fmt: skip
        lacking = [_difference(spec, found.get(spec.name)) for spec in fields]
        return tuple(one for one in lacking if one is not None)

    def create_calls(
        self, missing: Sequence[Difference], *, credentials: Credentials
    ) -> tuple[HttpCall, ...]:
        """See `Schema.create_calls`: one call a field."""
        return tuple(
            self._call("POST", "custom-fields/", compact({
                "target_model": "Contact",
                "key": one.field.name,
                "label": one.field.label,
                "field_type": _TYPES[one.field.type],
            }))
            for one in missing
        )  # fmt: skip

    def read_created(self, response: Response, *, at_s: int) -> Outcome:
        """See `Schema.read_created`."""
        if response.status == 201 and text(mapping(document(response)).get("id")):
            return Outcome(Verdict.OK, "created")
        return _refused(response, at_s=at_s)

    def _call(self, method: str, path: str, body: bytes) -> HttpCall:
        headers = {"authorization": f"Bearer {self.options.token.get_secret_value()}"}
        if body:
            headers["content-type"] = "application/json"
        url = f"{self.options.base_url}/api/{path}"
        return HttpCall(self.name, method, url, headers, body, max_answer=_ANSWER)


def _value(value: JsonValue) -> JsonValue:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _is_taken(errors: Mapping[str, Any]) -> bool:
    return any(_TAKEN.search(text(one)) for one in sequence(errors.get("email")))


def _refused(response: Response, *, at_s: int) -> Outcome:
    errors = mapping(document(response)).get("errors")
    plain = outcome_of_status(response, at_s=at_s)
    if plain.verdict is Verdict.OK:
        return UNMENTIONED
    verdict = Verdict.AUTH if response.status == 404 else plain.verdict
    detail = text(errors) or (text(json.dumps(errors, ensure_ascii=False)) if errors else "")
    return Outcome(verdict, plain.code, detail, plain.retry_after_s)


def _difference(spec: FieldSpec, found: Mapping[str, Any] | None) -> Difference | None:
    wanted = _TYPES[spec.type]
    if found is None:
        return Difference(spec, f"no such custom field; it would be created as {wanted}", True)
    if found.get("is_active") is False:
        return Difference(spec, "the custom field was switched off: its values are dropped", False)
    kind = text(found.get("field_type"))
    if kind != wanted and not (wanted == "text" and kind in _TEXTS):
        return Difference(spec, f"the custom field is a {kind}, {wanted} is sent", False)
    return None

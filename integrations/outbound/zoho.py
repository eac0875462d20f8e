"""Zoho CRM v8: upsert of up to 100 records (docs/adapters/zoho.md).

Sources: https://www.zoho.com/crm/developer/docs/api/v8/upsert-records.html,
.../api/v8/refresh.html, .../api/v8/api-limits.html, fields: `integrations.outbound.zoho_fields`

row             | request
--------------- | -------------------------------------------------------------------
key             | data[].<key_field>, which is the only one of duplicate_check_fields
fields          | data[].<field>; null clears
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlencode, urlsplit

from pydantic import Field, JsonValue, SecretStr

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
from integrations.outbound.options import FIELD_NAME, AdapterOptions, BaseUrl
from integrations.outbound.status import outcome_of_status
from integrations.outbound.zoho_fields import MOST_AT_ONCE, creation, differences_of

_AGAIN: Final = frozenset({"INTERNAL_ERROR", "RECORD_LOCKED", "CANNOT_PROCESS"})
_BUSY: Final = frozenset({
    "LIMIT_EXCEEDED", "LIMIT_REACHED", "TOO_MANY_REQUESTS", "CONCURRENCY_LIMIT_EXCEEDED",
})  # fmt: skip
_REFUSED: Final = frozenset({
    "INVALID_TOKEN", "AUTHENTICATION_FAILURE", "OAUTH_SCOPE_MISMATCH", "INVALID_MODULE",
    "INVALID_URL_PATTERN", "FEATURE_NOT_SUPPORTED",
})  # fmt: skip
"""What every call has in common is wrong: token, scope or address."""

_INDEX: Final = re.compile(r"\$\.data\[([0-9]{1,3})\]")
_INSTANT: Final = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z$", re.ASCII)
_EARLY_S: Final = 60
"""A token is renewed so long before its end."""


class Options(AdapterOptions):
    """Options of a Zoho organization.

    accounts_url   of your data center: `https://accounts.zoho.eu`, `.com`, `.in`, `.com.cn` ...
    key_field      unique field that holds a row's key: one of your own, or `Email`
    run_workflows  let Zoho's automations see our writes
    """

    accounts_url: BaseUrl
    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr
    key_field: str = Field(pattern=FIELD_NAME)
    module: str = Field("Contacts", pattern=FIELD_NAME)
    version: str = Field("v8", pattern=r"^v[0-9]{1,2}$")
    run_workflows: bool = False
    concurrency: int = Field(5, ge=1, le=25)


@dataclass(frozen=True, slots=True)
class Zoho:
    """One organization."""

    name: ClassVar[str] = "zoho"
    options_type: ClassVar[type[AdapterOptions]] = Options

    options: Options = field(repr=False)

    @classmethod
    def build(cls, options: Options) -> Self:
        """See `Buildable.build`."""
        return cls(options)

    @property
    def capabilities(self) -> Capabilities:
        """See `Adapter.capabilities`; Zoho limits calls under way, and credits of a day."""
        return Capabilities(
            max_rows=100,
            max_bytes=2_000_000,
            matching=Matching.POSITION,
            concurrency=self.options.concurrency,
        )

    def token_call(self, *, at_s: int) -> HttpCall:
        """See `Authorizing.token_call`."""
        form = {
            "grant_type": "refresh_token",
            "client_id": self.options.client_id,
            "client_secret": self.options.client_secret.get_secret_value(),
            "refresh_token": self.options.refresh_token.get_secret_value(),
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        url = f"{self.options.accounts_url}/oauth/v2/token"
        return HttpCall(self.name, "POST", url, headers, urlencode(form).encode())

    def read_token(self, response: Response, *, at_s: int) -> Credentials | Outcome:
        """See `Authorizing.read_token`; a refusal is a 200 with an error in it."""
        answer = mapping(document(response))
        token, api, life = (answer.get(n) for n in ("access_token", "api_domain", "expires_in"))
        if isinstance(token, str) and isinstance(api, str) and urlsplit(api).hostname:
            life_s = life if isinstance(life, int) else 3600
            return Credentials(token, api.rstrip("/"), at_s + max(life_s - _EARLY_S, 0))
        error, detail = text(answer.get("error")), text(answer.get("error_description"))
        if "too many requests" in detail.casefold():  # ten tokens in ten minutes
            return Outcome(Verdict.THROTTLED, error or "too_many_tokens", detail, 600.0)
        plain = outcome_of_status(response, at_s=at_s)
        verdict = Verdict.AUTH if response.status in {200, 400, 404} else plain.verdict
        return Outcome(verdict, error or plain.code, detail, plain.retry_after_s)

    def encode(self, rows: Sequence[Row], *, credentials: Credentials, at_s: int) -> HttpCall:
        """See `Adapter.encode`."""
        key = self.options.key_field
        body: dict[str, Any] = {
            "data": [{**_values(row), key: row.key} for row in rows],
            "duplicate_check_fields": [key],
        }
        if not self.options.run_workflows:
            body["trigger"] = []
        return self._call("POST", f"{self.options.module}/upsert", credentials, compact(body))

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`: results are in the order of records; a path names its own."""
        answer = mapping(document(response))
        results = answer.get("data")
        if not isinstance(results, list) or not results:
            return (_refused(response, answer, at_s=at_s, rows=len(rows)),) * len(rows)
        if not 200 <= response.status < 300 and response.status != 400:
            return (_refused(response, {}, at_s=at_s, rows=len(rows)),) * len(rows)
        told: dict[int, Outcome] = {}
        trusted = len(results) == len(rows)  # else a position says nothing, a path still does
        for position, one in enumerate(map(mapping, results)):
            place = _index(one, position if trusted else None)
            if place is not None and (place not in told or told[place].verdict is Verdict.OK):
                told[place] = _of_record(one)
        return tuple(told.get(position, UNMENTIONED) for position in range(len(rows)))

    def schema_call(self, fields: Sequence[FieldSpec], *, credentials: Credentials) -> HttpCall:
        """See `Schema.schema_call`."""
        return self._call("GET", self._fields_path, credentials, b"")

    def differences(
        self, fields: Sequence[FieldSpec], response: Response, *, at_s: int
    ) -> tuple[Difference, ...] | Outcome:
        """See `Schema.differences`."""
        answer = mapping(document(response))
        if response.status != 200:
            return _refused(response, answer, at_s=at_s, rows=1)
        described = sequence(answer.get("fields"))
        if not described:
            return UNMENTIONED
        return differences_of(self.options.key_field, fields, described)

    def create_calls(
        self, missing: Sequence[Difference], *, credentials: Credentials
    ) -> tuple[HttpCall, ...]:
        """See `Schema.create_calls`."""
        made = [creation(self.options.key_field, one.field) for one in missing]
        chunks = [made[at : at + MOST_AT_ONCE] for at in range(0, len(made), MOST_AT_ONCE)]
        return tuple(
            self._call("POST", self._fields_path, credentials, compact({"fields": one}))
            for one in chunks
        )

    def read_created(self, response: Response, *, at_s: int) -> Outcome:
        """See `Schema.read_created`: each field has a result of its own."""
        answer = mapping(document(response))
        results = [_of_record(mapping(one)) for one in sequence(answer.get("fields"))]
        refused = [one for one in results if one.verdict is not Verdict.OK]
        if refused:
            return refused[0]
        if response.status == 201 and results:
            return Outcome(Verdict.OK, "created")
        return _refused(response, answer, at_s=at_s, rows=1)

    @property
    def _fields_path(self) -> str:
        return f"settings/fields?{urlencode({'module': self.options.module})}"

    def _call(self, method: str, path: str, credentials: Credentials, body: bytes) -> HttpCall:
        headers = {"authorization": f"Zoho-oauthtoken {credentials.token}"}
        if body:
            headers["content-type"] = "application/json"
        url = f"{credentials.base_url}/crm/{self.options.version}/{path}"
        return HttpCall(self.name, method, url, headers, body, max_answer=4_194_304)


def _values(row: Row) -> dict[str, JsonValue]:
    """Fields as Zoho takes them: an instant has an offset, whole seconds and no Z."""
    return {
        name: _INSTANT.sub(r"\1+00:00", value) if isinstance(value, str) else value
        for name, value in row.fields.items()
    }


def _index(result: Mapping[str, Any], position: int | None) -> int | None:
    """Which record an error speaks of: its path names it where it names one."""
    found = _INDEX.match(text(mapping(result.get("details")).get("json_path")))
    return int(found[1]) if found else position


def _of_record(result: Mapping[str, Any]) -> Outcome:
    code, detail = text(result.get("code")), text(result.get("message"))
    details = mapping(result.get("details"))
    if code == "SUCCESS" and result.get("status") == "success":
        return Outcome(Verdict.OK, "written", vendor_id=text(details.get("id")) or None)
    if not code:
        return UNMENTIONED
    place = text(details.get("json_path")) or text(details.get("api_name"))
    return Outcome(_verdict(code, Verdict.PERMANENT), code, f"{detail} {place}".strip())


def _refused(response: Response, answer: Mapping[str, Any], *, at_s: int, rows: int) -> Outcome:
    """What an answer without results says of every record; errors come under 200 too."""
    code, detail = text(answer.get("code")), text(answer.get("message"))
    plain = outcome_of_status(response, at_s=at_s, rows=rows)
    verdict = plain.verdict
    if verdict is Verdict.OK:
        if not code:
            return UNMENTIONED
        verdict = Verdict.SPLIT if rows > 1 else Verdict.PERMANENT
    if response.status == 404:
        verdict = Verdict.AUTH
    if code == "NO_PERMISSION":
        verdict = Verdict.AUTH
    return Outcome(_verdict(code, verdict), code or plain.code, detail, plain.retry_after_s)


def _verdict(code: str, otherwise: Verdict) -> Verdict:
    if code in _BUSY:
        return Verdict.THROTTLED
    if code in _REFUSED:
        return Verdict.AUTH
    return Verdict.RETRY if code in _AGAIN else otherwise

"""Klaviyo: bulk import of profiles, a job that is asked about (docs/adapters/klaviyo.md).

Sources: https://developers.klaviyo.com/en/reference/bulk_import_profiles,
.../reference/get_bulk_import_profiles_job, .../reference/get_errors_for_bulk_import_profiles_job,
.../docs/rate_limits_and_error_handling

row             | request
--------------- | -------------------------------------------------------------------
key             | profiles.data[].attributes.<match>
fields          | profiles.data[].attributes.properties; null clears
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from pydantic import Field, SecretStr

from integrations.outbound.abilities import Progress
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

_LOOK_S: Final = 5.0
"""Seconds between two questions about a job."""

_POINTER: Final = re.compile(r"/data/attributes/profiles/data/([0-9]{1,5})(/|$)")
_JOB_ID: Final = re.compile(r"[A-Za-z0-9_=.-]+", re.ASCII)
_LOST: Final = Outcome(Verdict.RETRY, "job_lost", "Klaviyo knows no such job")
_CANCELLED: Final = Outcome(Verdict.RETRY, "job_cancelled", "the job was cancelled")


class Options(AdapterOptions):
    """Options of a Klaviyo account.

    api_key   private key with the scopes profiles:read, profiles:write, lists:read, lists:write
    match     attribute that a row's key is the value of
    max_rows  profiles of one job: fewer are sooner done
    """

    api_key: SecretStr
    match: Literal["external_id", "email", "phone_number"] = "external_id"
    revision: str = Field("2026-07-15", pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
    max_rows: int = Field(10_000, ge=1, le=10_000)
    base_url: BaseUrl = "https://a.klaviyo.com"


class _Job(NamedTuple):
    """A job as it is kept between questions.

    failed  how many profiles failed, once the job is complete; None before
    cursor  of the next page of errors
    found   position of a profile -> code and detail, of the pages that were read
    """

    id: str
    failed: int | None = None
    cursor: str = ""
    found: Mapping[str, Sequence[str]] = {}

    @property
    def told(self) -> str:
        """As text: the engine keeps it."""
        return self.id if self.failed is None else json.dumps(self)


@dataclass(frozen=True, slots=True)
class Klaviyo:
    """One account."""

    name: ClassVar[str] = "klaviyo"
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
            max_rows=self.options.max_rows,
            max_bytes=5_000_000,
            max_row=100_000,
            matching=Matching.KEY,
            limits=(Limit(10, 1.0), Limit(150, 60.0)),
            concurrency=2,
            is_job=True,
        )

    def encode(self, rows: Sequence[Row], *, credentials: Credentials, at_s: int) -> HttpCall:
        """See `Adapter.encode`."""
        profiles = [
            {
                "type": "profile",
                "attributes": {self.options.match: row.key, "properties": dict(row.fields)},
            }
            for row in rows
        ]
        job = {
            "type": "profile-bulk-import-job",
            "attributes": {"profiles": {"data": profiles}},
        }
        return self._call("POST", "", compact({"data": job}))

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`: accepted with a job, never ok."""
        answer = mapping(document(response))
        if 200 <= response.status < 300:
            job = text(mapping(answer.get("data")).get("id"))
            if not _JOB_ID.fullmatch(job):
                return (UNMENTIONED,) * len(rows)
            return (Outcome(Verdict.ACCEPTED, "accepted", job=job),) * len(rows)
        whole = _refused(response, answer, at_s=at_s, rows=len(rows))
        if whole.verdict not in {Verdict.SPLIT, Verdict.PERMANENT}:
            return (whole,) * len(rows)
        named = _named(sequence(answer.get("errors")))
        return tuple(named.get(position, whole) for position in range(len(rows)))

    def poll(self, job: str, *, credentials: Credentials) -> HttpCall:
        """See `Polling.poll`: how the job stands, then page by page which profiles failed."""
        kept = _job_of(job)
        path = quote(kept.id, safe="")
        if kept.failed is None:
            return self._call("GET", path, b"")
        page = {"page[size]": "100"} | ({"page[cursor]": kept.cursor} if kept.cursor else {})
        return self._call("GET", f"{path}/import-errors?{urlencode(page)}", b"")

    def read_poll(
        self, job: str, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> Progress:
        """See `Polling.read_poll`."""
        kept = _job_of(job)
        answer = mapping(document(response))
        if response.status == 404:
            return Progress((_LOST,) * len(rows))
        if response.status != 200 or "data" not in answer:
            trouble = _refused(response, answer, at_s=at_s, rows=1)
            if trouble.verdict is Verdict.OK:
                trouble = UNMENTIONED
            return Progress(None, job, trouble.retry_after_s or _LOOK_S, trouble)
        if kept.failed is not None:
            return _with_errors(kept, rows, answer)
        return _standing(kept, rows, mapping(mapping(answer["data"]).get("attributes")))

    def _call(self, method: str, path: str, body: bytes) -> HttpCall:
        headers = {
            "authorization": f"Klaviyo-API-Key {self.options.api_key.get_secret_value()}",
            "revision": self.options.revision,
            "accept": "application/vnd.api+json",
        }
        if body:
            headers["content-type"] = "application/vnd.api+json"
        url = f"{self.options.base_url}/api/profile-bulk-import-jobs{path and '/'}{path}"
        return HttpCall(self.name, method, url, headers, body, max_answer=2_097_152)


def _job_of(told: str) -> _Job:
    return _Job(*json.loads(told)) if told.startswith("[") else _Job(told)


def _standing(kept: _Job, rows: Sequence[Row], attributes: Mapping[str, Any]) -> Progress:
    """What the job itself says: all went well, some failed, or it is not done."""
    status = attributes.get("status")
    if status == "cancelled":
        return Progress((_CANCELLED,) * len(rows))
    if status != "complete":
        return Progress(None, kept.told, _LOOK_S)
    failed, completed = attributes.get("failed_count"), attributes.get("completed_count")
    if not failed and completed == attributes.get("total_count") == len(rows):
        return Progress((Outcome(Verdict.OK, "imported"),) * len(rows))
    return Progress(None, kept._replace(failed=failed if isinstance(failed, int) else 0).told)


def _with_errors(kept: _Job, rows: Sequence[Row], answer: Mapping[str, Any]) -> Progress:
    """One page of errors; after the last, the outcomes.

    Profiles without an error are ok only where as many are named as failed: one that failed and
    is not named could be any of them.
    """
    page = [mapping(mapping(one).get("attributes")) for one in sequence(answer["data"])]
    named = {
        str(position): (outcome.code, outcome.detail) for position, outcome in _named(page).items()
    }
    found = {**kept.found, **named}
    following = text(mapping(answer.get("links")).get("next"), most=MAX_KEY)
    cursor = parse_qs(urlsplit(following).query).get("page[cursor]", [""])[0]
    if cursor and cursor != kept.cursor:
        return Progress(None, kept._replace(cursor=cursor, found=found).told)
    rest = Outcome(Verdict.OK, "imported") if found and len(found) == kept.failed else UNMENTIONED
    outcomes = []
    for position in range(len(rows)):
        error = found.get(str(position))
        outcomes.append(Outcome(Verdict.PERMANENT, error[0], error[1]) if error else rest)
    return Progress(tuple(outcomes))


def _named(errors: Sequence[Any]) -> dict[int, Outcome]:
    """Errors that point at a profile: its position -> what is wrong with it."""
    told = {}
    for error in map(mapping, errors):
        place = _POINTER.match(text(mapping(error.get("source")).get("pointer")))
        if place:
            code, detail = text(error.get("code")) or "error", text(error.get("detail"))
            told[int(place[1])] = Outcome(Verdict.PERMANENT, code, detail)
    return told


def _refused(response: Response, answer: Mapping[str, Any], *, at_s: int, rows: int) -> Outcome:
    first = mapping(next(iter(sequence(answer.get("errors"))), None))
    plain = outcome_of_status(response, at_s=at_s, rows=rows)
    verdict, wait_s = plain.verdict, plain.retry_after_s
    if response.status == 404:
        verdict = Verdict.AUTH
    return Outcome(
        verdict, text(first.get("code")) or plain.code, text(first.get("detail")), wait_s
    )

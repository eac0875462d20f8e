"""Klaviyo: bulk import jobs that are done when they have been asked about often enough."""

import re
from typing import Any

from integrations.outbound.suite.vendor import Reply, Request, Vendor

KEY = "pk_" + "a1" * 17
_AT = "2026-11-23T10:00:00Z"


class Klaviyo(Vendor):
    """An account.

    wrong  keys whose profiles fail in the job
    asks   a job is done when it is asked about for this time
    """

    content_type = "application/vnd.api+json"

    def __init__(self) -> None:
        super().__init__()
        self.asks = 2
        self.jobs: dict[str, dict[str, Any]] = {}

    def answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Klaviyo-API-Key {KEY}":
            return error(401, "not_authenticated", "Authentication credentials were not provided.")
        if request.headers.get("revision") != "2026-07-15":
            return error(400, "invalid", "The revision is not supported")
        found = re.fullmatch(
            r"/api/profile-bulk-import-jobs(?:/([^/]+)(/import-errors)?)?", request.path
        )
        if not found:
            return error(404, "not_found", "Not found.")
        if request.method == "POST":
            return self._begin(request)
        if found[1] not in self.jobs:
            return error(404, "not_found", "A job with this id does not exist.")
        return self._errors(request, found[1]) if found[2] else self._standing(found[1])

    def _begin(self, request: Request) -> Reply:
        assert request.headers["content-type"] == "application/vnd.api+json"
        profiles = request.json["data"]["attributes"]["profiles"]["data"]
        for at, one in enumerate(profiles):
            email = one["attributes"].get("email")
            if email is not None and "@" not in email:
                pointer = f"/data/attributes/profiles/data/{at}/attributes/email"
                return error(400, "invalid", "Invalid email address", pointer)
        job = f"job-{len(self.jobs) + 1}"
        self.jobs[job] = {"profiles": profiles, "asked": 0}
        return Reply(202, {"data": self._job(job, "queued")})

    def _standing(self, job: str) -> Reply:
        kept = self.jobs[job]
        kept["asked"] += 1
        if kept["asked"] < self.asks:
            return Reply(200, {"data": self._job(job, "processing")})
        if kept["asked"] == self.asks:
            for one in kept["profiles"]:
                attributes = one["attributes"]
                key = next(attributes[by] for by in ("email", "external_id") if by in attributes)
                if key not in self.wrong:
                    self.write(key, attributes["properties"])
        return Reply(200, {"data": self._job(job, "complete")})

    def _failed(self, job: str) -> list[int]:
        profiles = self.jobs[job]["profiles"]
        return [
            at for at, one in enumerate(profiles) if one["attributes"].get("email") in self.wrong
        ]

    def _job(self, job: str, status: str) -> dict[str, Any]:
        total = len(self.jobs[job]["profiles"])
        failed = len(self._failed(job))
        attributes: dict[str, Any] = {
            "status": status,
            "created_at": _AT,
            "total_count": total,
        }
        if status == "complete":
            done = {"completed_count": total - failed, "failed_count": failed, "completed_at": _AT}
            attributes |= done
        place = f"https://a.klaviyo.com/api/profile-bulk-import-jobs/{job}/"
        return {
            "type": "profile-bulk-import-job",
            "id": job,
            "attributes": attributes,
            "links": {"self": place},
        }

    def _errors(self, request: Request, job: str) -> Reply:
        size = int(request.query.get("page[size]", "20"))
        first = int(request.query.get("page[cursor]", "0"))
        failed = [
            at
            for at in self._failed(job)
            if self.jobs[job]["profiles"][at]["attributes"]["email"] not in self.silent
        ]
        page = failed[first : first + size]
        data = [
            {
                "type": "import-error",
                "id": f"error-{at}",
                "attributes": {
                    "code": "invalid",
                    "title": "Invalid input",
                    "detail": "The profile could not be imported",
                    "source": {"pointer": f"/data/attributes/profiles/data/{at}"},
                    "original_payload": {},
                },
            }
            for at in page
        ]
        place = f"https://a.klaviyo.com{request.path}"
        links = {"self": place}
        if first + size < len(failed):
            links["next"] = f"{place}?page%5Bcursor%5D={first + size}&page%5Bsize%5D={size}"
        return Reply(200, {"data": data, "links": links})


def error(status: int, code: str, detail: str, pointer: str = "/data") -> Reply:
    one = {
        "id": "7b1c1b9e-0000-4000-8000-000000000000",
        "status": status,
        "code": code,
        "title": detail,
        "detail": detail,
        "source": {"pointer": pointer},
    }
    return Reply(status, {"errors": [one]})

"""Zoho CRM: tokens that end, upsert with results by position, fields."""

from typing import Any
from urllib.parse import parse_qs

from integrations.outbound.suite.vendor import Reply, Request, Vendor

CLIENT_ID = "1000.CLIENT"
CLIENT_SECRET = "zoho-client-secret"
REFRESH_TOKEN = "1000.refresh.token"
CREATED = {"text", "double", "integer", "boolean", "date", "datetime"}
_AT = "2026-11-23T10:00:00+01:00"
_BY = {"name": "Integration", "id": "554023000000235011"}


class Zoho(Vendor):
    """An organization; keys in `locked` and `invalid` get errors of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.locked: set[str] = set()
        self.invalid: set[str] = set()
        self.unique: set[str] = set()
        self.fields = {
            "Email": "email",
            "Last_Name": "text",
            "Segment": "picklist",
            "Alive": "double",
            "Vip": "boolean",
            "Next": "date",
        }

    def token(self, request: Request) -> Reply | None:
        if request.path != "/oauth/v2/token":
            return None
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        wanted = {
            "grant_type": "refresh_token",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "refresh_token": REFRESH_TOKEN,
        }
        if form != wanted:
            return Reply(200, {"error": "invalid_client"})
        self.tokens.append(f"1000.access.{len(self.tokens) + 1}")
        body = {
            "access_token": self.tokens[-1],
            "api_domain": self.url,
            "token_type": "Bearer",
            "expires_in": 3600,
        }
        return Reply(200, body)

    def expire(self) -> None:
        """Refuse every token that was given."""
        self.tokens = [""] * len(self.tokens)

    def answer(self, request: Request) -> Reply:
        token = request.headers.get("authorization", "").removeprefix("Zoho-oauthtoken ")
        if not token or token not in self.tokens:
            return refused(401, "INVALID_TOKEN", "invalid oauth token")
        if request.path == "/crm/v8/settings/fields" and request.query.get("module") == "Contacts":
            if request.method == "POST":
                return self._create_fields(request.json["fields"])
            fields = [
                {"api_name": name, "data_type": kind, "field_label": name}
                for name, kind in self.fields.items()
            ]
            return Reply(200, {"fields": fields})
        if request.path == "/crm/v8/Contacts/upsert" and request.method == "POST":
            return self._upsert(request.json)
        return refused(404, "INVALID_URL_PATTERN", "Please check if the URL is a correct one")

    def _create_fields(self, fields: list[dict[str, Any]]) -> Reply:
        if len(fields) > 5:
            return refused(400, "LIMIT_EXCEEDED", "at most five fields")
        told = [self._create_field(one) for one in fields]
        status = 201 if any(one["code"] == "SUCCESS" for one in told) else 400
        return Reply(status, {"fields": told})

    def _create_field(self, one: dict[str, Any]) -> dict[str, Any]:
        name = one["field_label"].replace(" ", "_")
        if one["data_type"] not in CREATED:
            return failed("INVALID_DATA", "invalid data", {"api_name": "data_type"})
        if name in self.fields:
            return failed("DUPLICATE_DATA", "duplicate data", {"api_name": "field_label"})
        self.fields[name] = one["data_type"]
        self.unique |= {name} if "unique" in one else set()
        details = {"id": f"55402300001{len(self.fields):07d}"}
        return {
            "code": "SUCCESS", "details": details, "message": "field created", "status": "success"
        }  # fmt: skip

    def _upsert(self, body: dict[str, Any]) -> Reply:
        if len(body["data"]) > 100:
            return refused(400, "INVALID_DATA", "body")
        (by,) = body["duplicate_check_fields"]
        told = [
            result
            for at, one in enumerate(body["data"])
            for result in [self._record(one, by, at)]
            if one[by] not in self.silent
        ]
        all_ok = all(one["code"] == "SUCCESS" for one in told)
        return Reply(200 if all_ok else 207, {"data": told})

    def _record(self, one: dict[str, Any], by: str, at: int) -> dict[str, Any]:
        key = one[by]
        if key in self.locked:
            return failed("RECORD_LOCKED", "The record under merge is locked", {})
        if key in self.invalid:
            path = f"$.data[{at}].{by}"
            return failed("INVALID_DATA", "invalid data", {"api_name": by, "json_path": path})
        known = {k: v for k, v in one.items() if k in self.fields and k != by}  # others: dropped
        created = self.write(key, known)
        number = list(self.contacts).index(key)
        return {
            "code": "SUCCESS",
            "status": "success",
            "action": "insert" if created else "update",
            "message": "record added" if created else "record updated",
            "duplicate_field": by,
            "details": {
                "id": f"5540230000{number:08d}",
                "Created_Time": _AT,
                "Modified_Time": _AT,
                "Created_By": _BY,
                "Modified_By": _BY,
            },
        }


def refused(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"code": code, "details": {}, "message": message, "status": "error"})


def failed(code: str, message: str, details: dict[str, Any]) -> dict[str, Any]:
    return {"code": code, "details": details, "message": message, "status": "error"}

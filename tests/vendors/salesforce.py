"""Salesforce: tokens, collections by external id, describe; shapes of the vendor's own examples."""

import re
from typing import Any
from urllib.parse import parse_qs

import jwt

from integrations.outbound.suite.vendor import Reply, Request, Vendor

CLIENT_ID, CLIENT_SECRET = "3MVG9-consumer-key", "consumer-secret-42"
USERNAME = "integration@example.com"


PERMISSION_SET = "0PS000000000001AAA"
NEEDS = {
    "Text": ("string", {"length"}),
    "LongTextArea": ("textarea", {"length", "visibleLines"}),
    "Number": ("double", {"precision", "scale"}),
    "Checkbox": ("boolean", {"defaultValue"}),
    "Date": ("date", set()),
    "DateTime": ("datetime", set()),
}
"""Types of the Tooling API -> how `describe` names them, and what they can't be created without."""


class Salesforce(Vendor):
    """An org: contacts by `ExtId__c`, with a quota of calls a day.

    public_key  PEM that verifies the JWTs of our connected app
    """

    def __init__(self, public_key: str = "") -> None:
        super().__init__()
        self.public_key = public_key
        self.tokens: list[str] = []
        self.used, self.quota = 0, 15_000
        self.locked: set[str] = set()
        self.duplicates: set[str] = set()
        self.hidden: dict[str, dict[str, Any]] = {}  # exist, and nobody may see them yet
        self.fields = {
            "Id": described("Id", "id", updateable=False),
            "LastName": described("LastName", "string"),
            "ExtId__c": described("ExtId__c", "string", externalId=True, unique=True),
            "Segment__c": described("Segment__c", "picklist"),
            "Alive__c": described("Alive__c", "double"),
            "Vip__c": described("Vip__c", "boolean"),
            "Next__c": described("Next__c", "date"),
        }

    def token(self, request: Request) -> Reply | None:
        if request.path != "/services/oauth2/token":
            return None
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if not self._may_have_a_token(form):
            refusal = {"error": "invalid_client", "error_description": "invalid client credentials"}
            return Reply(400, refusal)
        self.tokens.append(f"00D!token-{len(self.tokens) + 1}")
        body = {
            "access_token": self.tokens[-1],
            "instance_url": self.url,
            "id": f"{self.url}/id/00D000000000001/005000000000001",
            "token_type": "Bearer",
            "issued_at": "1795428892000",
            "signature": "c2lnbmF0dXJl",
        }
        return Reply(200, body)

    def expire(self) -> None:
        """Refuse every token that was given."""
        self.tokens = [""] * len(self.tokens)

    def answer(self, request: Request) -> Reply:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token or token not in self.tokens:
            return refused(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if self.used >= self.quota:
            return refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        self.used += 1
        path = re.fullmatch(r"/services/data/v[0-9]+\.0/(.*)", request.path)
        if path and path[1] == "sobjects/Contact/describe" and request.method == "GET":
            return self._said(200, {"name": "Contact", "fields": list(self.fields.values())})
        if path and path[1] == "composite/sobjects/Contact/ExtId__c" and request.method == "PATCH":
            return self._upsert(request.json)
        makes = {
            "tooling/sobjects/CustomField": self._create_field,
            "sobjects/FieldPermissions": self._grant,
        }
        make = makes.get(path[1].rstrip("/")) if path and request.method == "POST" else None
        if make is not None:
            return make(request.json)
        return refused(404, "NOT_FOUND", "The requested resource does not exist")

    def _create_field(self, body: dict[str, Any]) -> Reply:
        """What is created is seen by nobody until a permission set says so."""
        kind, _, name = body["FullName"].partition(".")
        made = body["Metadata"]
        needs = NEEDS.get(made["type"])
        if kind != "Contact" or not re.fullmatch(r"[A-Za-z]\w{0,39}__c", name) or needs is None:
            return refused(400, "FIELD_INTEGRITY_EXCEPTION", "the field can not be created")
        lacking = ({"label"} | needs[1]) - set(made)
        if lacking or len(made["label"]) > 40:
            return refused(400, "REQUIRED_FIELD_MISSING", f"Required: {sorted(lacking)}")
        if name in self.fields | self.hidden:
            return refused(
                400, "DUPLICATE_DEVELOPER_NAME", f"There is already a field named {name}"
            )
        flags = {flag: made.get(flag, False) for flag in ("externalId", "unique")}
        self.hidden[name] = described(name, needs[0], **flags)
        return self._made("00N")

    def _grant(self, body: dict[str, Any]) -> Reply:
        name = body["Field"].removeprefix("Contact.")
        is_known = body["ParentId"] == PERMISSION_SET and name in self.hidden
        if not is_known or not (body["PermissionsRead"] and body["PermissionsEdit"]):
            return refused(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        self.fields[name] = self.hidden.pop(name)
        return self._made("01k")

    def _made(self, prefix: str) -> Reply:
        return self._said(201, {"id": f"{prefix}000000000001AAA", "success": True, "errors": []})

    def _may_have_a_token(self, form: dict[str, str]) -> bool:
        if form.get("grant_type") == "client_credentials":
            given = (form.get("client_id"), form.get("client_secret"))
            return given == (CLIENT_ID, CLIENT_SECRET)
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return False
        try:
            claims = jwt.decode(
                form.get("assertion", ""),
                self.public_key,
                algorithms=["RS256"],
                audience="https://login.salesforce.com",
                issuer=CLIENT_ID,
                leeway=3_600,  # the tests' clock stands still
            )
        except jwt.InvalidTokenError:
            return False
        return bool(claims["sub"] == USERNAME and claims["exp"])

    def _upsert(self, body: dict[str, Any]) -> Reply:
        records = body["records"]
        if set(body) != {"allOrNone", "records"} or len(records) > 200:
            return refused(400, "INVALID_BATCH_SIZE", "at most 200 records")
        for one in records:
            unknown = set(one) - set(self.fields) - {"attributes"}
            if unknown or one["attributes"] != {"type": "Contact"} or "Id" in one:
                return refused(
                    400, "INVALID_FIELD", f"No such column '{min(unknown, default='Id')}'"
                )
        keys = [one["ExtId__c"] for one in records]
        results = [
            record_error("DUPLICATE_VALUE", "Duplicate external id specified")
            if keys.count(one["ExtId__c"]) > 1
            else self._record(one)
            for one in records
        ]
        told = [r for key, r in zip(keys, results, strict=True) if key not in self.silent]
        return self._said(200, told)

    def _record(self, one: dict[str, Any]) -> dict[str, Any]:
        key = one["ExtId__c"]
        if key in self.locked:
            return record_error("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access")
        if key in self.duplicates:
            return record_error("DUPLICATES_DETECTED", "Use one of these records?")
        if key not in self.contacts and not one.get("LastName"):
            return record_error("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]")
        created = self.write(
            key, {k: v for k, v in one.items() if k not in {"attributes", "ExtId__c"}}
        )
        number = list(self.contacts).index(key)
        return {"id": f"003{number:015d}", "success": True, "errors": [], "created": created}

    def _said(self, status: int, body: Any) -> Reply:
        return Reply(status, body, {"Sforce-Limit-Info": f"api-usage={self.used}/{self.quota}"})


def refused(status: int, code: str, message: str) -> Reply:
    return Reply(status, [{"message": message, "errorCode": code}])


def record_error(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": code, "message": message, "fields": []}]}


def described(name: str, kind: str, **more: bool) -> dict[str, Any]:
    flags = {"updateable": True, "externalId": False, "unique": False}
    return {"name": name, "label": name, "type": kind, **flags, **more}

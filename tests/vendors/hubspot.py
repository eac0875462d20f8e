"""HubSpot: contacts by batch upsert, properties, trace ids; validates as the vendor does."""

import re
from typing import Any
from uuid import UUID

from integrations.outbound.suite.vendor import Reply, Request, Vendor

TOKEN = "pat-eu1-" + "0" * 36
_TIMES = {"startedAt": "2026-11-23T10:00:00Z", "completedAt": "2026-11-23T10:00:01Z"}
_AT = "2026-11-23T10:00:00Z"


class HubSpot(Vendor):
    """An account; `properties` maps names to definitions."""

    def __init__(self) -> None:
        super().__init__()
        self.properties: dict[str, dict[str, Any]] = {
            "email": definition("email", "string", "text", unique=False),
            "firstname": definition("firstname", "string", "text"),
        }
        self.conflicts: set[str] = set()

    def answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        found = re.fullmatch(
            r"/crm/(?:v3/(objects|properties)|(objects|properties)/[0-9]{4}-[0-9]{2})"
            r"/contacts/batch/(upsert|read|create)",
            request.path,
        )
        if not found or request.method != "POST":
            return error(404, "OBJECT_NOT_FOUND", "resource not found")
        inputs = request.json["inputs"]
        if len(inputs) > 100:
            return error(400, "VALIDATION_ERROR", "The maximum number of inputs is 100")
        if (found[1] or found[2]) == "objects":
            return self._upsert(inputs)
        return self._read(inputs) if found[3] == "read" else self._create(inputs)

    def _upsert(self, inputs: list[dict[str, Any]]) -> Reply:
        ids = [one["id"].casefold() for one in inputs]
        if len(set(ids)) < len(ids):
            return error(400, "VALIDATION_ERROR", "Duplicate IDs found in batch input")
        by = inputs[0]["idProperty"]
        if by != "email" and not self.properties.get(by, {}).get("hasUniqueValue"):
            return error(400, "VALIDATION_ERROR", f"{by} is not a unique property")
        unknown = {name for one in inputs for name in one["properties"]} - set(self.properties)
        if unknown:
            told = f'[{{"error":"PROPERTY_DOESNT_EXIST","name":"{min(unknown)}"}}]'
            detail = f"Property values were not valid: {told}"
            return error(400, "VALIDATION_ERROR", detail)
        results, errors = [], []
        for one in inputs:
            bad = self._bad(one)
            if bad:
                errors.append(bad)
                continue
            is_new = self.write(one["id"], one["properties"], cleared="")
            if one["id"] not in self.silent:
                results.append(self._contact(one, is_new=is_new))
        body = {"status": "COMPLETE", "results": results[::-1], **_TIMES}  # in no promised order
        if errors:
            return Reply(207, body | {"numErrors": len(errors), "errors": errors})
        return Reply(200, body)

    def _bad(self, one: dict[str, Any]) -> dict[str, Any] | None:
        trace = one.get("objectWriteTraceId")
        if one["id"] in self.conflicts:
            return input_error(trace, "CONFLICT", "A contact with the email already exists")
        for name, value in one["properties"].items():
            kind = self.properties[name]["type"]
            if kind == "number" and value and not re.fullmatch(r"-?[0-9.]+", value):
                return input_error(trace, "VALIDATION_ERROR", f"{name} was not a valid number")
            if kind == "bool" and value not in {"true", "false", ""}:
                return input_error(trace, "VALIDATION_ERROR", f"{name} was not a valid boolean")
        return None

    def _contact(self, one: dict[str, Any], *, is_new: bool) -> dict[str, Any]:
        numbers = {key: 100 + at for at, key in enumerate(self.contacts)}
        return {
            "id": str(numbers[one["id"]]),
            "new": is_new,
            "properties": {one["idProperty"]: one["id"], **self.contacts[one["id"]]},
            "createdAt": _AT,
            "updatedAt": _AT,
            "archived": False,
            "objectWriteTraceId": one.get("objectWriteTraceId", ""),
        }

    def _read(self, inputs: list[dict[str, Any]]) -> Reply:
        names = [one["name"] for one in inputs]
        body: dict[str, Any] = {
            "status": "COMPLETE",
            "results": [self.properties[name] for name in names if name in self.properties],
            **_TIMES,
        }
        missing = [name for name in names if name not in self.properties]
        if not missing:
            return Reply(200, body)
        lacks = {
            "status": "error",
            "category": "OBJECT_NOT_FOUND",
            "message": "Could not get some properties, they may not exist",
            "context": {"name": missing},
            "errors": [],
            "links": {},
        }
        return Reply(207, body | {"numErrors": 1, "errors": [lacks]})

    def _create(self, inputs: list[dict[str, Any]]) -> Reply:
        for one in inputs:
            values = {option["value"] for option in one.get("options", [])}
            if one["type"] == "bool" and values != {"true", "false"}:
                return error(400, "VALIDATION_ERROR", "a boolean property has two options")
            if one["name"] in self.properties:
                return error(409, "CONFLICT", f"A property named '{one['name']}' already exists.")
        made = [
            definition(
                one["name"],
                one["type"],
                one["fieldType"],
                label=one["label"],
                unique=one.get("hasUniqueValue", False),
            )
            for one in inputs
        ]
        self.properties |= {one["name"]: one for one in made}
        return Reply(201, {"status": "COMPLETE", "results": made, **_TIMES})


def definition(
    name: str, kind: str, shown: str, *, label: str = "", unique: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "label": label or name,
        "description": "",
        "groupName": "contactinformation",
        "type": kind,
        "fieldType": shown,
        "options": [],
        "hasUniqueValue": unique,
    }


def throttled(policy: str) -> Reply:
    """As the document says, and with what the account's own answers name besides."""
    told = error(429, "RATE_LIMITS", f"You have reached your {policy.lower()} limit.")
    return told._replace(body=told.body | {"errorType": "RATE_LIMIT", "policyName": policy})


def error(status: int, category: str, message: str) -> Reply:
    correlation = str(UUID(int=status))
    body = {"category": category, "message": message, "correlationId": correlation}
    return Reply(status, body | {"status": "error"})


def input_error(trace: str | None, category: str, message: str) -> dict[str, Any]:
    return {
        "status": "error",
        "category": category,
        "message": message,
        "context": {"objectWriteTraceId": [trace]} if trace else {},
        "errors": [],
        "links": {},
    }

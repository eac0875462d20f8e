"""BottleCRM as the package django-crm answers: no upsert, one contact a call, odd statuses."""

import re
from typing import Any
from uuid import UUID

from integrations.outbound.suite.vendor import Reply, Request, Vendor

TOKEN = "bcrm_pat_" + "7" * 40


class Bottle(Vendor):
    """An organization; `ids` maps emails to contact ids, `definitions` custom fields."""

    def __init__(self, **definitions: str) -> None:
        super().__init__()
        self.ids: dict[str, str] = {}
        self.definitions: dict[str, str] = {
            "segment": "text", "alive": "number", "vip": "checkbox", "next": "date",
            **definitions,
        }  # fmt: skip

    def answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(403, {"detail": "Authentication credentials were not provided."})
        if request.path == "/api/custom-fields/":
            return self._definitions(request)
        one = re.fullmatch(r"/api/contacts/(?:([0-9a-f-]{36})/)?", request.path)
        if not one:
            return Reply(404, b"not found")
        if one[1]:
            return self._change(one[1], request.json)
        return self._list(request) if request.method == "GET" else self._create(request.json)

    def delete(self, email: str) -> None:
        """Somebody deletes the contact."""
        del self.ids[email], self.contacts[email]

    def _list(self, request: Request) -> Reply:
        part = request.query.get("email", "").casefold()
        most = int(request.query.get("limit", "10"))
        found = [
            {"id": self.ids[email], "email": email, "custom_fields": fields}
            for email, fields in self.contacts.items()
            if part in email.casefold()
        ]
        return Reply(200, {"count": len(found), "results": found[:most], "per_page": 10})

    def _create(self, body: dict[str, Any]) -> Reply:
        email = body["email"]
        if email.casefold() in {known.casefold() for known in self.ids}:
            taken = {"email": ["Contact already exists with this email"]}
            return Reply(400, {"error": True, "errors": taken})
        if not (body["first_name"] and body["last_name"]):
            return Reply(400, {"error": True, "errors": {"last_name": ["This field is required."]}})
        cleaned, errors = self._cleaned(body["custom_fields"])
        if errors:
            return Reply(400, {"error": True, "errors": {"custom_fields": errors}})
        self.write(email, cleaned)
        self.ids[email] = str(UUID(int=len(self.ids) + 1))
        said = {"error": False, "message": "Contact created Successfuly", "id": self.ids[email]}
        return Reply(200, {} if email in self.silent else said)

    def _change(self, contact: str, body: dict[str, Any]) -> Reply:
        email = next((email for email, one in self.ids.items() if one == contact), None)
        if email is None:
            return Reply(404, {"detail": "Not found."})
        cleaned, errors = self._cleaned(body["custom_fields"])
        if errors:
            return Reply(400, {"error": True, "errors": {"custom_fields": errors}})
        self.write(email, cleaned)
        said = {"error": False, "message": "Contact Updated Successfully"}
        return Reply(200, {} if email in self.silent else said)

    def _cleaned(self, fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        known = {name: value for name, value in fields.items() if name in self.definitions}
        errors = {
            name: "must be a number"
            for name, value in known.items()
            if self.definitions[name] == "number" and not isinstance(value, int | float | None)
        }
        return known, errors

    def _definitions(self, request: Request) -> Reply:
        if request.method == "POST":
            body = request.json
            self.definitions[body["key"]] = body["field_type"]
            return Reply(201, {"id": str(UUID(int=99)), **body})
        rows = [
            {"target_model": "Contact", "key": key, "field_type": kind, "is_active": True}
            for key, kind in self.definitions.items()
        ]
        return Reply(200, {"definitions": rows, "totals": None})

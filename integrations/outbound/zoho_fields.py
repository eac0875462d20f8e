"""Zoho CRM: custom fields of a module; found by their metadata, never changed or deleted.

Sources: https://www.zoho.com/crm/developer/docs/api/v8/field-meta.html,
.../api/v8/create-custom-field.html
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from integrations.outbound.abilities import Difference, FieldSpec, FieldType
from integrations.outbound.answers import mapping, text

_TYPES: Final[dict[FieldType, frozenset[str]]] = {
    FieldType.TEXT: frozenset({"text", "textarea", "picklist", "email", "website"}),
    FieldType.LIST: frozenset({"multiselectpicklist"}),
    FieldType.NUMBER: frozenset({"double", "currency", "percent"}),
    FieldType.INTEGER: frozenset({"integer", "bigint", "double", "currency"}),
    FieldType.BOOLEAN: frozenset({"boolean"}),
    FieldType.DATE: frozenset({"date"}),
    FieldType.DATETIME: frozenset({"datetime"}),
}
"""Ours -> data types that take it."""

_MADE: Final[dict[FieldType, dict[str, Any]]] = {
    FieldType.TEXT: {"data_type": "text", "length": 255},
    FieldType.NUMBER: {"data_type": "double", "length": 16, "decimal_place": 4},
    FieldType.INTEGER: {"data_type": "integer", "length": 9},
    FieldType.BOOLEAN: {"data_type": "boolean"},
    FieldType.DATE: {"data_type": "date"},
    FieldType.DATETIME: {"data_type": "datetime"},
}
"""Ours -> what is created; a list is of values that only an administrator can name."""

MOST_AT_ONCE: Final = 5
"""Fields of one call that creates."""

_PLAIN: Final = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*", re.ASCII)
"""Names that Zoho makes of a label: it puts underscores where the label has spaces."""


def differences_of(
    key_field: str, fields: Sequence[FieldSpec], described: Sequence[Any]
) -> tuple[Difference, ...]:
    """What the metadata lacks of the key and the fields."""
    found = {text(one.get("api_name")): one for one in map(mapping, described)}
    key = FieldSpec(key_field, FieldType.TEXT, "crm-reflex id")
    lacking = [_difference(spec, found.get(spec.name)) for spec in (key, *fields)]
    return tuple(one for one in lacking if one is not None)


def creation(key_field: str, spec: FieldSpec) -> dict[str, Any]:
    """A field to be created; its label makes its name."""
    made = {"field_label": spec.name.replace("_", " "), **_MADE[spec.type]}
    if spec.name == key_field:
        made["unique"] = {"casesensitive": False}
    return made


def _difference(spec: FieldSpec, found: Mapping[str, Any] | None) -> Difference | None:
    if found is not None:
        kind = text(found.get("data_type"))
        if kind in _TYPES[spec.type]:
            return None
        return Difference(spec, f"the field is of type {kind}, {spec.type} is sent", False)
    lacks = "no such field: Zoho would drop its value in silence"
    if spec.type not in _MADE:
        return Difference(
            spec, f"{lacks}; an administrator creates lists, with their values", False
        )
    if not _PLAIN.fullmatch(spec.name):
        return Difference(spec, f"{lacks}; Zoho makes no such name of any label", False)
    made = _MADE[spec.type]["data_type"]
    return Difference(spec, f"{lacks}; it would be created as {made}", True)

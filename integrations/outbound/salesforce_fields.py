"""Salesforce: custom fields by the Tooling API; found by describe, never changed or deleted.

Sources: https://developer.salesforce.com/docs/atlas.en-us.api_tooling.meta/api_tooling/
tooling_api_objects_customfield.htm, https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/
api_meta/customfield.htm (members of Metadata), https://developer.salesforce.com/docs/
atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_fieldpermissions.htm
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from integrations.outbound.abilities import Difference, FieldSpec, FieldType
from integrations.outbound.answers import mapping, text
from integrations.outbound.salesforce_token import Options

_TYPES: Final[dict[FieldType, frozenset[str]]] = {
    FieldType.TEXT: frozenset({"string", "textarea", "picklist", "combobox", "email", "url"}),
    FieldType.LIST: frozenset({"textarea", "multipicklist"}),
    FieldType.NUMBER: frozenset({"double", "currency", "percent"}),
    FieldType.INTEGER: frozenset({"int", "double", "currency"}),
    FieldType.BOOLEAN: frozenset({"boolean"}),
    FieldType.DATE: frozenset({"date"}),
    FieldType.DATETIME: frozenset({"datetime"}),
}
"""Ours -> types of `describe` that take it."""

_MADE: Final[dict[FieldType, dict[str, Any]]] = {
    FieldType.TEXT: {"type": "Text", "length": 255},
    FieldType.LIST: {"type": "LongTextArea", "length": 32_768, "visibleLines": 3},
    FieldType.NUMBER: {"type": "Number", "precision": 18, "scale": 6},
    FieldType.INTEGER: {"type": "Number", "precision": 18, "scale": 0},
    FieldType.BOOLEAN: {"type": "Checkbox", "defaultValue": "false"},
    FieldType.DATE: {"type": "Date"},
    FieldType.DATETIME: {"type": "DateTime"},
}
"""Ours -> what is created."""

_CUSTOM: Final = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*__c", re.ASCII)
"""Names that can be created: with a suffix, and in no package's name space."""
_LONGEST_LABEL: Final = 40


class Creation(NamedTuple):
    """One record to be created: where, and what of."""

    path: str
    record: Mapping[str, Any]


def differences_of(
    options: Options, fields: Sequence[FieldSpec], described: Sequence[Any]
) -> tuple[Difference, ...]:
    """What `describe` lacks of the key and the fields; names are the same in any case."""
    found = {text(one.get("name")).casefold(): one for one in map(mapping, described)}
    key = FieldSpec(options.external_id_field, FieldType.TEXT, "crm-reflex id")
    lacking = [_difference(spec, found.get(spec.name.casefold())) for spec in fields]
    of_key = _key_difference(key, found.get(key.name.casefold()))
    return tuple(one for one in (of_key, *lacking) if one is not None)


def creations(options: Options, fields: Sequence[FieldSpec]) -> tuple[Creation, ...]:
    """The records that create fields, and those that let a permission set write them."""
    made, granted = [], []
    for spec in fields:
        metadata = {"label": spec.label[:_LONGEST_LABEL], "required": False, **_MADE[spec.type]}
        if spec.name == options.external_id_field:
            metadata |= {"externalId": True, "unique": True, "caseSensitive": True}
        full_name = f"{options.object}.{spec.name}"
        made.append(
            Creation("tooling/sobjects/CustomField", {"FullName": full_name, "Metadata": metadata})
        )
        permission = {
            "ParentId": options.permission_set,
            "SobjectType": options.object,
            "Field": full_name,
            "PermissionsRead": True,
            "PermissionsEdit": True,
        }
        granted.append(Creation("sobjects/FieldPermissions", permission))
    return (*made, *(granted if options.permission_set else ()))


def _difference(spec: FieldSpec, found: Mapping[str, Any] | None) -> Difference | None:
    if found is None:
        return _missing(spec, str(_MADE[spec.type]["type"]))
    kind = text(found.get("type"))
    if kind not in _TYPES[spec.type]:
        return Difference(spec, f"the field is of type {kind}, {spec.type} is sent", False)
    if found.get("updateable") is not True:
        return Difference(spec, "the user may not change the field", False)
    return None


def _key_difference(key: FieldSpec, found: Mapping[str, Any] | None) -> Difference | None:
    if found is None:
        return _missing(key, "Text, External ID and Unique")
    if found.get("externalId") is not True or found.get("unique") is not True:
        return Difference(key, "the field must be marked External ID and Unique", False)
    return None


def _missing(spec: FieldSpec, made: str) -> Difference:
    lacks = "no such field, or the user may not see it"
    if not _CUSTOM.fullmatch(spec.name):
        return Difference(spec, f"{lacks}; only names that end in __c can be created", False)
    return Difference(spec, f"{lacks}; it would be created as {made}", True)

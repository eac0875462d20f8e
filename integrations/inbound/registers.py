"""Last-writer-wins values: traits, consents, group, aliases."""

from collections.abc import Mapping
from typing import Any, Final

from integrations.inbound.names import CONSENT_UPDATED, UNSUBSCRIBED
from integrations.inbound.segment import MAX_ID, MAX_NAME, Common
from integrations.rejection import RejectionError

Register = tuple[str, str | int | bool | None]

_INSIDE: Final = {
    "country": ("address", "country"),
    "state": ("address", "state"),
    "city": ("address", "city"),
    "industry": ("company", "industry"),
    "plan": ("company", "plan"),
}
"""Trait -> where else the specification puts it: inside another trait."""

EMAIL_CONSENT: Final = "consent:email"
_TELL_CONSENT: Final = frozenset({UNSUBSCRIBED, CONSENT_UPDATED})


def consents(event: Common) -> tuple[Register, ...]:
    """`context.consent.categoryPreferences` as ("consent:<category>", bool), sorted."""
    context = event.get("context")
    if not context:
        return ()
    consent = context.get("consent")
    if not consent:
        return ()
    chosen = consent.get("categoryPreferences") or {}
    return tuple(sorted((f"consent:{category}", given) for category, given in chosen.items()))


def track_registers(
    signal: str, event: Common, properties: Mapping[str, Any]
) -> tuple[Register, ...]:
    """Registers of a track event: its consents, and what its name says about consent."""
    told = consents(event)
    if signal not in _TELL_CONSENT:
        return told
    found = dict(told)
    if signal == UNSUBSCRIBED:
        found[EMAIL_CONSENT] = False
    else:
        for field in ("categories", "categoryPreferences"):
            found |= _preferences(properties.get(field), f"properties.{field}")
        if not found:
            raise RejectionError("missing_field", "properties.categories")
    return tuple(sorted(found.items()))


def _preferences(chosen: Any, path: str) -> dict[str, str | int | bool | None]:
    if chosen is None:
        return {}
    if not isinstance(chosen, dict):
        raise RejectionError("wrong_type", path)
    for category, given in chosen.items():
        _text(category, path, MAX_NAME)
        if not isinstance(given, bool):
            raise RejectionError("wrong_type", path)
    return {f"consent:{category}": given for category, given in chosen.items()}


def trait_registers(traits: Mapping[str, Any], kept: frozenset[str]) -> dict[str, Any]:
    """Kept traits as {"trait:<name>": value}; a null clears."""
    found: dict[str, Any] = {}
    for name in kept:
        if name in traits:
            path, value = f"traits.{name}", traits[name]
        elif name in _INSIDE:
            outer, inner = _INSIDE[name]
            holder = traits.get(outer)
            if not isinstance(holder, dict) or inner not in holder:
                continue
            path, value = f"traits.{outer}.{inner}", holder[inner]
        else:
            continue
        if name == "company" and isinstance(value, dict):
            path, value = "traits.company.name", value.get("name")
        found[f"trait:{name}"] = _plain(value, path)
    return found


def _plain(value: Any, path: str) -> str | int | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path, MAX_ID)
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    if isinstance(value, float):
        return repr(value)  # registers hold no floats: equal on every machine, and as sent
    raise RejectionError("wrong_type", path)


def _text(value: str, path: str, longest: int) -> str:
    if len(value) > longest:
        raise RejectionError("too_long", path)
    if any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in value):
        raise RejectionError("control_character", path)
    return value

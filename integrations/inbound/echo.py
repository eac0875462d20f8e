"""Echoes: what we wrote into a CRM, told back to us as if a customer had changed.

A CRM announces every change of a contact, ours too, and an audience tool passes every event on.
Taken as news, our own write would be an event, its reaction another write, and so on. An echo is

  any call            of our own library (`context.library.name`)
  identify            of which nothing is kept, and which names a field that we write, or comes
                      from a system that we write to
  Audience Entered    and Exited, from a system that we write to

A system is named by `context.integration.name`, or the source of a CloudEvent. All that depends on
nothing but the event and the settings, so no order of events can change it.

Sources
  HubSpot, webhooks: a property change names its property; BottleCRM, Salesforce, Zoho: a change
  brings the record's standard fields, not what changed, and none of them is a trait that is kept.
"""

from collections.abc import Mapping
from typing import Any, Final

from integrations.inbound.reading import Reading
from integrations.inbound.segment import Context, Identify, Track
from integrations.ours import ENTERED, EXITED, LIBRARY

_OUR_EVENTS: Final = frozenset({ENTERED, EXITED})


def is_told_back(event: Identify, reading: Reading, *, is_kept: bool) -> bool:
    """Is an `identify` our own write? is_kept  something of it is kept."""
    context = event.get("context")
    if context and _name(context, "library") == LIBRARY:
        return True
    if is_kept:
        return False
    return _names_ours(event.get("traits") or {}, reading.own_fields) or _is_from(context, reading)


def is_passed_on(event: Track, signal: str, reading: Reading) -> bool:
    """Is a `track` our own event?"""
    context = event.get("context")
    if not context:
        return False
    if _name(context, "library") == LIBRARY:
        return True
    return signal in _OUR_EVENTS and _is_from(context, reading)


def _names_ours(traits: Mapping[str, Any], ours: frozenset[str]) -> bool:
    """Custom fields stand beside the standard ones, or in a table of their own."""
    return not ours.isdisjoint(traits) or any(
        isinstance(value, dict) and not ours.isdisjoint(value) for value in traits.values()
    )


def _is_from(context: Context | None, reading: Reading) -> bool:
    return bool(context) and _name(context, "integration") in reading.destinations


def _name(context: Mapping[str, Any] | None, member: str) -> str:
    found = (context or {}).get(member)
    name = found.get("name") if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""

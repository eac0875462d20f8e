"""Echoes: what we wrote into a CRM, told back to us as if a customer had changed.

A CRM announces every change of a contact, ours too. Forwarded as `identify`, our own write would
be an event, its reaction another write, and so on. An `identify` of which nothing is kept is an
echo when it names a field that we write, or says that it comes from a system that we write to
(`context.integration.name`, the source of a CloudEvent). That depends on nothing but the event and
the settings, so it costs a look at such events only, and no order of events can change it.

Sources
  HubSpot, webhooks: a property change names its property; BottleCRM, Salesforce, Zoho: a change
  brings the record's standard fields, not what changed, and none of them is a trait that is kept.
"""

from collections.abc import Mapping
from typing import Any

from integrations.inbound.reading import Reading
from integrations.inbound.segment import Identify


def is_echo(event: Identify, reading: Reading) -> bool:
    """Is an `identify` of which nothing is kept our own write?"""
    traits = event.get("traits") or {}
    return _names_ours(traits, reading.own_fields) or _origin(event) in reading.destinations


def _names_ours(traits: Mapping[str, Any], ours: frozenset[str]) -> bool:
    """Custom fields stand beside the standard ones, or in a table of their own."""
    return not ours.isdisjoint(traits) or any(
        isinstance(value, dict) and not ours.isdisjoint(value) for value in traits.values()
    )


def _origin(event: Identify) -> str:
    context = event.get("context") or {}
    integration = context.get("integration")
    name = integration.get("name") if isinstance(integration, dict) else None
    return name if isinstance(name, str) else ""

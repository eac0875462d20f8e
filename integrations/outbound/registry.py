"""Adapters by name: one line here puts a destination under the shared contract tests.

Other packages add theirs by an entry point of the group `crm_reflex.adapters`, whose name is the
adapter's and whose value is its class. An adapter is imported when it is first asked for.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Final, Protocol, Self, cast

from pydantic import SecretStr

from integrations.outbound.contract import Adapter
from integrations.outbound.errors import UnknownAdapterError
from integrations.outbound.options import AdapterOptions, read_options

GROUP: Final = "crm_reflex.adapters"

ADAPTERS: Final[Mapping[str, str]] = {
    "standard_webhook": "integrations.outbound.standard_webhook:StandardWebhook",
    "bottlecrm": "integrations.outbound.bottlecrm:BottleCRM",
    "hubspot": "integrations.outbound.hubspot:HubSpot",
    "salesforce": "integrations.outbound.salesforce:Salesforce",
    "klaviyo": "integrations.outbound.klaviyo:Klaviyo",
    "segment": "integrations.outbound.segment:Segment",
    "zoho": "integrations.outbound.zoho:Zoho",
    "wecom": "integrations.outbound.wecom:WeCom",
    "dingtalk": "integrations.outbound.dingtalk:DingTalk",
    "feishu": "integrations.outbound.feishu:Feishu",
}
"""Ours: name -> where its class is."""


class Buildable(Adapter, Protocol):
    """A class of adapters."""

    options_type: ClassVar[type[AdapterOptions]]

    @classmethod
    def build(cls, options: Any) -> Self:
        """The adapter of a destination with these options, an instance of `options_type`."""
        ...


def names() -> tuple[str, ...]:
    """Every adapter that can be built here: ours first, then those of other packages."""
    return tuple(_found())


def adapter_class(name: str) -> type[Buildable]:
    """The class of an adapter; raise UnknownAdapterError."""
    try:
        place = _found()[name]
    except KeyError:
        raise UnknownAdapterError(f"no adapter {name!r}; known: {', '.join(names())}") from None
    try:
        found = place.load()
    except Exception as error:  # noqa: BLE001  somebody else's package: it must not stop the others
        raise UnknownAdapterError(
            f"adapter {name!r} can't be loaded from {place.value}: {type(error).__name__}"
        ) from None
    options = getattr(found, "options_type", None)
    if not (isinstance(options, type) and issubclass(options, AdapterOptions)):
        raise UnknownAdapterError(f"{place.value} is no adapter: it has no options_type")
    return cast("type[Buildable]", found)


def build(
    name: str,
    options: Mapping[str, Any],
    secrets: Mapping[str, Sequence[SecretStr]] | None = None,
) -> Adapter:
    """The adapter of one destination.

    options  without secrets
    secrets  option -> values, the newest first
    Raises   UnknownAdapterError, OptionsError
    """
    kind = adapter_class(name)
    return kind.build(read_options(kind.options_type, options, secrets or {}))


@cache
def _found() -> Mapping[str, EntryPoint]:
    """Ours win over others of the same name."""
    others = {point.name: point for point in entry_points(group=GROUP)}
    ours = {name: EntryPoint(name, place, GROUP) for name, place in ADAPTERS.items()}
    return ours | {name: point for name, point in others.items() if name not in ours}

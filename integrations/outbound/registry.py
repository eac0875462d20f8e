"""Adapters by name: one line here puts a destination under the shared contract tests."""

from collections.abc import Callable, Sequence
from typing import Final

from integrations.outbound.contract import Adapter
from integrations.outbound.errors import UnknownAdapterError
from integrations.outbound.standard_webhook import StandardWebhook

Builder = Callable[[str, Sequence[str]], Adapter]
"""(url, secrets) -> adapter; raises SecretError."""

ADAPTERS: Final[dict[str, Builder]] = {
    StandardWebhook.name: StandardWebhook.build,
}


def build(name: str, url: str, secrets: Sequence[str]) -> Adapter:
    """The adapter of one destination; raise UnknownAdapterError, SecretError."""
    try:
        builder = ADAPTERS[name]
    except KeyError:
        raise UnknownAdapterError(f"no adapter {name!r}; known: {', '.join(ADAPTERS)}") from None
    return builder(url, secrets)

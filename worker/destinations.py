"""All destinations of an installation: those of the file, and the one that the settings name."""

from __future__ import annotations

import os
from typing import Final

from dotenv import dotenv_values

from integrations.destinations import Destination, DestinationsError, Window, load_destinations
from worker.settings import Settings
from worker.settings_sources import ENV_FILE, variable

WEBHOOK: Final = "webhook"
"""Name of the destination that CRM_REFLEX_WEBHOOK_URL makes."""
WEBHOOK_CALLS_S: Final = 1000
"""Most calls a second to it: a guard, as its own server asks for patience when it needs it."""


def configured(settings: Settings, *, with_secrets: bool = True) -> tuple[Destination, ...]:
    """The webhook of the settings, then the file's destinations; no name twice.

    with_secrets  read what the file refers to: variables of the environment or `.env`, and files.
                  Only what sends needs that: other workers run without the secrets
    Raises        DestinationsError
    """
    webhook = _webhook(settings)
    if settings.destinations_file is None:
        return webhook
    environ = None
    if with_secrets:
        dotenv = {name: value for name, value in dotenv_values(ENV_FILE).items() if value}
        environ = {**dotenv, **os.environ}
    loaded = load_destinations(settings.destinations_file, environ)
    if webhook and any(one.name == WEBHOOK for one in loaded):
        raise DestinationsError(
            [
                (
                    f"{settings.destinations_file}: destinations.{WEBHOOK}: this name is taken by"
                    f" {variable('webhook_url')}: rename it, or unset the variable"
                )
            ]
        )
    return webhook + loaded


def is_stream(destination: Destination) -> bool:
    """Does it take events? Adapters that can do both have the option `send`."""
    return destination.options.get("send") == "events"


def _webhook(settings: Settings) -> tuple[Destination, ...]:
    if settings.webhook_url is None or settings.webhook_secret is None:
        return ()
    return (
        Destination(
            name=WEBHOOK,
            adapter="standard_webhook",
            options={"url": str(settings.webhook_url)},
            secrets={"secrets": (settings.webhook_secret,)},
            coalesce_s=settings.coalesce_s,
            coalesce_max_s=settings.coalesce_s,
            reserve=0.0,
            requests_per=(Window(requests=WEBHOOK_CALLS_S, window_s=1.0),),
            concurrency=settings.webhook_concurrency,
            timeout_s=settings.webhook_timeout_s,
            allow_private=settings.webhook_allow_private,
        ),
    )

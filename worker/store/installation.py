"""What was fixed when an installation was created; another configuration may not touch its data."""

from __future__ import annotations

from typing import Final

from worker.store.keys import Keys
from worker.store.scripts import Client

FORMAT: Final = 1


class InstallationError(RuntimeError):
    """The server holds an installation that these settings or this release do not fit."""


def verify(client: Client, keys: Keys, now_s: int) -> None:
    """Create the installation, or check that its shards and format are ours.

    Raises InstallationError.
    """
    key = keys.installation()
    pipeline = client.pipeline(transaction=False)
    pipeline.hsetnx(key, "shards", keys.shards)
    pipeline.hsetnx(key, "format", FORMAT)
    pipeline.hsetnx(key, "created_s", now_s)
    pipeline.hmget(key, "shards", "format")
    shards, form = (int(value) for value in pipeline.execute()[-1])
    if shards != keys.shards:
        raise InstallationError(
            f"the installation {keys.prefix!r} was created with {shards} shards, the settings say"
            f" {keys.shards}: set CRM_REFLEX_SHARDS={shards}, or another CRM_REFLEX_KEY_PREFIX"
        )
    if form > FORMAT:
        raise InstallationError(
            f"the installation {keys.prefix!r} has format {form}; this release reads {FORMAT}"
        )

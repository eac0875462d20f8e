"""What a command works with: the settings, the server they name or the embedded one, a runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.failures import RefusedError

if TYPE_CHECKING:
    from worker.bootstrap import Runtime
    from worker.settings import Settings


@contextmanager
def server(settings: Settings, *, create: bool) -> Iterator[str]:
    """The URL of the state server; the embedded one is used for as long as this lasts.

    create   start a new embedded server where there was none; else that is refused: a command that
             only looks does not leave an empty one behind
    Raises EmbeddedServerError, RefusedError.
    """
    from worker.embedded import embedded_server  # noqa: PLC0415  nothing is loaded that is not used

    if settings.redis_url is not None:
        yield settings.redis_url.get_secret_value()
        return
    folder = settings.data_dir.resolve()
    if not create and not (folder / "valkey").is_dir():
        raise RefusedError(
            f"there is no data in {folder}: start with `crm-reflex up`, go to the folder that you"
            " started it in, or set CRM_REFLEX_REDIS_URL"
        )
    with embedded_server(settings.data_dir) as url:
        yield url


@contextmanager
def session(*, create: bool = False) -> Iterator[Runtime]:
    """A connected runtime under the settings of this process; closed at the end.

    create   see `server`
    Raises SettingsError, EmbeddedServerError, InstallationError, RefusedError, RedisError.
    """
    from worker import telemetry  # noqa: PLC0415  nothing is loaded that is not used
    from worker.bootstrap import Runtime  # noqa: PLC0415  same
    from worker.settings import Settings  # noqa: PLC0415  same

    settings = Settings()
    level = "DEBUG" if settings.log_level == "DEBUG" else "WARNING"
    telemetry.configure(level, settings.log_format)
    with server(settings, create=create) as url:
        active = Runtime(settings, url)
        try:
            _ = active.client
            yield active
        finally:
            if "client" in active.__dict__:
                active.client.close()


def order(active: Runtime, name: str, *args: object) -> None:
    """Queue a work order by task name; raises the broker's errors."""
    from worker.app import configure, send  # noqa: PLC0415  Celery: only where an order is sent
    from worker.serve import broker_url  # noqa: PLC0415  same

    configure(active.settings, broker_url(active.settings, active.url))
    send(name, *args)

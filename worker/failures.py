"""What can go wrong for whoever types a command: one line that says what to do, and an exit code.

0 done, 1 refused or failed, 2 wrong usage, 75 try again later (EX_TEMPFAIL of sysexits.h).
An error that is not listed here is a bug of ours, and shows its trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from redis.exceptions import RedisError

FAILED: Final = 1
TEMPORARY: Final = 75


class RefusedError(Exception):
    """A command cannot do what was asked; the text says why, and what to do."""


class LaterError(RefusedError):
    """It cannot now: the same command may succeed later."""


class Failure(NamedTuple):
    """What a person is told, and the exit code."""

    message: str
    code: int


_SERVER: Final = "Is it running, and is CRM_REFLEX_REDIS_URL right?"
_OURS: Final = ("worker.", "integrations.")
#: Errors that say themselves what to do: by name, so that nothing is imported for them.
_SPEAKING: Final = {
    "LaterError": TEMPORARY,
    "RefusedError": FAILED,
    "SettingsError": FAILED,
    "EmbeddedServerError": FAILED,
    "InstallationError": FAILED,
    "ArtifactError": FAILED,
    "StorageError": FAILED,
    "TooFewError": FAILED,
    "MemoryShortError": FAILED,
    "BusyTrainingError": TEMPORARY,
    "LostTrainingError": TEMPORARY,
    "CancelledTrainingError": FAILED,
    "FailedTrainingError": FAILED,
    "DestinationsError": FAILED,
    "UnknownAdapterError": FAILED,
    "OptionsError": FAILED,
    "RatesError": FAILED,
}


def failure_of(error: BaseException) -> Failure | None:
    """What to tell about an error; None when it is none of a person's making."""
    name = type(error).__name__
    if type(error).__module__.startswith(_OURS) and name in _SPEAKING:
        return Failure(str(error), _SPEAKING[name])
    if name == "BusyError":
        return Failure(f"busy: {error}. Try again later.", TEMPORARY)
    if type(error).__module__.startswith("kombu."):
        return Failure(
            f"the broker does not answer: {_first_line(error)}. Try again later.", TEMPORARY
        )
    if type(error).__module__.startswith("redis."):
        from redis.exceptions import RedisError  # noqa: PLC0415  slow to load, and rarely needed

        return _of_server(error) if isinstance(error, RedisError) else None
    return None


def _of_server(error: RedisError) -> Failure:
    from redis import exceptions as redis_errors  # noqa: PLC0415  loaded already

    text = _first_line(error)
    if isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError):
        return Failure(f"the server refused the login: {text}", FAILED)
    if isinstance(error, redis_errors.NoPermissionError):
        return Failure(f"the server's user may not do this: {text}", FAILED)
    if isinstance(error, redis_errors.BusyLoadingError):
        return Failure("the server is loading its data. Try again later.", TEMPORARY)
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError):
        return Failure(f"the server does not answer: {text}. {_SERVER}", TEMPORARY)
    if text.startswith("OOM") or isinstance(error, redis_errors.OutOfMemoryError):
        return Failure("the server's memory is used up: raise its maxmemory.", TEMPORARY)
    return Failure(f"the server refused: {text}", FAILED)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")

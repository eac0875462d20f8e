"""What a worker does with a message that is no order: it is named in the log and dropped, except
where it may hold an event.

Celery takes an incomplete message for a lost connection: it puts it back, connects anew, and takes
the same message again, so that one mistake of a producer would hold up a queue for ever. An order
holds nothing that exists nowhere else; a message for `events.emit` does, so its bytes go to the
intake, from where they come into the quarantine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import DecodeError
from redis.exceptions import RedisError

from worker.app import EMIT
from worker.process import runtime
from worker.store.door import Arrival, BusyError
from worker.telemetry import logger

log = logger(__name__)

#: What reading an incomplete message raises; none of them is a connection's error.
_INCOMPLETE: Final = (KeyError, TypeError, ValueError, AttributeError, DecodeError)


class Consumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no types
    """Celery's, except for messages that are no orders."""

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        """What is called with each message."""
        receive = super().create_task_handler(*args, **options)

        def on_task_received(message: Any) -> Any:
            try:
                if _may_hold_events(message):
                    _check_arguments(message.payload)
                return receive(message)
            except _INCOMPLETE as error:
                self._refuse(message, f"incomplete: {type(error).__name__} {error}")
                return None

        return on_task_received

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002  Celery's
        """Neither headers nor body name a task."""
        self._refuse(message, "incomplete: it names no task")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """The body is not what the headers say."""
        self._refuse(message, f"unreadable: {exc}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """What should be arguments is none."""
        self._refuse(message, f"invalid: {exc}")

    def _refuse(self, message: Any, why: str) -> None:
        log.error("order refused", reason=f"the message is {why}"[:100])
        again = False
        if _may_hold_events(message):
            try:
                runtime().door.take([Arrival(_raw(message))])
            except (BusyError, RedisError) as error:
                log.warning("events wait", reason=str(error))
                again = True
        message.reject_log_error(log, self.connection_errors, requeue=again)


def _may_hold_events(message: Any) -> bool:
    """Does it not name another task?"""
    headers = message.headers if isinstance(message.headers, dict) else {}
    return bool(headers.get("task", EMIT) == EMIT)


def _check_arguments(payload: Any) -> None:
    """A task whose arguments are none fails before its first line; protocol 1 names them."""
    args, options = (
        (payload["args"], payload["kwargs"]) if isinstance(payload, dict) else payload[:2]
    )
    if not isinstance(args, list) or not isinstance(options, dict):
        raise TypeError("the arguments are no list and no object")


def _raw(message: Any) -> bytes:
    body = message.body or b""
    return body if isinstance(body, bytes) else str(body).encode(errors="surrogatepass")

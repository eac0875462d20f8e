"""What a worker does with an incomplete message: it is dropped, and named in the log.

Celery takes such an error for a lost connection: it puts the message back, connects anew, and takes
the same message again, so that one mistake of a producer would hold up a queue for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery.worker.consumer import Consumer as CeleryConsumer

from worker.telemetry import logger

log = logger(__name__)

#: What reading an incomplete message raises; none of them is a connection's error.
_INCOMPLETE: Final = (KeyError, TypeError, ValueError, AttributeError)


class Consumer(CeleryConsumer):  # type: ignore[misc]  # Celery has no types
    """Celery's, except for incomplete messages."""

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], Any]:
        """What is called with each message."""
        receive = super().create_task_handler(*args, **options)

        def on_task_received(message: Any) -> Any:
            try:
                return receive(message)
            except _INCOMPLETE as error:
                told = f"the message is incomplete: {type(error).__name__} {error}"[:100]
                log.error("order refused", reason=told)  # noqa: TRY400  the trace is Celery's own
                message.reject_log_error(log, self.connection_errors)
                return None

        return on_task_received

"""Logs: key-value events on stderr, in ISO UTC time, that cannot carry personal data by accident.

What passes is an allow-list of keys, so a new key is dropped (and named under `dropped`) until it
is listed here. The text of an exception passes only where a library of ours wrote it.
"""

import logging
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

FRAME_KEYS = frozenset({"event", "level", "logger", "timestamp", "exception", "dropped"})
KEYS = frozenset(
    """
    adapter age_s applied attempt attempts backlog batch bytes code command commits count
    currency cursor customers dead delay_s delivered delivery_id destination duplicates
    elapsed_s entries entry_id epoch error events exit_code failed field from_version generation
    interval_s kind lag limit marks max_s metric model model_version name nap_ms order outcome
    pending pid port processes quarantined queue ratio read reason recovered refused
    retry_after_s rows rule seconds sent seq server shard shards signal size skipped slot stage
    state status stream task to_version total trained used_bytes version wait_s worker written
    """.split()  # noqa: SIM905  read and extended as a text
)
"""Keys that a log line may have beside the frame: counts, ids of machines, names of ours."""
TEXT_MAX = 200
SPEAKING = ("billiard", "celery", "integrations", "kombu", "models", "redis", "worker")
"""Packages whose exceptions are worded without the data that they met."""
QUIET = (
    "amqp", "asyncio", "urllib3", "requests", "celery.redirected",
    "celery.app.trace", "celery.beat", "celery.worker.strategy",  # a line for every order
)  # fmt: skip

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A module's own, made by its name: `log.info("committed", shard=3)`."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def configure(
    level: str = "INFO",
    log_format: Literal["auto", "console", "json"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Set up logging of this process once: ours, Celery's, every library's and warnings.

    level       DEBUG, INFO, WARNING or ERROR; libraries that chatter log from WARNING on
    log_format  auto is console on a terminal and json elsewhere
    stream      stderr unless given, so that results on stdout stay clean
    """
    out = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    renderer = _console(out) if console else structlog.processors.JSONRenderer(sort_keys=False)
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        plain_exception,
        only_allowed_keys,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.addFilter(_without_task_data)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                frame_first,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    logging.captureWarnings(capture=True)


def only_allowed_keys(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop every key that is not listed, name it under `dropped`, and cut long texts.

    >>> only_allowed_keys(None, "info", {"event": "done", "shard": 3, "email": "a@b.example"})
    {'event': 'done', 'shard': 3, 'dropped': ['email']}
    """
    kept = {
        key: value if key in FRAME_KEYS or key.startswith("_") else _short(value)
        for key, value in event.items()
        if key in KEYS or key in FRAME_KEYS or key.startswith("_")
    }
    dropped = sorted(event.keys() - kept.keys())
    return kept | {"dropped": dropped} if dropped else kept


def frame_first(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The same keys, when, how bad, who and what first."""
    first = [key for key in ("timestamp", "level", "logger", "event") if key in event]
    return {key: event[key] for key in [*first, *sorted(event.keys() - set(first))]}


def plain_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by a traceback without values: places, types, and texts of SPEAKING."""
    exc_info = event.pop("exc_info", None)
    if isinstance(exc_info, BaseException):
        event["exception"] = described(exc_info)
    elif isinstance(exc_info, tuple) and exc_info[1] is not None:
        event["exception"] = described(exc_info[1])
    elif exc_info is True and (current := sys.exception()) is not None:
        event["exception"] = described(current)
    event.pop("stack_info", None)
    return event


def described(error: BaseException) -> str:
    """The error and its causes, innermost last: type, text if it may be shown, and places."""
    lines: list[str] = []
    link: BaseException | None = error
    while link is not None:
        kind = type(link)
        package = kind.__module__.partition(".")[0]
        speaks = package in SPEAKING or (isinstance(link, OSError) and package == "builtins")
        name = kind.__qualname__ if package == "builtins" else f"{package}.{kind.__qualname__}"
        lines.append(f"{name}: {str(link)[:TEXT_MAX]}" if speaks else name)
        frames = traceback.extract_tb(link.__traceback__)
        lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(lines)


def _short(value: object) -> object:
    """A number as it is; anything else as a text of at most TEXT_MAX characters."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:TEXT_MAX]


def _without_task_data(record: logging.LogRecord) -> bool:
    """Let every record pass, but not the text of a task's error in Celery's line about it."""
    if record.name.startswith("celery.") and isinstance(record.args, Mapping):
        hidden = dict.fromkeys(("exc", "args", "kwargs", "traceback", "return_value"), "-")
        if record.exc_info and record.exc_info[0]:
            hidden["exc"] = record.exc_info[0].__name__
        record.args = {**record.args, **hidden}
    return True


def _console(out: TextIO) -> Any:
    return structlog.dev.ConsoleRenderer(
        colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
    )

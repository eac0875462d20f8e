"""What a check of the installation found, and what to change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from redis.exceptions import RedisError


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One check: what was found and, unless all is well, what to change."""

    check: str
    level: Level
    found: str
    advice: str = ""


def guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a group; a server that refuses to answer is one of them."""
    try:
        yield from look()
    except (RedisError, OSError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        name = "CRM_REFLEX_BROKER_URL" if check == "broker" else "CRM_REFLEX_REDIS_URL"
        advice = f"start it, or correct {name}; check the rights of its user"
        yield Finding(check, Level.FAIL, f"the server does not answer: {text}", advice)

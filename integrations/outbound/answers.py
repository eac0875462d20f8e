"""Reading what a vendor answered: any bytes lead to values, none to an exception."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from integrations.outbound.contract import Outcome, Response, Verdict

MAX_DETAIL: Final = 300
MAX_KEY: Final = 8192

UNMENTIONED: Final = Outcome(Verdict.RETRY, "unmentioned", "the answer does not tell of this row")
"""A row that an answer passes over: what became of it is unknown, upserts may be repeated."""


def document(response: Response) -> Any:
    """The JSON of the body; None where it is none, or was cut."""
    if response.truncated:
        return None
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> Sequence[Any]:
    """The value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any, *, most: int = MAX_DETAIL) -> str:
    """The value if it is a string or a whole number, as a string without control signs.

    most  signs that are kept: few of words for people, all of keys and addresses
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return "".join(sign if sign.isprintable() else " " for sign in str(value)[:most])


def compact(value: Any) -> bytes:
    """JSON as it is sent: UTF-8 without spaces; raises ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
        "utf-8", "surrogatepass"
    )

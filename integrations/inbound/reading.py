"""From bytes to checked events: parse each alone, validate a batch in few calls.

Each event is parsed on its own, so that no bytes of one can end up in another; only the
validation, which dominates and sees finished objects, is done for a whole batch at once. If a
batch has one event that fails, its group is validated again one by one.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import jiter
from pydantic import ConfigDict, TypeAdapter, ValidationError

from integrations.encoding import canonical_json
from integrations.inbound import cloudevents, segment
from integrations.rejection import Rejected, RejectionError, rejected

TRANSPORT_FIELDS: Final = frozenset(
    {
        "messageId",
        "sentAt",
        "receivedAt",
        "version",
        "channel",
        "integrations",
        "writeKey",
        "projectId",
        "_metadata",
    }
)
"""Top-level fields that tell how an event traveled, not what it says."""


DEFAULT_TRAITS: Final = frozenset(
    ["country", "state", "city", "language", "createdAt", "industry", "company", "plan", "gender"]
)
"""Traits that are kept; all others (email, phone, name ...) never leave the event."""


class Reading(NamedTuple):
    """Settings of the door.

    default_currency  ISO 4217 code of orders that name none
    traits            names of traits that are kept
    max_bytes         size of one event
    max_depth         nesting of one event
    future_s          how far an event may be ahead of its entry's time
    own_fields        fields of destinations that only we write
    destinations      names of the systems that we write to
    """

    default_currency: str = "USD"
    traits: frozenset[str] = DEFAULT_TRAITS
    max_bytes: int = 262_144
    max_depth: int = 32
    future_s: int = 300
    own_fields: frozenset[str] = frozenset()
    destinations: frozenset[str] = frozenset()


Checked = tuple[str, Any, dict[str, Any], str]
"""A valid event: (tag, see `segment.tag_of`; the fields that are read; the whole call as it was
sent; `source` of the CloudEvents envelope, "" without one)."""


_MODELS: Final[dict[str, Any]] = {
    "order": segment.Order,
    "retrain": segment.RetrainRequest,
    "track": segment.Track,
    "identify": segment.Identify,
    "alias": segment.Alias,
    "page": segment.Page,
    "screen": segment.Screen,
    "group": segment.Group,
}
_ONE: Final = {tag: TypeAdapter(model) for tag, model in _MODELS.items()}
_MANY: Final[dict[str, TypeAdapter[list[Any]]]] = {
    tag: TypeAdapter(list[model])  # type: ignore[valid-type]
    for tag, model in _MODELS.items()
}
_ID: Final[TypeAdapter[str | int]] = TypeAdapter(segment.Id, config=ConfigDict(strict=True))
_ENVELOPE: Final = TypeAdapter(cloudevents.CloudEvent)

_FIELDS: Final = frozenset(
    field
    for model in (
        segment.Consent,
        segment.Context,
        segment.Line,
        segment.SignalProperties,
        segment.OrderProperties,
        segment.RetrainProperties,
        segment.Alias,
        segment.Group,
        segment.Identify,
        segment.Track,
        cloudevents.CloudEvent,
    )
    for field in model.__annotations__
) | frozenset(segment.Common.__annotations__)

_REASON_BY_ERROR: Final = {
    "missing": "missing_field",
    "string_too_short": "missing_field",
    "string_too_long": "too_long",
    "too_short": "missing_field",
    "too_long": "too_long",
    "literal_error": "unknown_model",
    "finite_number": "not_finite",
}
_PENDING: Final = rejected("not_json")
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_POSITION: Final = re.compile(r"line [0-9]+ column [0-9]+")


def parse(raw: bytes, reading: Reading) -> dict[str, Any]:
    """One JSON object; raise RejectionError if the bytes are none."""
    if len(raw) > reading.max_bytes:
        raise RejectionError("too_large")
    if raw.count(b"{") + raw.count(b"[") > reading.max_depth and _depth(raw) > reading.max_depth:
        raise RejectionError("too_deep")
    try:
        value = jiter.from_json(
            raw, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys"
        )
    except ValueError as error:
        raise _unparsable(raw, str(error)) from None
    if type(value) is not dict:
        raise RejectionError("not_an_object")
    return value


def _depth(raw: bytes) -> int:
    """Deepest nesting outside strings."""
    depth = deepest = 0
    for byte in _STRINGS.sub(b"", raw):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _unparsable(raw: bytes, message: str) -> RejectionError:
    if message.startswith("Detected duplicate key"):
        return RejectionError("duplicate_key")
    if message.startswith("recursion limit"):
        return RejectionError("too_deep")
    if b"NaN" in raw or b"Infinity" in raw:
        try:
            jiter.from_json(raw, allow_inf_nan=True)
        except ValueError:
            pass
        else:
            return RejectionError("not_finite")
    where = _POSITION.search(message)
    return RejectionError("not_json", detail=f"Not JSON in UTF-8 at {where[0]}." if where else "")


def unwrap(event: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The Segment call in a CloudEvent, and its source; raise RejectionError if it is not 1.0."""
    if event["specversion"] != "1.0":
        raise RejectionError("bad_envelope", "specversion")
    if "data_base64" in event:
        raise RejectionError("bad_envelope", "data_base64")
    try:
        envelope = _ENVELOPE.validate_python(event)
    except ValidationError as error:
        raise reason_of(error) from None
    return cloudevents.to_segment(envelope), envelope["source"]


def check(raws: Sequence[bytes], reading: Reading) -> list[Checked | Rejected]:
    """Parse and validate, aligned with the input. Never raises on content."""
    out: list[Checked | Rejected] = []
    groups: dict[str, list[tuple[int, dict[str, Any], str]]] = {tag: [] for tag in _ONE}
    for position, raw in enumerate(raws):
        out.append(_PENDING)
        try:
            call, source = parse(raw, reading), ""
            if "specversion" in call:
                call, source = unwrap(call)
            groups[checked_tag(call)].append((position, call, source))
        except RejectionError as error:
            out[position] = error.rejected
    for tag, members in groups.items():
        if members:
            _check_group(tag, members, out)
    return out


def checked_tag(call: dict[str, Any]) -> str:
    """Which model reads the call, see `segment.tag_of`; raise RejectionError if none does."""
    tag = segment.tag_of(call)
    if tag not in _ONE:
        raise RejectionError("unknown_type", "type")
    return tag


def _check_group(
    tag: str, members: list[tuple[int, dict[str, Any], str]], out: list[Checked | Rejected]
) -> None:
    try:
        events = _MANY[tag].validate_python([call for _, call, _ in members])
    except ValidationError:
        for position, call, source in members:
            out[position] = _check_one(tag, call, source)
        return
    for (position, call, source), event in zip(members, events, strict=True):
        out[position] = (tag, event, call, source)


def _check_one(tag: str, call: dict[str, Any], source: str) -> Checked | Rejected:
    try:
        return tag, _ONE[tag].validate_python(call), call, source
    except ValidationError as error:
        return located(reason_of(error).rejected, source)


def located(problem: Rejected, source: str) -> Rejected:
    """The rejection with its path in the producer's own form."""
    return cloudevents.relocated(problem) if source else problem


def reason_of(error: ValidationError) -> RejectionError:
    """The first problem, told without the value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    steps = [step for step in first["loc"] if isinstance(step, int) or step in _FIELDS]
    path = ".".join(map(str, steps))
    reason = _REASON_BY_ERROR.get(first["type"], "wrong_type")
    if first["type"] == "string_pattern_mismatch":
        reason = "control_character"
    return RejectionError(reason, path)


def checked_id(value: Any, path: str) -> str | int:
    """An id that stands outside the models; raise RejectionError if it is none."""
    try:
        return _ID.validate_python(value)
    except ValidationError as error:
        raise RejectionError(reason_of(error).rejected.reason, path) from None


def fallback_id(call: dict[str, Any]) -> str:
    """Identity of an event that brings none: hash of its canonical JSON, transport left out."""
    meaning = {key: value for key, value in call.items() if key not in TRANSPORT_FIELDS}
    return blake2b(canonical_json(meaning), digest_size=16).hexdigest()

"""Answers of chat robots: the status is 200, the truth is a number in the body."""

from collections.abc import Mapping
from typing import NamedTuple

from integrations.outbound.answers import UNMENTIONED, document, mapping, text
from integrations.outbound.contract import Outcome, Response, Verdict
from integrations.outbound.status import outcome_of_status


class Codes(NamedTuple):
    """Where a robot puts its number, and what numbers mean; 0 is ok, all others permanent.

    names      members of the answer that may hold the number, the first one counts
    messages   members that hold its words
    throttled  number -> seconds to wait
    again      of the vendor's own troubles
    refused    of keys, signatures and other settings: nothing passes until they are mended
    """

    names: tuple[str, ...]
    messages: tuple[str, ...]
    throttled: Mapping[int, float]
    again: frozenset[int]
    refused: frozenset[int]


def outcome_of_robot(response: Response, codes: Codes, *, at_s: int) -> Outcome:
    """The outcome of a digest, the same for all its rows."""
    plain = outcome_of_status(response, at_s=at_s)
    answer = mapping(document(response))
    code = next((answer[name] for name in codes.names if name in answer), None)
    if not isinstance(code, int) or isinstance(code, bool):
        return UNMENTIONED if plain.verdict is Verdict.OK else plain
    detail = next((text(answer[name]) for name in codes.messages if name in answer), "")
    if code == 0:
        return Outcome(Verdict.OK, "sent") if plain.verdict is Verdict.OK else plain
    if code in codes.throttled:
        return Outcome(Verdict.THROTTLED, str(code), detail, codes.throttled[code])
    if code in codes.refused:
        return Outcome(Verdict.AUTH, str(code), detail)
    if code in codes.again:
        return Outcome(Verdict.RETRY, str(code), detail)
    verdict = Verdict.PERMANENT if plain.verdict is Verdict.OK else plain.verdict
    return Outcome(verdict, str(code), detail, plain.retry_after_s)

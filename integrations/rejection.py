"""Why an event is refused: one code per reason, compared with docs/events.md by a test."""

from typing import Final, NamedTuple

REASONS: Final[dict[str, str]] = {
    "too_large": "The event is larger than the size limit.",
    "too_deep": "Objects and arrays are nested deeper than the limit.",
    "not_json": "The bytes are not one JSON text in UTF-8.",
    "not_finite": "A number is NaN, Infinity or too large for a float.",
    "duplicate_key": "An object has the same key twice.",
    "not_an_object": "The JSON text is not an object.",
    "unknown_type": "`type` is not one of track, identify, alias, page, screen, group.",
    "bad_envelope": "The CloudEvents envelope is not version 1.0 with JSON data.",
    "missing_customer": "There is neither a userId nor an anonymousId.",
    "missing_field": "A required field is absent or empty.",
    "missing_item": "An order line has neither product_id nor sku.",
    "missing_order": "An update, cancellation or full refund names no order_id.",
    "wrong_type": "A field has another type than the event contract says.",
    "too_long": "A text is longer than its limit.",
    "control_character": "An id or a name contains a control character.",
    "bad_time": "A time is not an ISO 8601 date and time.",
    "naive_time": "A time has no zone.",
    "future_time": "The event time is later than the entry's time plus the tolerance.",
    "time_out_of_range": "The event time is before 1970 or after the year 9000.",
    "bad_amount": "An amount is not a decimal number below 10^12.",
    "negative_amount": "An amount, or the order value that follows from the amounts, is negative.",
    "bad_quantity": "A quantity is not a number above zero and below 10^9.",
    "unknown_model": "A model is not one of segments, recommendations, forecasts.",
    "bad_currency": "The currency is not an ISO 4217 code.",
}


class Rejected(NamedTuple):
    """An event that does not enter: where and why, never the value of a field.

    reason  a code of `REASONS`
    path    the field, as in "properties.products.0.price"; "" = the whole event
    detail  one sentence
    """

    reason: str
    path: str = ""
    detail: str = ""


class RejectionError(ValueError):
    """Raised inside a reader; the door turns it into `Rejected`."""

    def __init__(self, reason: str, path: str = "", detail: str = "") -> None:
        super().__init__(reason, path)
        self.rejected = Rejected(reason, path, detail or REASONS[reason])

    def at(self, path: str) -> "RejectionError":
        """The same problem, found at this field."""
        return RejectionError(self.rejected.reason, path, self.rejected.detail)


def rejected(reason: str, path: str = "", detail: str = "") -> Rejected:
    """A rejection with the reason's own sentence unless a better one is given."""
    return Rejected(reason, path, detail or REASONS[reason])

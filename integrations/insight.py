"""What is known about a customer: the contract of what goes out.

Names follow the profile fields that CRM and marketing tools already use (historic_clv,
predicted_clv, churn_probability, expected_date_of_next_order ...). Money is decimal in major
units, a JSON number on the wire, rounded to the digits of its currency.
"""

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainSerializer,
    model_validator,
)

from integrations.money import MINOR_DIGITS

Money = Annotated[
    Decimal,
    Field(allow_inf_nan=False),
    PlainSerializer(float, return_type=float, when_used="json"),
]
"""Major units of the insight's currency."""
Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

MONEY_FIELDS: Final = (
    "historic_clv",
    "predicted_clv",
    "total_clv",
    "average_order_value",
    "expected_spend_90d",
    "clv_12m",
)
_QUANTUM: Final = {digits: Decimal(1).scaleb(-digits) for digits in range(5)}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class ModelVersions(_Part):
    """Versions of the models that spoke; null where none did.

    Segments follow the customers in minor versions: 12 and 3 are version 12.3. `rules` is the
    version of the rule segments' definitions.
    """

    segments: int | None = None
    segments_minor: NonNegativeInt = 0
    rules: int | None = None
    forecasts: int | None = None
    recommendations: int | None = None


class Segment(_Part):
    """The segment a customer is in, since when, and the one before.

    `pending_id` is another one that has become nearer, on `pending_since`, but not for long enough.
    """

    id: int
    name: str
    since: date
    previous_id: int | None = None
    pending_id: int | None = None
    pending_since: date | None = None


class Audience(_Part):
    """A rule segment that the customer fulfills, and since when."""

    id: str
    name: str
    since: date


class SimilarCustomer(_Part):
    """A customer with a like history; score is the cosine."""

    customer_id: str
    score: Finite


class Recommendation(_Part):
    """An item, its score within the list, and the reason in words.

    score    how likely its choice is beside that of the list's best, in [0, 1]
    members  what each member of the blend adds to its utility
    rec_id   what `Recommendation Shown` and `Recommendation Clicked` events about it carry
    """

    item_id: str
    score: Finite
    reason: str
    members: dict[str, Finite] = {}
    rec_id: str = ""


class NextOrderWindow(_Part):
    """10, 50 and 90 % of the next orders, given one within a year, come by these days."""

    p10: date
    p50: date
    p90: date


class Range(_Part):
    """An 80 % interval: one in ten such customers ends below `low`, one in ten above `high`."""

    low: Money
    high: Money


class HorizonForecast(_Part):
    """The forecasts of one more horizon; a path of a mapping is `horizons.180d.expected_orders`.

    Money is null where it abstains.
    """

    purchase_probability: Probability
    expected_orders: NonNegative
    expected_orders_range: Range | None = None
    expected_spend: Money | None = None
    expected_spend_range: Range | None = None


class CustomerInsight(_Part):
    """All that is known about one customer, as of an instant.

    insight_version grows with every change of the customer's insight: a receiver may refuse an
    older one. `abstained` tells, for a field that is null, why no figure is given. `horizons` holds
    the installation's own beside 30 and 90 days, by name: `180d`.
    """

    customer_id: str
    insight_version: NonNegativeInt
    as_of: AwareDatetime
    through_event_id: str | None = None
    model_versions: ModelVersions = ModelVersions()

    segment: Segment | None = None
    audiences: tuple[Audience, ...] = ()
    similar_customers: tuple[SimilarCustomer, ...] = ()
    buy_again: tuple[Recommendation, ...] = ()
    new_for_you: tuple[Recommendation, ...] = ()

    currency: str | None = None
    historic_clv: Money | None = None
    predicted_clv: Money | None = None
    total_clv: Money | None = None
    average_order_value: Money | None = None
    historic_number_of_orders: NonNegativeInt = 0
    predicted_number_of_orders: NonNegative | None = None
    average_days_between_orders: NonNegative | None = None
    churn_probability: Probability | None = None
    expected_date_of_next_order: date | None = None

    purchase_probability_30d: Probability | None = None
    purchase_probability_90d: Probability | None = None
    expected_orders_90d: NonNegative | None = None
    expected_spend_90d: Money | None = None
    p_alive: Probability | None = None
    clv_12m: Money | None = None
    next_order_window: NextOrderWindow | None = None
    churn_horizon_days: NonNegativeInt | None = None
    expected_orders_90d_range: Range | None = None
    expected_spend_90d_range: Range | None = None
    horizons: dict[str, HorizonForecast] = {}
    forecast_drivers: tuple[str, ...] = ()
    forecast_reliability: Literal["prior", "low", "normal"] | None = None
    abstained: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _round_money(cls, fields: Any) -> Any:
        """Round amounts to the digits of the currency, half to even; refuse amounts without one."""
        if not isinstance(fields, dict):
            return fields
        given = [name for name in MONEY_FIELDS if fields.get(name) is not None]
        if not given:
            return fields
        digits = MINOR_DIGITS.get(fields.get("currency") or "")
        if digits is None:
            raise ValueError("amounts need an ISO 4217 currency")
        rounded = dict(fields)
        for name in given:
            amount = fields[name]
            if isinstance(amount, float):
                amount = repr(amount)
            rounded[name] = Decimal(amount).quantize(_QUANTUM[digits], ROUND_HALF_EVEN)
        return rounded

"""The contract of what goes out: fields, rounding and bytes."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from integrations.encoding import canonical_json, insight_payload
from integrations.insight import MONEY_FIELDS
from integrations.insight_fields import NoSuchPathError, kind_of, steps_of, value_at
from integrations.schemas import (
    CustomerInsight,
    customer_event_schema,
    customer_insight_schema,
)

FIELDS = {
    "customer_id": "c1",
    "insight_version": 7,
    "as_of": datetime(2026, 11, 22, 10, tzinfo=UTC),
    "through_event_id": "1-0",
    "model_versions": {"segments": 1, "forecasts": 2, "recommendations": None},
    "segment": {"id": 3, "name": "Champions", "since": date(2026, 1, 1), "previous_id": 2},
    "similar_customers": [{"customer_id": "c2", "score": 0.5}],
    "buy_again": [{"item_id": "p1", "score": 1.0, "reason": "you bought it 7 times"}],
    "new_for_you": [{"item_id": "p2", "score": 0.25, "reason": "popular this month"}],
    "currency": "EUR",
    "historic_clv": Decimal("12.345"),
    "predicted_clv": "8.5",
    "total_clv": 20.845,
    "average_order_value": 4,
    "expected_spend_90d": Decimal("3.10"),
    "clv_12m": Decimal("8.50"),
    "historic_number_of_orders": 4,
    "predicted_number_of_orders": 1.24,
    "average_days_between_orders": 30.4,
    "churn_probability": 0.251,
    "purchase_probability_30d": 0.3,
    "purchase_probability_90d": 0.6,
    "expected_orders_90d": 0.92,
    "p_alive": 0.8,
    "expected_date_of_next_order": date(2026, 12, 7),
    "next_order_window": {
        "p10": date(2026, 11, 24),
        "p50": date(2026, 12, 7),
        "p90": date(2027, 2, 1),
    },
    "forecast_reliability": "normal",
    "abstained": {},
}


def insight(**changes):
    return CustomerInsight(**(FIELDS | changes))


def test_money_is_a_number_rounded_to_the_digits_of_its_currency():
    sent = json.loads(insight_payload(insight()))
    assert [sent[name] for name in MONEY_FIELDS] == [12.34, 8.5, 20.84, 4.0, 3.1, 8.5]
    assert b'"historic_clv":12.34,' in insight_payload(insight())
    assert json.loads(insight_payload(insight(currency="JPY")))["historic_clv"] == 12
    assert json.loads(insight_payload(insight(currency="KWD")))["historic_clv"] == 12.345


def test_amounts_without_a_currency_are_refused():
    for currency in (None, "XXX"):
        with pytest.raises(ValidationError, match="currency"):
            insight(currency=currency)
    assert insight(**dict.fromkeys(MONEY_FIELDS), currency=None).historic_clv is None


@pytest.mark.parametrize(
    "changes",
    [
        {"churn_probability": 1.01},
        {"p_alive": float("nan")},
        {"predicted_number_of_orders": float("inf")},
        {"historic_clv": "NaN"},
        {"insight_version": -1},
        {"as_of": datetime(2026, 11, 22)},  # noqa: DTZ001 - naive on purpose
        {"forecast_reliability": "high"},
        {"unknown": 1},
    ],
)
def test_what_is_not_in_the_contract_is_refused(changes):
    with pytest.raises((ValidationError, ArithmeticError)):
        insight(**changes)


def test_an_insight_is_frozen_and_little_is_enough():
    small = CustomerInsight(customer_id="c", insight_version=0, as_of=FIELDS["as_of"])
    with pytest.raises(ValidationError):
        small.customer_id = "d"
    assert json.loads(insight_payload(small))["segment"] is None


def test_the_payload_meets_its_published_schema_and_reads_back():
    schema = customer_insight_schema()
    Draft202012Validator.check_schema(schema)
    sent = json.loads(insight_payload(insight()))
    assert not list(Draft202012Validator(schema).iter_errors(sent))
    assert CustomerInsight.model_validate_json(insight_payload(insight())) == insight()
    Draft202012Validator.check_schema(customer_event_schema())


def test_equal_insights_are_equal_bytes():
    shuffled = CustomerInsight(**dict(reversed(FIELDS.items())))
    assert insight_payload(shuffled) == insight_payload(insight())


def test_canonical_json_sorts_keys_at_every_depth():
    assert (
        canonical_json({"b": {"d": 1, "c": "é"}, "a": []})
        == '{"a":[],"b":{"c":"é","d":1}}'.encode()
    )


def test_further_horizons_can_be_mapped():
    told = {"purchase_probability": 0.61234, "expected_orders": 1.5, "expected_spend": "12.30"}
    known = insight(horizons={"180d": told})
    sent = json.loads(insight_payload(known))
    assert value_at(sent, steps_of("horizons.180d.expected_spend")) == 12.3
    assert kind_of("horizons.180d.expected_orders_range.low").scalar == "number"
    with pytest.raises(NoSuchPathError):
        kind_of("horizons.180d.expected_odrers")

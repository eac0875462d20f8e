"""The money rule, quantities, order identity, refunds and cancellations."""

import json
from decimal import Decimal

import pytest

from integrations.facts import EventFact, Kind, Reading, read_events
from integrations.money import MINOR_DIGITS, major, minor_units, quantity_milli
from integrations.rejection import RejectionError

NOW = 1_795_341_672


def read(name, properties, **how):
    event = {"type": "track", "event": name, "userId": "u1", "messageId": "m1"}
    (result,) = read_events([json.dumps(event | {"properties": properties}).encode()], [NOW], **how)
    return result


def order(name="Order Completed", /, **properties):
    result = read(name, {"order_id": "o1", **properties})
    assert isinstance(result, EventFact), result
    return result


def refused(name="Order Completed", /, **properties):
    return read(name, {"order_id": "o1", **properties})[:2]


SPEC = {  # the example of the Segment Spec: 19 x 1 + 3 x 2 = 25, less 2.50, plus 3 and 2
    "revenue": 22.5,
    "subtotal": 22.5,
    "total": 27.5,
    "shipping": 3,
    "tax": 2,
    "discount": 2.5,
    "currency": "USD",
    "products": [
        {"product_id": "507f1f77", "sku": "45790-32", "price": 19, "quantity": 1},
        {"product_id": "505bd76785ebb509fc183733", "sku": "46493-32", "price": 3, "quantity": 2},
    ],
}


class TestMoney:
    @pytest.mark.parametrize(
        "absent",
        [(), ("revenue",), ("revenue", "subtotal"), ("revenue", "subtotal", "total")],
    )
    def test_each_way_to_the_value_of_the_specifications_example_agrees(self, absent):
        properties = {key: value for key, value in SPEC.items() if key not in absent}
        seen = order(**properties)
        assert (seen.amount_minor, seen.currency) == (2250, "USD")
        assert seen.lines == (("505bd76785ebb509fc183733", 2000), ("507f1f77", 1000))

    @pytest.mark.parametrize(
        ("amount", "currency", "minor"),
        [
            (19.99, "USD", 1999),
            ("19.99", "eur", 1999),
            (0.1, "USD", 10),
            (1.005, "USD", 100),
            (1.015, "USD", 102),
            ("1.115", "USD", 112),
            (1000, "JPY", 1000),
            (0.5, "JPY", 0),
            (1.5, "JPY", 2),
            (1.2345, "KWD", 1234),
            ("1.23455", "CLF", 12346),
            (0, "USD", 0),
            (-0.0, "USD", 0),
            (999_999_999_999, "USD", 99_999_999_999_900),
            (4.35, "USD", 435),
            (1e-7, "USD", 0),
        ],
    )
    def test_decimals_become_minor_units_half_to_even(self, amount, currency, minor):
        assert order(revenue=amount, currency=currency).amount_minor == minor

    def test_a_sum_is_rounded_once_at_the_end(self):
        products = [{"sku": f"s{n}", "price": 0.333, "quantity": 1} for n in range(3)]
        assert order(products=products).amount_minor == 100

    def test_without_a_currency_the_default_counts(self):
        assert order(revenue=5).currency == "USD"
        seen = read("Order Completed", {"revenue": 5}, reading=Reading(default_currency="JPY"))
        assert (seen.currency, seen.amount_minor) == ("JPY", 5)

    def test_no_word_about_money_is_unknown_and_not_zero(self):
        assert order().amount_minor is None
        assert order(products=[{"sku": "a", "price": 1}, {"sku": "b"}]).amount_minor is None
        assert order(products=[{"sku": "a", "price": 0}]).amount_minor == 0

    @pytest.mark.parametrize(
        ("properties", "reason", "path"),
        [
            ({"revenue": -1}, "negative_amount", "properties.revenue"),
            ({"revenue": "-0.01"}, "negative_amount", "properties.revenue"),
            ({"subtotal": -1}, "negative_amount", "properties.subtotal"),
            ({"total": 5, "tax": -1}, "negative_amount", "properties.tax"),
            ({"total": 5, "tax": 3, "shipping": 3}, "negative_amount", "properties"),
            ({"total": 1e12}, "bad_amount", "properties.total"),
            ({"revenue": 10**15}, "bad_amount", "properties.revenue"),
            ({"revenue": "1,50"}, "wrong_type", "properties.revenue"),
            ({"revenue": "$5"}, "wrong_type", "properties.revenue"),
            ({"revenue": "NaN"}, "wrong_type", "properties.revenue"),
            ({"revenue": "\u0665"}, "wrong_type", "properties.revenue"),
            ({"revenue": True}, "wrong_type", "properties.revenue"),
            ({"revenue": {}}, "wrong_type", "properties.revenue"),
            ({"currency": "XXX"}, "bad_currency", "properties.currency"),
            ({"currency": "dollars, US"}, "too_long", "properties.currency"),
            ({"currency": 840}, "wrong_type", "properties.currency"),
            (
                {"products": [{"sku": "a", "price": -1}]},
                "negative_amount",
                "properties.products.0.price",
            ),
            (
                {"products": [{"sku": "a", "price": 1}], "discount": 2},
                "negative_amount",
                "properties",
            ),
        ],
    )
    def test_other_amounts_are_refused(self, properties, reason, path):
        assert refused(**properties) == (reason, path)

    def test_a_number_beyond_floats_is_refused(self):
        event = {"type": "track", "event": "Order Completed", "userId": "u"}
        raw = (
            json.dumps(event | {"properties": {"revenue": "X"}}).encode().replace(b'"X"', b"1e999")
        )
        assert read_events([raw], [NOW])[0][:2] == ("not_finite", "properties.revenue")

    def test_money_of_other_events_is_not_read(self):
        assert isinstance(read("Product Viewed", {"price": "cheap"}), EventFact)

    def test_the_table_of_currencies_knows_all_four_kinds(self):
        assert [MINOR_DIGITS[code] for code in ("JPY", "EUR", "KWD", "CLF")] == [0, 2, 3, 4]
        assert len(MINOR_DIGITS) >= 160
        assert major(2250, "USD") == Decimal("22.50")
        assert major(-5, "JPY") == Decimal(-5)

    def test_the_helpers_refuse_what_is_no_number(self):
        for text in ("", "abc", "inf"):
            with pytest.raises(RejectionError):
                minor_units(text, 2)
        with pytest.raises(RejectionError):
            quantity_milli("nan")


class TestLines:
    def test_lines_of_one_item_are_merged_and_sorted(self):
        products = [{"sku": "b"}, {"product_id": "a", "quantity": 2}, {"sku": "b", "quantity": 0.5}]
        assert order(products=products).lines == (("a", 2000), ("b", 1500))

    @pytest.mark.parametrize(
        ("quantity", "milli"),
        [(1, 1000), (None, 1000), (0.25, 250), ("1.5", 1500), (0.0005001, 1), (0.3335, 334)],
    )
    def test_quantities_are_thousandths(self, quantity, milli):
        assert order(products=[{"sku": "a", "quantity": quantity}]).lines == (("a", milli),)

    @pytest.mark.parametrize("quantity", [0, -1, "-2", 1e9, 0.0001, "0"])
    def test_other_quantities_are_refused(self, quantity):
        found = refused(products=[{"sku": "a"}, {"sku": "b", "quantity": quantity}])
        assert found == ("bad_quantity", "properties.products.1.quantity")

    def test_a_line_without_an_item_is_refused(self):
        found = refused(products=[{"name": "gift wrap", "price": 1}])
        assert found == ("missing_item", "properties.products.0")


class TestKinds:
    def test_an_order_without_an_id_is_named_after_its_event(self):
        seen = order(order_id=None, revenue=1)
        assert seen.order_id == "#" + seen.id_hash.hex()
        assert (seen.kind, seen.signal) == (Kind.ORDER, "Order Completed")

    def test_a_numeric_order_id_is_its_digits(self):
        assert order(order_id=1001).order_id == "1001"

    def test_an_update_restates_the_order(self):
        seen = order("Order Updated", revenue=10)
        assert (seen.kind, seen.order_id, seen.amount_minor) == (Kind.ORDER_UPDATE, "o1", 1000)

    def test_a_bare_refund_is_a_full_refund(self):
        for products in (None, []):
            seen = order("Order Refunded", products=products)
            assert (seen.kind, seen.amount_minor, seen.lines) == (Kind.REFUND, None, ())

    def test_a_refund_with_a_total_or_lines_is_partial(self):
        seen = order("Order Refunded", total=30)
        assert (seen.amount_minor, seen.lines) == (3000, ())
        seen = order("Order Refunded", products=[{"sku": "a", "price": 2.5, "quantity": 2}])
        assert (seen.amount_minor, seen.lines) == (500, (("a", 2000),))
        seen = order("Order Refunded", products=[{"sku": "a"}])
        assert (seen.amount_minor, seen.lines) == (None, (("a", 1000),))

    def test_a_return_without_an_order_id_names_its_lines(self):
        seen = order("Order Refunded", order_id=None, products=[{"sku": "a", "price": 2}])
        assert seen.order_id.startswith("#")

    def test_a_cancellation_says_only_which_order(self):
        seen = order("Order Canceled", **SPEC)
        assert (seen.kind, seen.signal) == (Kind.CANCEL, "Order Cancelled")
        assert (seen.amount_minor, seen.lines, seen.currency) == (None, (), "USD")

    @pytest.mark.parametrize("name", ["Order Updated", "Order Cancelled", "Order Refunded"])
    def test_a_change_of_no_named_order_is_refused(self, name):
        assert refused(name, order_id="") == ("missing_order", "properties.order_id")

"""Any bytes, in any batch: reading never raises, and a batch reads as each event alone."""

import json
import struct
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from integrations.facts import EventFact, Kind, Rejected, customer_of, read_events
from integrations.inbound.names import CANONICAL
from integrations.money import MINOR_DIGITS, minor_units
from integrations.rejection import REASONS

NOW = 1_795_341_672

ids = st.one_of(st.sampled_from(["u1", "", "é", "a\n", "x" * 201]), st.integers(-1, 9), st.none())
amounts = st.one_of(
    st.integers(-2, 10**6),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["1.50", "-1", "NaN", "", "9" * 16]),
    st.none(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
products = st.lists(
    st.fixed_dictionaries(
        {}, optional={"product_id": ids, "sku": ids, "price": amounts, "quantity": amounts}
    ),
    max_size=3,
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "order_id": ids,
        "product_id": ids,
        "products": products | json_values,
        "revenue": amounts,
        "subtotal": amounts,
        "total": amounts,
        "tax": amounts,
        "shipping": amounts,
        "discount": amounts,
        "currency": st.sampled_from(["USD", "jpy", "XXX", ""]) | json_values,
        "items": json_values,
        "categories": json_values,
    },
)
times = st.sampled_from(
    ["2026-11-22T10:00:00Z", "2026-11-22T10:00:00", "2027-01-01T00:00:00Z", "", None]
)
calls = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", "track", "identify", "alias", "page", "group", "x"])},
    optional={
        "event": st.sampled_from([*CANONICAL, "Other", "", " "]) | json_values,
        "userId": ids,
        "anonymousId": ids,
        "messageId": ids,
        "previousId": ids,
        "groupId": ids,
        "timestamp": times,
        "originalTimestamp": times,
        "properties": properties | json_values,
        "traits": json_values,
        "context": json_values
        | st.builds(lambda given: {"consent": {"categoryPreferences": given}}, json_values),
    },
)
envelopes = st.fixed_dictionaries(
    {"specversion": st.sampled_from(["1.0", "2.0"])},
    optional={
        "id": ids,
        "source": ids,
        "type": st.sampled_from(["com.crmreflex.order.completed.v1", "identify", "alias", "x"]),
        "subject": ids,
        "partitionkey": ids,
        "time": times,
        "data": properties | json_values,
    },
)
good_ids = st.sampled_from(["u1", "u2", "é", 7])
good_amounts = st.integers(0, 10**6) | st.floats(0, 1e6) | st.sampled_from(["1.50", "0.125"])
good_products = st.lists(
    st.fixed_dictionaries(
        {"product_id": st.sampled_from(["a", "b", 3])},
        optional={"price": good_amounts, "quantity": st.sampled_from([1, 2, 0.25, "1.5"])},
    ),
    max_size=4,
)
consent = st.dictionaries(st.sampled_from(["email", "ads"]), st.booleans())
good_calls = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "track", "track", "identify", "alias", "page", "group"]),
        "event": st.sampled_from(["Order Completed", "Order Updated", "Order Refunded"])
        | st.sampled_from([*CANONICAL, "Badge Won"]),
        "userId": good_ids,
        "previousId": good_ids,
        "groupId": good_ids,
    },
    optional={
        "messageId": good_ids,
        "timestamp": st.sampled_from(["2026-11-22T10:00:00Z", "2020-02-29T23:59:59.5+09:00"]),
        "properties": st.fixed_dictionaries(
            {"categories": consent},
            optional={
                "order_id": good_ids,
                "revenue": good_amounts,
                "total": good_amounts,
                "currency": st.sampled_from(["USD", "jpy", "KWD"]),
                "products": good_products,
            },
        ),
        "traits": st.fixed_dictionaries(
            {}, optional={"country": st.text(max_size=5), "plan": good_ids}
        ),
        "context": st.builds(lambda given: {"consent": {"categoryPreferences": given}}, consent),
    },
)
texts = st.builds(lambda event: json.dumps(event).encode(), calls | envelopes)
fragments = st.sampled_from(
    [b'{"type":"track"', b"}", b"],[1,", b'"', b"[", b'{"a":1}],[1,{"x":"', b'"}', b"\n", b"NaN"]
)
good_texts = good_calls.map(lambda event: json.dumps(event).encode())
raws = st.one_of(
    good_texts,
    good_texts,
    texts,
    st.binary(max_size=40),
    st.lists(fragments, max_size=6).map(b"".join),
)


@given(st.lists(raws, max_size=8))
@settings(suppress_health_check=[HealthCheck.too_slow])  # a clean clone has no table of characters
@example([b'{"type":"page","userId":"u"}],[1,{"x":[[{}', b"{}]]}"])
@example([b'{"type":"page","userId":"u"}', b'{"type":"page","userId":1.5}'])
def test_a_batch_reads_exactly_as_each_event_alone(batch):
    times_s = [NOW + n for n in range(len(batch))]
    together = read_events(batch, times_s)
    alone = [read_events([raw], [at_s])[0] for raw, at_s in zip(batch, times_s, strict=True)]
    assert together == alone
    assert [type(each) for each in together] == [type(each) for each in alone]


@given(raws)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_every_result_is_well_formed(raw):
    (result,) = read_events([raw], [NOW])
    if isinstance(result, Rejected):
        assert result.reason in REASONS
        assert result.detail
        return
    assert isinstance(result, EventFact)
    assert customer_of(raw) == result.customer_id
    assert 0 < len(result.customer_id) <= 200
    assert 0 < len(result.event_id) <= 200
    assert len(result.id_hash) == 8
    assert 0 <= result.digest < 2**32
    assert 0 <= result.at_s <= NOW + 300
    assert result.amount_minor is None or 0 <= result.amount_minor < 2**63
    assert list(result.lines) == sorted(set(result.lines))
    assert all(
        type(item) is str and type(milli) is int and milli > 0 for item, milli in result.lines
    )
    assert len(set(result.items)) == len(result.items)
    assert (result.kind in {1, 2, 3, 4}) == bool(result.order_id) == bool(result.currency)
    assert list(result.registers) == sorted(result.registers, key=lambda register: register[0])
    for text in (result.customer_id, result.signal, result.order_id, *result.items):
        assert text.isprintable() or not any(ord(sign) < 32 for sign in text)


@given(st.text(alphabet="personal", min_size=12, max_size=20), st.data())
def test_a_rejection_never_holds_a_value(secret, data):
    spoiled = data.draw(
        st.sampled_from(
            [
                {"userId": secret + "\n"},
                {"userId": "u", "timestamp": secret},
                {"userId": "u", "properties": {"revenue": secret, "currency": secret[:8]}},
                {"userId": "u", "context": {"consent": {"categoryPreferences": {secret: 1}}}},
                {"userId": "u", "properties": secret},
                {"type": secret, "userId": "u"},
            ]
        )
    )
    event = {"type": "track", "event": "Order Completed", **spoiled}
    for raw in (
        json.dumps(event).encode(),
        b'{"%b":1,"%b":2}' % (secret.encode(), secret.encode()),
    ):
        (result,) = read_events([raw], [NOW])
        assert isinstance(result, Rejected)
        assert secret not in repr(result)


@given(
    st.decimals(0, 10**9, places=4, allow_nan=False, allow_infinity=False),
    st.sampled_from(sorted(MINOR_DIGITS)),
)
def test_amounts_are_the_exact_decimal_rounded_half_to_even(amount, currency):
    digits = MINOR_DIGITS[currency]
    expected = int((amount * 10**digits).quantize(Decimal(1), ROUND_HALF_EVEN))
    assert minor_units(str(amount), digits) == expected
    assert minor_units(float(amount), digits) == expected


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 10**5)), min_size=1, max_size=5),
    st.randoms(),
)
def test_the_order_of_lines_changes_nothing(lines, random):
    """Prices in cents, quantities in thousandths: the exact sum is known."""
    listed = [
        {"sku": f"s{n % 3}", "price": f"{price / 100:.2f}", "quantity": f"{milli / 1000:.3f}"}
        for n, (price, milli) in enumerate(lines)
    ]
    event = {"type": "track", "event": "Order Completed", "userId": "u", "messageId": "m"}
    shuffled = random.sample(listed, len(listed))
    one, other = read_events(
        [
            json.dumps(event | {"properties": {"products": each}}).encode()
            for each in (listed, shuffled)
        ],
        [NOW, NOW],
    )
    assert one == other
    assert one.kind is Kind.ORDER
    exact = sum(Decimal(price) * milli for price, milli in lines) / 1000
    assert one.amount_minor == int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))
    assert sum(milli for _, milli in one.lines) == sum(milli for _, milli in lines)


@pytest.mark.parametrize(
    "pattern", [b"\x7f\xf0", b"\xff\xf0", b"\x7f\xef", b"\x00\x01", b"\x80\x00"]
)
def test_numbers_at_the_edges_of_floats_never_raise(pattern):
    (number,) = struct.unpack(">d", pattern + b"\xff" * 6)
    event = {"type": "track", "event": "Order Completed", "userId": "u"}
    raw = json.dumps(event | {"properties": {"revenue": number}}).encode()
    assert len(read_events([raw], [NOW])) == 1

"""CloudEvents 1.0 as an envelope around the same events."""

import json

import pytest

from integrations.facts import EventFact, Kind, customer_of, read_events

NOW = 1_795_341_672


def envelope(**changes):
    event = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/shop",
        "type": "com.crmreflex.order.completed.v1",
        "subject": "u1",
        "time": "2026-11-22T10:00:00Z",
        "datacontenttype": "application/json; charset=utf-8",
        "data": {"order_id": "o1", "revenue": 5},
    } | changes
    return json.dumps(event).encode()


def read(**changes):
    return read_events([envelope(**changes)], [NOW])[0]


def test_an_order_in_an_envelope_means_what_the_same_track_call_means():
    segment = {
        "type": "track",
        "event": "Order Completed",
        "userId": "u1",
        "messageId": "e1",
        "timestamp": "2026-11-22T10:00:00Z",
        "properties": {"order_id": "o1", "revenue": 5},
    }
    (plain,) = read_events([json.dumps(segment).encode()], [NOW])
    wrapped = read()
    assert wrapped.digest == plain.digest
    assert wrapped[3:] == plain[3:]
    assert wrapped.event_id == "e1"


def test_source_and_id_together_are_the_identity():
    assert read().id_hash == read(data={}).id_hash
    assert read().id_hash != read(source="/other").id_hash
    assert read().id_hash != read(id="e2").id_hash


def test_the_partition_key_wins_over_the_subject():
    assert read(partitionkey="u2").customer_id == "u2"
    assert customer_of(envelope(partitionkey="u2")) == "u2"
    assert customer_of(envelope()) == "u1"


@pytest.mark.parametrize(
    ("ce_type", "kind", "signal"),
    [
        ("com.crmreflex.order.completed.v1", Kind.ORDER, "Order Completed"),
        ("com.crmreflex.product.viewed.v12", Kind.SIGNAL, "Product Viewed"),
        ("com.crmreflex.products.searched", Kind.SIGNAL, "Products Searched"),
        ("com.crmreflex.email.link_clicked.v1", Kind.SIGNAL, "Email Link Clicked"),
        ("Completed Order", Kind.ORDER, "Order Completed"),
        ("com.crmreflex.badge.won.v1", Kind.SIGNAL, "com.crmreflex.badge.won.v1"),
        ("org.example.badge.won", Kind.SIGNAL, "org.example.badge.won"),
        ("com.crmreflex.page.v1", Kind.SIGNAL, "Page Viewed"),
    ],
)
def test_types_become_event_names(ce_type, kind, signal):
    seen = read(type=ce_type)
    assert (seen.kind, seen.signal) == (kind, signal)


def test_identify_alias_and_group_travel_in_data():
    identified = read(type="com.crmreflex.identify.v1", data={"country": "DE", "email": "a@b.c"})
    assert identified.registers == (("trait:country", "DE"),)
    assert read(type="identify", data={"country": "DE"}).registers == identified.registers
    alias = read(type="com.crmreflex.alias.v1", data={"previousId": "anon"})
    assert alias.registers == (("alias:anon", True),)
    assert read(type="group", data={"groupId": "g"}).registers == (("group", "g"),)


def test_without_a_time_the_entry_counts():
    seen = read(time=None)
    assert (seen.at_s, seen.timed) == (NOW, False)


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        ({"specversion": "0.3"}, "bad_envelope", "specversion"),
        ({"specversion": None}, "bad_envelope", "specversion"),
        ({"datacontenttype": "text/xml"}, "bad_envelope", "datacontenttype"),
        ({"data_base64": "e30="}, "bad_envelope", "data_base64"),
        ({"id": ""}, "missing_field", "id"),
        ({"source": None}, "wrong_type", "source"),
        ({"type": "t" * 101}, "too_long", "type"),
        ({"subject": None}, "missing_customer", ""),
        ({"subject": "u\n"}, "control_character", "subject"),
        ({"data": []}, "wrong_type", "data"),
        ({"data": {"revenue": -1}}, "negative_amount", "data.revenue"),
        ({"data": {"products": [{"sku": 1.5}]}}, "wrong_type", "data.products.0.sku"),
        ({"time": "2026-11-22T10:00:00"}, "naive_time", "time"),
        ({"type": "alias", "data": {}}, "missing_field", "data.previousId"),
    ],
)
def test_refusals_name_the_attribute_of_the_envelope(changes, reason, path):
    assert read(**changes)[:2] == (reason, path)


@pytest.mark.parametrize("field", ["id", "source", "type"])
def test_required_attributes(field):
    event = json.loads(envelope())
    del event[field]
    assert read_events([json.dumps(event).encode()], [NOW])[0][:2] == ("missing_field", field)


def test_other_json_types_and_extensions_pass():
    changes = {"datacontenttype": "application/vnd.shop+json", "traceparent": "00-0", "sequence": 1}
    assert isinstance(read(**changes), EventFact)

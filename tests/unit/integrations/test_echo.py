"""Echoes: our own write into a CRM, told back, is no news; anything that a person changed is."""

import json

import pytest
from pydantic import SecretStr

from integrations.facts import Kind, Reading, read_events
from integrations.outbound.contract import Credentials, Row
from integrations.outbound.registry import build

READING = Reading(own_fields=frozenset({"reflex_segment"}), destinations=frozenset({"bottlecrm"}))


def kind(traits, reading=READING, **more):
    raw = json.dumps({"type": "identify", "userId": "u1", "traits": traits, **more}).encode()
    (fact,) = read_events([raw], [1_800_000_000], reading)
    return fact.kind


@pytest.mark.parametrize(
    ("traits", "more"),
    [
        ({"reflex_segment": "Champions"}, {}),
        ({"reflex_segment": None, "email": "ann@example.com"}, {}),
        ({"email": "ann@example.com", "custom_fields": {"reflex_segment": "Champions"}}, {}),
        ({"email": "ann@example.com"}, {"context": {"integration": {"name": "bottlecrm"}}}),
        ({}, {"context": {"integration": {"name": "bottlecrm", "version": 2}}}),
        (None, {"context": {"integration": {"name": "bottlecrm"}}}),
    ],
)
def test_our_own_write_told_back_is_an_echo(traits, more):
    assert kind(traits, **more) is Kind.ECHO


@pytest.mark.parametrize(
    ("traits", "more"),
    [
        ({"email": "ann@example.com"}, {}),
        ({"reflex_segment": "Champions", "country": "DE"}, {}),
        ({"country": "DE"}, {"context": {"integration": {"name": "bottlecrm"}}}),
        (
            {"reflex_segment": "x"},
            {"context": {"consent": {"categoryPreferences": {"email": False}}}},
        ),
        ({"email": "a@b.c"}, {"context": {"integration": {"name": "another"}}}),
        ({"email": "a@b.c"}, {"context": {"integration": "bottlecrm"}}),
        ({"email": "a@b.c"}, {"context": {"integration": {"name": 3}}}),
        ({"email": "a@b.c"}, {"context": {"integration": None}}),
        ({"nested": {"deeper": {"reflex_segment": "x"}}}, {}),
    ],
)
def test_what_tells_something_is_none(traits, more):
    assert kind(traits, **more) is Kind.REGISTERS


@pytest.mark.parametrize("value", [0.37, "0.37", "0,37", 0.4, "37 %", "  0.370 ", None, [0.37]])
def test_a_value_that_comes_back_rounded_or_in_another_form_is_still_ours(value):
    reading = Reading(own_fields=frozenset({"reflex_p_alive"}))
    assert kind({"reflex_p_alive": value}, reading) is Kind.ECHO


def test_what_a_person_changes_right_behind_our_write_counts():
    ours = {"reflex_segment": "Champions"}
    assert [kind(ours), kind(ours | {"country": "DE"}), kind(ours)] == [
        Kind.ECHO, Kind.REGISTERS, Kind.ECHO,
    ]  # fmt: skip


def track(name, reading=READING, **more):
    raw = json.dumps({"type": "track", "event": name, "userId": "u1", **more}).encode()
    (fact,) = read_events([raw], [1_800_000_000], reading)
    return fact.kind


OURS = {"context": {"library": {"name": "crm-reflex"}}}
FROM_CRM = {"context": {"integration": {"name": "bottlecrm"}}}


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("Audience Entered", OURS, Kind.ECHO),
        ("audience_exited", FROM_CRM, Kind.ECHO),
        ("Audience Exited", FROM_CRM, Kind.ECHO),
        ("Audience Entered", {}, Kind.SIGNAL),
        ("Audience Entered", {"context": {"integration": {"name": "another"}}}, Kind.SIGNAL),
        ("Audience Entered", {"context": {"library": {"name": "analytics.js"}}}, Kind.SIGNAL),
        ("Product Viewed", FROM_CRM, Kind.SIGNAL),
        ("Order Completed", FROM_CRM | {"properties": {"total": 3}}, Kind.ORDER),
    ],
)
def test_our_own_event_passed_on_is_an_echo_and_no_other_is(name, more, expected):
    assert track(name, **more) is expected


def test_an_identify_of_our_own_library_is_an_echo_whatever_it_names():
    assert kind({"country": "DE"}, **OURS) is Kind.ECHO


@pytest.mark.parametrize(("send", "event"), [("insights", ""), ("events", "Audience Entered")])
def test_what_our_segment_destination_sends_is_an_echo_when_it_is_read_back(send, event):
    adapter = build("segment", {"send": send}, {"write_key": [SecretStr("k")]})
    body = b'{"id": "t1", "to": "champions"}'
    row = Row("u1", "u1", {"reflex_segment": "x"}, 1, "msg_1", body, event, 1_800_000_000)
    call = adapter.encode([row], credentials=Credentials(), at_s=1_800_000_000)
    raws = [json.dumps(one).encode() for one in json.loads(call.body)["batch"]]
    facts = read_events(raws, [1_800_000_000], Reading())
    assert [fact.kind for fact in facts] == [Kind.ECHO]


def test_an_event_of_ours_in_a_cloud_event_is_told_by_its_source():
    envelope = {
        "specversion": "1.0", "id": "e1", "source": "bottlecrm", "subject": "u1",
        "type": "audience.entered", "data": {},
    }  # fmt: skip
    kinds = [
        read_events([json.dumps(envelope | {"source": source}).encode()], [1_800_000_000], READING)
        for source in ("bottlecrm", "shop")
    ]
    assert [fact.kind for (fact,) in kinds] == [Kind.ECHO, Kind.SIGNAL]


def test_without_destinations_nothing_is_an_echo():
    traits = {"reflex_segment": "Champions"}
    context = {"integration": {"name": "bottlecrm"}}
    assert kind(traits, Reading(), context=context) is Kind.REGISTERS


def test_a_cloud_event_says_by_its_source_where_it_comes_from():
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "bottlecrm",
        "type": "identify",
        "subject": "u1",
        "data": {"email": "ann@example.com"},
    }
    for source, expected in (("bottlecrm", Kind.ECHO), ("https://a.example", Kind.REGISTERS)):
        raw = json.dumps(event | {"source": source}).encode()
        (fact,) = read_events([raw], [1_800_000_000], READING)
        assert fact.kind is expected

"""Echoes: our own write into a CRM, told back, is no news; anything that a person changed is."""

import json

import pytest

from integrations.facts import Kind, Reading, read_events

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

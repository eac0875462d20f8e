"""Webhooks of BottleCRM: recorded signatures, and what they are as events."""

import hmac
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.facts import Kind, Reading, read_events
from integrations.inbound.bottlecrm import identify, verify
from integrations.outbound.errors import SignatureError

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("SHARED_DATA_DIR") or ROOT.parent / "shared")
NOW = 1_795_428_892
SECRET = "a secret of ours"
BODY = json.dumps({
    "id": "delivery-1",
    "event": "contact.updated",
    "created_at": "2026-11-23T10:14:52.285521+00:00",
    "data": {"id": "7", "email": "ann@example.com", "last_name": "Li", "country": "DE"},
}).encode()  # fmt: skip


def signed(body=BODY, secret=SECRET, at_s=NOW):
    mac = hmac.new(secret.encode(), f"{at_s}.".encode() + body, "sha256").hexdigest()
    return f"t={at_s},v1={mac}"


def reason_of(secrets, signature, body, now_s=NOW):
    try:
        verify(secrets, signature, body, now_s=now_s)
    except SignatureError as error:
        return error.reason
    return None


@pytest.mark.parametrize("name", ["captured", "stripe"])
def test_recorded_signatures_of_the_scheme(name):
    path = SHARED / "vectors" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"NOT CHECKED against recorded signatures: {path} is absent")
    vectors = json.loads(path.read_text())["vectors"]
    assert len(vectors) >= 2
    for vector in vectors:
        (signature,) = (
            value for name, value in vector["headers"].items() if name.endswith("-Signature")
        )
        reason = reason_of([vector["secret"]], signature, vector["body"].encode(), vector["now"])
        assert reason == vector.get("reason"), vector["name"]
        assert (reason is None) == vector["valid"]


def test_either_secret_of_a_rotation_and_no_other_and_none_that_is_empty():
    assert reason_of(["old", SECRET], signed(), BODY) is None
    assert reason_of(["old"], signed(), BODY) == "no_match"
    assert reason_of([""], signed(secret=""), BODY) == "no_match"
    assert reason_of([], signed(), BODY) == "no_match"


@pytest.mark.parametrize(
    ("late_s", "reason"),
    [(300, None), (301, "timestamp_too_old"), (-300, None), (-301, "timestamp_too_new")],
)
def test_it_is_good_for_five_minutes_in_either_direction(late_s, reason):
    assert reason_of([SECRET], signed(), BODY, NOW + late_s) == reason


@given(st.text(max_size=60), st.binary(max_size=60))
def test_no_content_raises_anything_else(signature, body):
    assert reason_of([SECRET], signature, body) is not None
    assert identify(body, destination="crm") is None


def kinds(body, reading):
    event = identify(body, destination="bottlecrm")
    return [fact.kind for fact in read_events([event], [NOW], reading)]


def test_our_own_write_told_back_is_an_echo_and_what_a_person_changed_is_not():
    reading = Reading(destinations=frozenset({"bottlecrm"}), traits=frozenset({"plan"}))
    assert kinds(BODY, reading) == [Kind.ECHO]
    assert kinds(BODY, reading._replace(traits=frozenset({"country"}))) == [Kind.REGISTERS]
    event = json.loads(identify(BODY, destination="bottlecrm"))
    assert (event["userId"], event["messageId"]) == ("ann@example.com", "delivery-1")


@pytest.mark.parametrize(
    "changes",
    [{"event": "lead.created"}, {"data": None}, {"data": {"email": None}}, {"id": ""}],
)
def test_what_is_about_no_contact_is_no_event(changes):
    body = json.dumps(json.loads(BODY) | changes).encode()
    assert identify(body, destination="crm") is None

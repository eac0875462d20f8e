"""What a step between segments is called when it is sent."""

import json
from types import SimpleNamespace

import pytest

from worker.delivery.content import parcel
from worker.store.delivering import Claim, Claimed, Delivered, Event

STREAM = SimpleNamespace(is_stream=True)
ROW = SimpleNamespace(customer_id="c1", destination="d", name="c1:d")


@pytest.mark.parametrize(
    ("left", "entered", "name"),
    [
        (2, 3, "Audience Entered"),
        (None, 3, "Audience Entered"),
        (None, "vip", "Audience Entered"),
        ("vip", None, "Audience Exited"),
        (2, None, "Audience Exited"),
    ],
)
def test_who_is_in_one_afterwards_entered_it_and_who_is_in_none_left(left, entered, name):
    fields = {"id": "t1", "from": left, "to": entered, "reason": "model", "insight_version": 4}
    event = Event("x", 5, 6, json.dumps(fields).encode())
    sent = parcel(STREAM, Claimed(ROW, Claim("mine"), None, event, Delivered()), 7)
    assert sent.row.event == name
    assert json.loads(sent.row.body)["reason"] == "model"

"""Waiting, retrying, classifying, encoding: the pure parts of delivery."""

import inspect
import json
import random
import re
import statistics
from base64 import b64encode

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from integrations.outbound import errors
from integrations.outbound.contract import Credentials, Response, Row, Verdict
from integrations.outbound.errors import DeliveryError, OptionsError, UnknownAdapterError
from integrations.outbound.registry import build
from integrations.outbound.retry_after import retry_after_s
from integrations.outbound.schedule import STEPS_S, delay_s
from integrations.outbound.status import outcome_of_status

SECRET = "whsec_" + b64encode(b"k" * 32).decode()
INSIGHT = b'{"customer_id":"c1","insight_version":7,"as_of":"2026-11-22T10:00:00Z","x":"\xc3\xa9"}'


def drawn_tree(doc):
    """(name, depth) of every line of the tree in a docstring."""
    lines = re.findall(r"^( *)(\w+Error)\b", doc, re.MULTILINE)
    return [(name, len(indent) // 2) for indent, name in lines]


def real_tree(cls, depth=0):
    found = [(cls.__name__, depth)]
    for child in cls.__subclasses__():
        found += real_tree(child, depth + 1)
    return found


def test_the_drawn_error_tree_is_the_real_one():
    assert drawn_tree(inspect.getdoc(errors)) == real_tree(DeliveryError)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("text", "wait_s"),
        [
            ("0", 0.0),
            ("120", 120.0),
            (" 1.5 ", 1.5),
            ("86400", 3600.0),
            ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
            ("Thursday, 01-Jan-70 00:20:00 GMT", 200.0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("1e3", None),
            ("Infinity", None),
            ("\u0663", None),
            ("Thu, 99 Jan 1970 00:00:00 GMT", None),
        ],
    )
    def test_seconds_and_dates_are_read_and_clamped(self, text, wait_s):
        assert retry_after_s({"retry-after": text}, at_s=1000) == wait_s

    def test_a_vendor_may_count_in_milliseconds(self):
        assert retry_after_s({"retry-after": "1500"}, at_s=0, milliseconds=True) == 1.5

    def test_no_header_no_hint(self):
        assert retry_after_s({}, at_s=0) is None

    @given(st.text(max_size=40))
    def test_no_text_raises_or_leaves_the_range(self, text):
        wait_s = retry_after_s({"retry-after": text}, at_s=0)
        assert wait_s is None or 0.0 <= wait_s <= 3600.0


class TestSchedule:
    def test_it_lasts_75_hours_on_average_and_then_ends(self):
        assert 75 <= sum(STEPS_S) / 3600 < 76
        assert delay_s(len(STEPS_S) + 1, random.Random(1)) is None

    @pytest.mark.parametrize("attempt", range(1, len(STEPS_S) + 1))
    def test_each_wait_is_spread_fully_around_its_step(self, attempt):
        rng = random.Random(7)
        waits = [delay_s(attempt, rng) for _ in range(2000)]
        step = STEPS_S[attempt - 1]
        assert 0 <= min(waits) < 0.05 * step
        assert 1.95 * step < max(waits) < 2 * step
        assert statistics.fmean(waits) == pytest.approx(step, rel=0.05)

    def test_attempts_count_from_one(self):
        with pytest.raises(ValueError, match="from 1"):
            delay_s(0, random.Random(1))


class TestStatus:
    @pytest.mark.parametrize("status", range(100, 600))
    def test_only_2xx_is_success_and_every_status_has_a_verdict(self, status):
        outcome = outcome_of_status(Response(status, {}, b""), at_s=0)
        assert (outcome.verdict is Verdict.OK) == (200 <= status < 300)
        assert outcome.code == f"http_{status}"

    @pytest.mark.parametrize("status", [301, 302, 307, 404, 405, 406, 408, 421, 425, 451, 500, 501])
    def test_what_speaks_of_the_way_there_gives_no_row_up(self, status):
        assert outcome_of_status(Response(status, {}, b""), at_s=0).verdict is Verdict.RETRY

    @pytest.mark.parametrize("status", [400, 409, 413, 422])
    def test_what_speaks_of_the_content_is_halved(self, status):
        response = Response(status, {}, b"")
        assert outcome_of_status(response, at_s=0, rows=2).verdict is Verdict.SPLIT
        assert outcome_of_status(response, at_s=0, rows=1).verdict is Verdict.PERMANENT

    @pytest.mark.parametrize("header", ["retry-after", "ratelimit-reset", "x-ratelimit-reset"])
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503, 504])
    def test_a_rest_is_heard_under_any_status(self, status, header):
        bare = outcome_of_status(Response(status, {}, b""), at_s=0)
        asked = outcome_of_status(Response(status, {header: "3"}, b""), at_s=0)
        assert (bare.retry_after_s, asked.retry_after_s) == (None, 3.0)
        throttles = status in {403, 429, 502, 503, 504}
        assert asked.verdict is (Verdict.THROTTLED if throttles else bare.verdict)


def webhook(**options):
    secrets = {"secrets": [SecretStr(SECRET)]}
    return build("standard_webhook", {"url": "https://example.com/hook", **options}, secrets)


def row(body=INSIGHT, **more):
    return Row("c1", "c1", {}, 7, "msg_1", body)._replace(**more)


class TestStandardWebhook:
    def test_the_body_wraps_the_insight_byte_for_byte(self):
        call = webhook().encode([row()], credentials=Credentials(), at_s=1_795_341_600)
        assert call.body == (
            b'{"type":"customer.insight.updated","timestamp":"2026-11-22T10:00:00Z","data":'
            + INSIGHT
            + b"}"
        )
        assert (call.method, call.url) == ("POST", "https://example.com/hook")
        assert call.headers["content-type"] == "application/json"
        receiver = standardwebhooks.Webhook(SECRET)
        signature = receiver.sign("msg_1", _at(1_795_341_600), call.body.decode())
        assert call.headers["webhook-signature"] == signature
        assert json.loads(call.body)["data"] == json.loads(INSIGHT)

    def test_an_event_goes_under_its_name_with_its_time(self):
        adapter = webhook(send="events")
        assert adapter.capabilities.is_stream
        assert not webhook().capabilities.is_stream
        event = row(b'{"to":3}', event="Audience Entered", occurred_s=1_795_341_600)
        call = adapter.encode([event], credentials=Credentials(), at_s=1_795_400_000)
        assert json.loads(call.body) == {
            "type": "Audience Entered",
            "timestamp": _at(1_795_341_600).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "data": {"to": 3},
        }

    def test_it_takes_one_row(self):
        for rows in ([], [row(), row()]):
            with pytest.raises(ValueError, match="unpack"):
                webhook().encode(rows, credentials=Credentials(), at_s=0)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "secrets", "problem"),
        [
            ({}, {"secrets": [SECRET]}, "url: Field required"),
            ({"url": "https://x.example/"}, {}, "secrets: Field required"),
            ({"url": "https://x.example/"}, {"secrets": ["whsec_geheim"]}, "secrets: a signing"),
            ({"url": "https://x.example/", "secrets": ["whsec_geheim"]}, {}, "by reference"),
            ({}, {"url": ["geheim"], "secrets": [SECRET]}, "url: is no secret"),
            ({"url": "https://x.example/", "sned": 1}, {"secrets": [SECRET]}, "sned: no such"),
        ],
    )
    def test_a_mistake_is_told_by_option_and_rule_and_never_with_a_value(
        self, options, secrets, problem
    ):
        given = {name: [SecretStr(one) for one in values] for name, values in secrets.items()}
        with pytest.raises(OptionsError, match=problem) as caught:
            build("standard_webhook", options, given)
        assert "geheim" not in str(caught.value)
        assert caught.value.problems

    def test_an_unknown_adapter_is_told_with_the_known_ones(self):
        with pytest.raises(UnknownAdapterError, match="standard_webhook"):
            build("hubspit", {"url": "https://example.com/"})


def _at(at_s):
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_s, UTC)

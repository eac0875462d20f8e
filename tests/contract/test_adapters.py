"""One suite, every registered adapter, a real HTTP server: to be registered is to be under it."""

import json
from base64 import b64encode
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from pydantic import SecretStr

from integrations.encoding import insight_payload
from integrations.outbound.contract import Adapter, Credentials, Outcome, Response, Row, Verdict
from integrations.outbound.registry import ADAPTERS, build
from integrations.schemas import CustomerInsight

SECRETS = ["whsec_" + b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
KEY_TEXTS = [secret.removeprefix("whsec_") for secret in SECRETS] + ["\\x01\\x01\\x01"]

MEANING = {
    200: Verdict.OK,
    201: Verdict.OK,
    204: Verdict.OK,
    301: Verdict.PERMANENT,
    302: Verdict.PERMANENT,
    400: Verdict.PERMANENT,
    401: Verdict.AUTH,
    403: Verdict.AUTH,
    404: Verdict.PERMANENT,
    408: Verdict.RETRY,
    410: Verdict.GONE,
    413: Verdict.PERMANENT,
    422: Verdict.PERMANENT,
    425: Verdict.RETRY,
    429: Verdict.THROTTLED,
    500: Verdict.RETRY,
    502: Verdict.RETRY,
    503: Verdict.RETRY,
    504: Verdict.RETRY,
}


def insight(customer_id):
    body = insight_payload(
        CustomerInsight(
            customer_id=customer_id,
            insight_version=7,
            as_of=datetime(2026, 11, 22, 10, tzinfo=UTC),
            segment={"id": 3, "name": "Champions", "since": date(2026, 1, 1), "previous_id": None},
            buy_again=[{"item_id": "p1", "score": 0.5, "reason": "王小明 — é"}],
            currency="EUR",
            historic_clv=Decimal("12.345"),
            historic_number_of_orders=4,
        )
    )
    return Row(customer_id, customer_id, {}, 7, "msg_1", body)


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request, crm):
    return build(request.param, {"url": crm.url}, {"secrets": [*map(SecretStr, SECRETS)]})


def exchange(adapter, sender, rows, *, at_s=1_800_000_000):
    response = sender.send(adapter.encode(rows, credentials=Credentials(), at_s=at_s))
    return adapter.classify(rows, response, at_s=at_s)


class TestAdapterContract:
    def test_it_is_an_adapter_under_its_own_name(self, adapter):
        assert isinstance(adapter, Adapter)
        assert adapter.name in ADAPTERS
        assert adapter.capabilities.max_rows >= 1

    @pytest.mark.parametrize("status", MEANING)
    def test_every_row_of_a_full_call_gets_the_verdict_of_the_status(
        self, adapter, sender, crm, status
    ):
        crm.will_answer(status)
        rows = [insight(f"c{n}") for n in range(adapter.capabilities.max_rows)]
        outcomes = exchange(adapter, sender, rows)
        assert [outcome.verdict for outcome in outcomes] == [MEANING[status]] * len(rows)
        assert all(isinstance(outcome, Outcome) for outcome in outcomes)

    @pytest.mark.parametrize(
        ("status", "hint", "wait_s"),
        [
            (429, "17", 17.0),
            (503, "17", 17.0),
            (429, "Fri, 15 Jan 2027 08:01:00 GMT", 60.0),
            (429, "999999999", 3600.0),
            (429, "soon", None),
            (429, "-5", None),
        ],
    )
    def test_a_request_to_wait_is_passed_on_and_clamped(
        self, adapter, sender, crm, status, hint, wait_s
    ):
        crm.will_answer(status, headers={"Retry-After": hint})
        (outcome, *_) = exchange(adapter, sender, [insight("c1")])
        assert outcome.verdict is Verdict.THROTTLED
        assert outcome.retry_after_s == wait_s

    def test_every_attempt_sends_the_same_body_under_the_same_id(self, adapter, sender, crm):
        for at_s in (1_800_000_000, 1_800_000_301):
            exchange(adapter, sender, [insight("c1")], at_s=at_s)
        assert len({attempt.body for attempt in crm.received}) == 1
        assert all("msg_1" in attempt.headers.values() for attempt in crm.received)

    def test_the_customer_and_the_version_arrive_as_they_were_written(self, adapter, sender, crm):
        exchange(adapter, sender, [insight("c1")])
        (request,) = crm.received
        body = json.loads(request.body)
        assert "c1" in request.body.decode()
        assert '"insight_version":7' in request.body.decode().replace(" ", "")
        assert body

    def test_neither_a_redirect_nor_its_body_is_followed(self, adapter, sender, crm):
        crm.will_answer(307, headers={"Location": crm.url + "/elsewhere"}, body=b"x" * 300_000)
        exchange(adapter, sender, [insight("c1")])
        assert [request.path for request in crm.received] == ["/hook"]

    def test_no_repr_shows_a_secret_or_a_customer(self, adapter):
        call = adapter.encode([insight("c1-secret")], credentials=Credentials(), at_s=1)
        shown = f"{adapter!r} {call!r}"
        assert not [text for text in [*KEY_TEXTS, "c1-secret"] if text in shown]

    @pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b"[]", b"null", b'{"results":[]}'])
    def test_no_body_makes_classify_raise_or_lose_a_row(self, adapter, body):
        for status in (200, 207, 400, 500):
            rows = [insight(f"c{n}") for n in range(adapter.capabilities.max_rows)]
            outcomes = adapter.classify(rows, Response(status, {}, body), at_s=0)
            assert len(outcomes) == len(rows)

"""What every adapter must do. Subclass it, and say in the fixture `kind` what is under test."""

import json
from collections.abc import Iterable, Iterator, Sequence
from email.utils import formatdate
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from integrations.outbound.abilities import Authorizing, Lookup, Polling
from integrations.outbound.contract import (
    OMIT,
    Adapter,
    Credentials,
    Matching,
    Outcome,
    Response,
    Row,
    Verdict,
)
from integrations.outbound.errors import OptionsError
from integrations.outbound.http import HttpSender
from integrations.outbound.registry import build
from integrations.outbound.suite.kind import NOW, Kind, Pusher, fragments
from integrations.outbound.suite.vendor import Vendor

MEANING: Final = {
    301: Verdict.RETRY,
    302: Verdict.RETRY,
    400: Verdict.PERMANENT,
    401: Verdict.AUTH,
    403: Verdict.AUTH,
    404: Verdict.RETRY,
    405: Verdict.RETRY,
    408: Verdict.RETRY,
    409: Verdict.PERMANENT,
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

JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
#: Members that vendors' answers really have, with values that they really don't.
SHAPES: Final = st.dictionaries(
    st.sampled_from([
        "data", "results", "errors", "success", "ok", "code", "errcode", "StatusCode", "status",
        "id", "details", "context", "error", "message", "access_token", "api_domain", "fields",
        "instance_url", "definitions", "contact", "count", "attributes", "links",
    ]),
    JSON,
)  # fmt: skip


class AdapterContract:
    """Every adapter, a real HTTP server that speaks as its vendor, and nothing in between."""

    @pytest.fixture
    def kind(self) -> Kind:
        """What is under test: every subclass's own."""
        raise NotImplementedError

    @pytest.fixture
    def vendor(self, kind: Kind) -> Iterator[Vendor]:
        """The vendor, on a free port of loopback."""
        with kind.vendor() as vendor:
            yield vendor

    @pytest.fixture
    def adapter(self, kind: Kind, vendor: Vendor) -> Adapter:
        """The adapter, whose vendor that is."""
        return kind.adapter(vendor.url)

    @pytest.fixture
    def sender(self) -> Iterator[HttpSender]:
        """What carries calls, as in the engine."""
        sender = HttpSender(trusted_hosts=frozenset({"127.0.0.1"}), deadline_s=5.0, connect_s=2.0)
        yield sender
        sender.close()

    @pytest.fixture
    def pusher(self, adapter: Adapter, sender: HttpSender) -> Pusher:
        """Pushes rows all the way."""
        return Pusher(adapter, sender.send)

    def test_it_is_an_adapter_under_its_own_name(self, kind: Kind, adapter: Adapter) -> None:
        assert isinstance(adapter, Adapter)
        assert adapter.name == kind.name
        assert adapter.capabilities.matching in Matching
        takes = adapter.capabilities
        assert takes == adapter.capabilities
        assert takes.max_rows >= 1
        assert takes.max_bytes >= 4096
        assert takes.concurrency >= 1
        assert all(limit.requests >= 1 and limit.window_s > 0 for limit in takes.limits)
        assert takes.is_job == isinstance(adapter, Polling)

    def test_a_full_call_arrives_as_it_was_meant(
        self, kind: Kind, vendor: Vendor, adapter: Adapter, pusher: Pusher
    ) -> None:
        rows = kind.rows(min(adapter.capabilities.max_rows, 250))
        told = pusher.push(rows)
        assert {outcome.verdict for outcome in told.values()} == {Verdict.OK}
        assert set(told) == {row.customer_id for row in rows}
        if adapter.capabilities.is_digest:
            (message,) = vendor.messages
            assert f": {len(rows)}\n" in message
            assert all(name in message for name in kind.fields)
        elif kind.fields:
            stored = dict(kind.stored or kind.fields)
            stored.pop("Email", None)
            assert vendor.contacts == {row.key: stored for row in rows}
        else:
            assert vendor.contacts == {row.key: json.loads(row.body) for row in rows}

    def test_pushing_again_changes_nothing_and_clearing_clears(
        self, kind: Kind, vendor: Vendor, adapter: Adapter, pusher: Pusher
    ) -> None:
        if adapter.capabilities.is_digest or not kind.fields:
            pytest.skip("keeps no fields")
        pusher.push(kind.rows(2))
        before = json.dumps(vendor.contacts)
        pusher.push(kind.rows(2))
        assert json.dumps(vendor.contacts) == before
        if adapter.capabilities.clear_value is OMIT:
            return
        *_, cleared = kind.fields
        row = kind.row(0, fields={cleared: None}, delivery_id="msg_cleared")
        told = pusher.push([row])
        assert _verdicts(told.values()) == [Verdict.OK]
        assert cleared not in vendor.contacts[kind.key(0)]
        assert len(vendor.contacts[kind.key(0)]) == len(kind.fields) - 1, "others stay"
        assert cleared in vendor.contacts[kind.key(1)]

    def test_the_same_arguments_give_the_same_bytes(
        self, kind: Kind, adapter: Adapter, vendor: Vendor
    ) -> None:
        rows = kind.rows(min(3, adapter.capabilities.max_rows))
        calls = [
            adapter.encode(rows, credentials=_credentials(vendor), at_s=at_s)
            for at_s in (NOW, NOW, NOW + 301)
        ]
        assert (calls[0].url, calls[0].headers, calls[0].body) == (
            calls[1].url,
            calls[1].headers,
            calls[1].body,
        )
        if not adapter.capabilities.is_digest:  # whose signature may be part of the body
            assert calls[0].body == calls[2].body

    def test_a_call_of_the_most_rows_keeps_within_the_bytes(
        self, kind: Kind, adapter: Adapter, vendor: Vendor
    ) -> None:
        rows = kind.rows(adapter.capabilities.max_rows)
        call = adapter.encode(rows, credentials=_credentials(vendor), at_s=NOW)
        assert len(call.body) <= adapter.capabilities.max_bytes

    @pytest.mark.parametrize("status", MEANING)
    def test_a_status_without_words_means_the_same_for_every_row(
        self, kind: Kind, adapter: Adapter, vendor: Vendor, sender: HttpSender, status: int
    ) -> None:
        rows = kind.rows(min(3, adapter.capabilities.max_rows))
        vendor.will_answer(status)
        answer = sender.send(adapter.encode(rows, credentials=_credentials(vendor), at_s=NOW))
        expected = (MEANING | dict(kind.meaning))[status]
        outcomes = adapter.classify(rows, answer, at_s=NOW)
        assert _verdicts(outcomes) == [expected] * len(rows)
        assert all(outcome.code for outcome in outcomes)
        if expected is Verdict.SPLIT:
            assert adapter.capabilities.max_rows > 1
            assert not adapter.capabilities.is_digest
            (alone,) = adapter.classify(rows[:1], answer, at_s=NOW)
            assert alone.verdict is Verdict.PERMANENT

    @pytest.mark.parametrize("status", [200, 201, 202, 204, 207])
    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"<html>", b"\xff\xfe", b"{"])
    def test_a_success_that_names_no_row_is_none(
        self, kind: Kind, adapter: Adapter, status: int, body: Any
    ) -> None:
        rows = kind.rows(min(3, adapter.capabilities.max_rows))
        outcomes = adapter.classify(rows, Response(status, {}, body), at_s=NOW)
        assert len(outcomes) == len(rows)
        assert all((outcome.verdict is Verdict.OK) == kind.says_nothing for outcome in outcomes)

    def test_a_success_that_was_cut_is_none(
        self, kind: Kind, adapter: Adapter, pusher: Pusher, vendor: Vendor, sender: HttpSender
    ) -> None:
        if kind.says_nothing or isinstance(adapter, Polling):
            pytest.skip("does not read the body, or asks again")
        pusher.push(kind.rows(1))
        said = vendor.exchanges[-1].reply
        cut = Response(said.status, {}, said.raw, truncated=True)
        assert adapter.classify(kind.rows(1), cut, at_s=NOW)[0].verdict is Verdict.RETRY

    def test_a_row_that_the_answer_passes_over_is_not_ok(
        self, kind: Kind, adapter: Adapter, pusher: Pusher, vendor: Vendor
    ) -> None:
        if adapter.capabilities.is_digest or kind.says_nothing:
            pytest.skip("the status speaks of the whole call")
        rows = kind.rows(min(3, adapter.capabilities.max_rows))
        first = rows[0]
        vendor.silent = {first.key}
        if isinstance(adapter, Polling):
            vendor.wrong = {first.key}
        told = pusher.push(rows)
        outcome = told[first.customer_id]
        assert outcome.verdict is Verdict.RETRY
        assert outcome.code == "unmentioned"
        named = {c for c, outcome in told.items() if outcome.verdict is Verdict.OK}
        by_key = adapter.capabilities.matching is Matching.KEY and not isinstance(adapter, Polling)
        assert named == ({row.customer_id for row in rows[1:]} if by_key else set())

    @pytest.mark.parametrize(
        ("status", "hint", "wait_s"),
        [
            (429, "17", 17.0),
            (503, "17", 17.0),
            (502, "17", 17.0),
            (504, "17", 17.0),
            (403, "17", 17.0),
            (429, "999999999", 3600.0),
            (429, "soon", None),
            (429, "-5", None),
            (429, "date", 60.0),
        ],
    )
    def test_a_request_to_wait_is_passed_on_and_clamped(
        self,
        kind: Kind,
        adapter: Adapter,
        vendor: Vendor,
        sender: HttpSender,
        status: int,
        hint: str,
        wait_s: float | None,
    ) -> None:
        given = formatdate(NOW + 60, usegmt=True) if hint == "date" else hint
        vendor.will_answer(status, Retry_After=given)
        call = adapter.encode(kind.rows(1), credentials=_credentials(vendor), at_s=NOW)
        (outcome,) = adapter.classify(kind.rows(1), sender.send(call), at_s=NOW)
        assert outcome.verdict is Verdict.THROTTLED
        assert outcome.retry_after_s == wait_s

    def test_no_redirect_is_followed(
        self, kind: Kind, adapter: Adapter, vendor: Vendor, sender: HttpSender
    ) -> None:
        vendor.will_answer(307, b"x" * 300_000, Location=vendor.url + "/elsewhere")
        call = adapter.encode(kind.rows(1), credentials=_credentials(vendor), at_s=NOW)
        answer = sender.send(call)
        assert answer.status == 307
        assert len(vendor.requests) == 1
        (outcome,) = adapter.classify(kind.rows(1), answer, at_s=NOW)
        assert outcome.verdict is Verdict.RETRY

    @settings(
        max_examples=60, deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )  # fmt: skip
    @given(
        body=JSON | SHAPES | st.lists(SHAPES, max_size=4),
        status=st.sampled_from([200, 207, 400, 403, 429, 500]),
    )
    @example(body={"errors": [float("inf")]}, status=400)
    def test_no_answer_makes_it_raise_or_lose_a_row(
        self, kind: Kind, adapter: Adapter, body: Any, status: int
    ) -> None:
        rows = kind.rows(min(3, adapter.capabilities.max_rows))
        response = Response(status, {}, json.dumps(body).encode())
        assert len(adapter.classify(rows, response, at_s=NOW)) == len(rows)
        _hear_everything_else(adapter, rows, response)

    def test_a_deep_answer_is_no_trouble(self, kind: Kind, adapter: Adapter) -> None:
        for body in (b"[" * 200_000, b'{"data":' * 100_000):
            outcomes = adapter.classify(kind.rows(1), Response(200, {}, body), at_s=NOW)
            assert len(outcomes) == 1

    def test_no_repr_shows_a_secret_or_a_customer(
        self, kind: Kind, adapter: Adapter, vendor: Vendor
    ) -> None:
        secret_row = kind.row(1, customer_id="hidden-customer", key="hidden-customer@example.com")
        given = Credentials("hidden-token", vendor.url)
        calls: list[Any] = [adapter.encode([secret_row], credentials=given, at_s=NOW)]
        if isinstance(adapter, Authorizing):
            calls.append(adapter.token_call(at_s=NOW))
        shown = f"{adapter!r} {adapter} {calls!r} {given!r} {adapter.capabilities!r}"
        hidden = {part for text in kind.secret_texts for part in fragments(text)}
        found = [text for text in (*hidden, "hidden-") if text in shown]
        assert not found

    def test_a_secret_that_is_written_among_the_options_is_refused(self, kind: Kind) -> None:
        plain = {option: values[0] for option, values in kind.secrets.items()}
        with pytest.raises(OptionsError, match="by reference") as caught:
            build(kind.name, kind.options("https://example.com") | plain)
        assert not [text for text in kind.secret_texts if text in str(caught.value)]


def _hear_everything_else(adapter: Adapter, rows: Sequence[Row], response: Response) -> None:
    if isinstance(adapter, Authorizing):
        assert isinstance(adapter.read_token(response, at_s=NOW), Credentials | Outcome)
    if isinstance(adapter, Lookup):
        assert len(adapter.read_lookup(rows, response, at_s=NOW)) == len(rows)
    if isinstance(adapter, Polling):
        for job in ("job-1", '["job-1", 2, "", {}]'):
            progress = adapter.read_poll(job, rows, response, at_s=NOW)
            assert progress.outcomes is None or len(progress.outcomes) == len(rows)
            assert progress.outcomes is not None or progress.job


def _credentials(vendor: Vendor) -> Credentials:
    return Credentials("token-of-a-test", vendor.url)


def _verdicts(outcomes: Iterable[Outcome]) -> list[Verdict]:
    return [outcome.verdict for outcome in outcomes]

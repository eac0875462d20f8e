"""Standard Webhooks: our signatures and theirs, and no exception but SignatureError."""

import json
import os
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from integrations.outbound.errors import SecretError, SignatureError
from integrations.outbound.signing import key_of, keys_of, signature_headers, verify

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("SHARED_DATA_DIR") or ROOT.parent / "shared")
VECTORS = SHARED / "vectors" / "standard_webhooks.json"
OLD, NEW = ("whsec_" + b64encode(bytes([n]) * 32).decode() for n in (1, 2))
BODY = '{"type":"customer.insight.updated","data":{"name":"王小明 — é"}}'.encode()


def test_the_published_vectors():
    if not VECTORS.exists():
        pytest.skip(f"NOT CHECKED against the published vectors: {VECTORS} is absent")
    vectors = json.loads(VECTORS.read_text())["vectors"]
    assert len(vectors) >= 10
    for vector in vectors:
        keys = keys_of(vector["secrets"])
        try:
            verify(keys, vector["headers"], vector["body"].encode(), now_s=vector["now"])
            reason = None
        except SignatureError as error:
            reason = error.reason
        assert reason == vector["reason"], vector["name"]


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_an_independent_receiver_accepts_either_secret_during_a_rotation(secret):
    now_s = int(datetime.now(tz=UTC).timestamp())
    headers = signature_headers(keys_of([NEW, OLD]), message_id="msg_1", at_s=now_s, body=BODY)
    assert standardwebhooks.Webhook(secret).verify(BODY.decode(), headers) == json.loads(BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2


def test_an_independent_sender_is_accepted():
    at = datetime(2026, 11, 22, 10, tzinfo=UTC)
    signature = standardwebhooks.Webhook(OLD).sign("msg_1", at, BODY.decode())
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": signature,
    }
    assert verify(keys_of([NEW, OLD]), headers, BODY, now_s=int(at.timestamp())) == "msg_1"
    with pytest.raises(SignatureError, match="no_match"):
        verify(keys_of([NEW]), headers, BODY, now_s=int(at.timestamp()))


@pytest.mark.parametrize(
    ("age_s", "reason"),
    [(300, None), (301, "timestamp_too_old"), (-300, None), (-301, "timestamp_too_new")],
)
def test_a_signature_is_good_for_five_minutes_both_ways(age_s, reason):
    headers = signature_headers(keys_of([OLD]), message_id="m", at_s=1_000_000, body=BODY)
    if reason is None:
        assert verify(keys_of([OLD]), headers, BODY, now_s=1_000_000 + age_s) == "m"
    else:
        with pytest.raises(SignatureError, match=reason):
            verify(keys_of([OLD]), headers, BODY, now_s=1_000_000 + age_s)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_!!!!",
        "whsec_é",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_" + b64encode(b"x" * 23).decode(),
        "whsec_" + b64encode(b"x" * 65).decode(),
    ],
)
def test_malformed_secrets_are_refused_without_showing_them(secret):
    with pytest.raises(SecretError) as caught:
        key_of(secret)
    rest = secret.removeprefix("whsec_")
    assert not rest or rest not in str(caught.value)


def test_an_endpoint_without_a_secret_is_refused():
    with pytest.raises(SecretError):
        keys_of([])


hostile = st.text(st.characters(), max_size=30)  # lone surrogates included


@given(
    st.dictionaries(
        st.sampled_from(["webhook-id", "Webhook-Timestamp", "webhook-signature", "x"]),
        st.one_of(
            hostile,
            st.sampled_from(
                ["1000000", "v1,", "v1", "v1,é", "v1, v1,", "1e6", "٣", "-1", "9" * 20]
            ),
        ),
    ),
    st.binary(max_size=20),
)
def test_hostile_headers_raise_signature_error_and_nothing_else(headers, body):
    with pytest.raises(SignatureError):
        verify(keys_of([OLD]), headers, body, now_s=1_000_000)

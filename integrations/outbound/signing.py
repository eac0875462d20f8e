"""Standard Webhooks v1: sign with every secret of the endpoint, verify with any.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
The signed content is `id.timestamp.body`; the header lists `v1,<base64 HMAC-SHA256>` per secret,
so that a receiver may hold the old or the new one while secrets rotate.
"""

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Final

from integrations.outbound.errors import SecretError, SignatureError

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
PREFIX: Final = "whsec_"
TOLERANCE_S: Final = 300

_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def key_of(secret: str) -> bytes:
    """MAC key of a `whsec_` secret: 24 to 64 bytes; raise SecretError, which never shows it."""
    if not secret.startswith(PREFIX):
        raise SecretError(f"a signing secret starts with {PREFIX}")
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SecretError("a signing secret is base64 after its prefix") from None
    if not 24 <= len(key) <= 64:
        raise SecretError("a signing secret has 24 to 64 bytes")
    return key


def keys_of(secrets: Sequence[str]) -> tuple[bytes, ...]:
    """MAC keys of all secrets in use, at least one."""
    if not secrets:
        raise SecretError("an endpoint needs a signing secret")
    return tuple(key_of(secret) for secret in secrets)


def signature_headers(
    keys: Sequence[bytes], *, message_id: str, at_s: int, body: bytes
) -> dict[str, str]:
    """The three headers of one attempt, signed with every key.

    keys        MAC keys of `key_of`, the newest first
    message_id  the same on every attempt: the receiver's idempotency key
    at_s        Unix seconds of this attempt
    """
    content = _content(message_id, str(at_s), body)
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(at_s),
        SIGNATURE_HEADER: " ".join(f"v1,{_mac(key, content).decode()}" for key in keys),
    }


def verify(
    keys: Sequence[bytes],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: int,
    tolerance_s: int = TOLERANCE_S,
) -> str:
    """Return the message id of a webhook that one of the keys signed.

    Raises  SignatureError: missing_header, bad_timestamp, timestamp_too_old,
            timestamp_too_new, no_match; nothing else on any content
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp = given[ID_HEADER], given[TIMESTAMP_HEADER]
        signatures = given[SIGNATURE_HEADER]
    except KeyError:
        raise SignatureError("missing_header") from None
    if not message_id:
        raise SignatureError("missing_header")
    _check_age(timestamp, now_s, tolerance_s)
    content = _content(message_id, timestamp, body)
    offered = [
        signature.encode("utf-8", "surrogatepass")
        for version, _, signature in (token.partition(",") for token in signatures.split(" "))
        if version == "v1"
    ]
    matches = [
        hmac.compare_digest(_mac(key, content), signature) for key in keys for signature in offered
    ]
    if not any(matches):
        raise SignatureError("no_match")
    return message_id


def _check_age(timestamp: str, now_s: int, tolerance_s: int) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureError("bad_timestamp")
    age_s = now_s - int(timestamp)
    if age_s > tolerance_s:
        raise SignatureError("timestamp_too_old")
    if age_s < -tolerance_s:
        raise SignatureError("timestamp_too_new")


def _content(message_id: str, timestamp: str, body: bytes) -> bytes:
    return b"%b.%b.%b" % (message_id.encode("utf-8", "surrogatepass"), timestamp.encode(), body)


def _mac(key: bytes, content: bytes) -> bytes:
    return b64encode(hmac.new(key, content, hashlib.sha256).digest())

"""Webhooks of BottleCRM: who sent one, and what it is as an event (docs/adapters/bottlecrm.md).

Source: https://github.com/MicroPyramid/Django-CRM, `webhooks`. The signature is Stripe's scheme
(https://docs.stripe.com/webhooks#verify-manually): `t=<Unix s>,v1=<hex HMAC-SHA256 of "t.body">`.

webhook        | event
-------------- | ---------------------------------------------------------------------
id             | messageId: a repeat is dropped by it
data.email     | userId
created_at     | timestamp
data           | traits
               | context.integration.name: the destination, so that our own write is an echo
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

from pydantic_core import from_json, to_json

from integrations.outbound.errors import SignatureError

SIGNATURE_HEADER: Final = "x-bottlecrm-signature"
TOLERANCE_S: Final = 300
_OF_CONTACTS: Final = frozenset({"contact.created", "contact.updated"})


def verify(
    secrets: Sequence[str],
    signature: str,
    body: bytes,
    *,
    now_s: int,
    tolerance_s: int = TOLERANCE_S,
) -> None:
    """Raise SignatureError unless one of the secrets signed the body, and lately.

    Raises  SignatureError: malformed, timestamp_too_old, timestamp_too_new, no_v1, no_match;
            nothing else on any content
    """
    parts = [part.partition("=")[::2] for part in signature.split(",")]
    times = [value for name, value in parts if name == "t"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdecimal()) or len(times[0]) > 12:
        raise SignatureError("malformed")
    age_s = now_s - int(times[0])
    if abs(age_s) > tolerance_s:
        raise SignatureError("timestamp_too_old" if age_s > 0 else "timestamp_too_new")
    offered = [value.encode("utf-8", "surrogatepass") for name, value in parts if name == "v1"]
    if not offered:
        raise SignatureError("no_v1")
    content = b"%b.%b" % (times[0].encode(), body)
    made = [
        hmac.new(secret.encode(), content, hashlib.sha256).hexdigest().encode()
        for secret in secrets
        if secret
    ]
    matches = [hmac.compare_digest(one, other) for one in made for other in offered]
    if not any(matches):
        raise SignatureError("no_match")


def identify(body: bytes, *, destination: str) -> bytes | None:
    """A webhook of a contact as an `identify`; None where it is of something else.

    destination  name of the destination that writes into this CRM
    """
    try:
        webhook: Any = from_json(body)
    except ValueError:
        return None
    if not isinstance(webhook, dict) or webhook.get("event") not in _OF_CONTACTS:
        return None
    data = webhook.get("data")
    if not isinstance(data, dict) or not data.get("email") or not webhook.get("id"):
        return None
    return to_json(
        {
            "type": "identify",
            "messageId": webhook["id"],
            "userId": data["email"],
            "timestamp": webhook.get("created_at"),
            "traits": data,
            "context": {"integration": {"name": destination}},
        }
    )

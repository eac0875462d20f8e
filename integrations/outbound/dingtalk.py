"""Robot of a DingTalk (钉钉) group: a digest per period (docs/adapters/dingtalk.md).

Source: https://open.dingtalk.com/document/robots/custom-robot-access and
.../customize-robot-security-settings (the signature)
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self
from urllib.parse import urlencode

from pydantic import SecretStr

from integrations.outbound.answers import compact
from integrations.outbound.contract import (
    Capabilities,
    Credentials,
    HttpCall,
    Outcome,
    Response,
    Row,
)
from integrations.outbound.digest import DigestOptions, digest_capabilities, digest_text
from integrations.outbound.options import AdapterOptions, BaseUrl
from integrations.outbound.robots import Codes, outcome_of_robot

_CODES: Final = Codes(
    names=("errcode",),
    messages=("errmsg",),
    throttled={130101: 600.0, 410100: 600.0},  # then the robot is mute for ten minutes
    again=frozenset({-1}),
    refused=frozenset({300001, 310000, 400101, 400102}),
)


class Options(DigestOptions):
    """Options of a robot: access token of its URL; the secret where signing is switched on."""

    access_token: SecretStr
    secret: SecretStr | None = None
    base_url: BaseUrl = "https://oapi.dingtalk.com"


def signature(secret: str, at_ms: int) -> str:
    """What `sign` is at an instant, before it is escaped for a URL.

    at_ms  Unix milliseconds
    """
    content = f"{at_ms}\n{secret}"
    return b64encode(hmac.new(secret.encode(), content.encode(), hashlib.sha256).digest()).decode()


@dataclass(frozen=True, slots=True)
class DingTalk:
    """One robot."""

    name: ClassVar[str] = "dingtalk"
    options_type: ClassVar[type[AdapterOptions]] = Options

    options: Options = field(repr=False)

    @classmethod
    def build(cls, options: Options) -> Self:
        """See `Buildable.build`."""
        return cls(options)

    @property
    def capabilities(self) -> Capabilities:
        """See `Adapter.capabilities`."""
        return digest_capabilities(self.options)

    def encode(self, rows: Sequence[Row], *, credentials: Credentials, at_s: int) -> HttpCall:
        """See `Adapter.encode`."""
        content = digest_text(self.options.title, rows, max_bytes=8000)
        query = {"access_token": self.options.access_token.get_secret_value()}
        if self.options.secret is not None:
            sign = signature(self.options.secret.get_secret_value(), 1000 * at_s)
            query |= {"timestamp": str(1000 * at_s), "sign": sign}
        message = {"title": self.options.title, "text": content}
        body = compact({"msgtype": "markdown", "markdown": message})
        url = f"{self.options.base_url}/robot/send?{urlencode(query)}"
        return HttpCall(self.name, "POST", url, {"content-type": "application/json"}, body)

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`: errors come under 200."""
        return (outcome_of_robot(response, _CODES, at_s=at_s),) * len(rows)

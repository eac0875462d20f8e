"""Robot of a Feishu (飞书) or Lark group: a digest per period (docs/adapters/feishu.md).

Source: https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote

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
    names=("code", "StatusCode"),
    messages=("msg", "StatusMessage"),
    throttled={11232: 60.0},
    again=frozenset({-1}),
    refused=frozenset({19001, 19021, 19022, 19024}),
)


class Options(DigestOptions):
    """Options of a robot: the hook is the last part of its URL; the secret where it signs."""

    hook: SecretStr
    secret: SecretStr | None = None
    base_url: BaseUrl = "https://open.feishu.cn"


def signature(secret: str, at_s: int) -> str:
    """What `sign` is at an instant: the MAC of nothing under a key that holds the instant.

    at_s  Unix seconds
    """
    key = f"{at_s}\n{secret}"
    return b64encode(hmac.new(key.encode(), b"", hashlib.sha256).digest()).decode()


@dataclass(frozen=True, slots=True)
class Feishu:
    """One robot."""

    name: ClassVar[str] = "feishu"
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
        message: dict[str, Any] = {"msg_type": "text", "content": {"text": content}}
        if self.options.secret is not None:
            sign = signature(self.options.secret.get_secret_value(), at_s)
            message |= {"timestamp": str(at_s), "sign": sign}
        hook = quote(self.options.hook.get_secret_value(), safe="")
        url = f"{self.options.base_url}/open-apis/bot/v2/hook/{hook}"
        headers = {"content-type": "application/json"}
        return HttpCall(self.name, "POST", url, headers, compact(message))

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`: errors come under 200."""
        return (outcome_of_robot(response, _CODES, at_s=at_s),) * len(rows)

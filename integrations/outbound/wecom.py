"""Robot of a WeCom (企业微信) group: a digest per period (docs/adapters/wecom.md).

Source: https://developer.work.weixin.qq.com/document/path/91770
"""

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
    throttled={45009: 60.0},
    again=frozenset({-1}),
    refused=frozenset({93000, 40014, 41001}),
)
"""https://developer.work.weixin.qq.com/document/path/90313"""


class Options(DigestOptions):
    """Options of a robot: the key is at the end of its webhook's URL."""

    key: SecretStr
    base_url: BaseUrl = "https://qyapi.weixin.qq.com"


@dataclass(frozen=True, slots=True)
class WeCom:
    """One robot."""

    name: ClassVar[str] = "wecom"
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
        """See `Adapter.encode`; the text has at most 4,096 bytes."""
        content = digest_text(self.options.title, rows, max_bytes=4096)
        query = urlencode({"key": self.options.key.get_secret_value()})
        url = f"{self.options.base_url}/cgi-bin/webhook/send?{query}"
        body = compact({"msgtype": "markdown", "markdown": {"content": content}})
        return HttpCall(self.name, "POST", url, {"content-type": "application/json"}, body)

    def classify(
        self, rows: Sequence[Row], response: Response, *, at_s: int
    ) -> tuple[Outcome, ...]:
        """See `Adapter.classify`: errors come under 200."""
        return (outcome_of_robot(response, _CODES, at_s=at_s),) * len(rows)

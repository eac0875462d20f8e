"""An endpoint of Standard Webhooks that verifies every request with two independent packages."""

from base64 import b64encode

import standardwebhooks
import svix.webhooks

from integrations.outbound.suite.vendor import Reply, Request, Vendor

SECRETS = ["whsec_" + b64encode(bytes([n]) * 32).decode() for n in (1, 2)]


class Endpoint(Vendor):
    """Receives what any of its secrets signed; `verified` counts by package and secret."""

    def __init__(self) -> None:
        super().__init__()
        self.verified: list[tuple[str, int]] = []
        self.events: list[dict] = []

    def answer(self, request: Request) -> Reply:
        body = request.body.decode()
        for number, secret in enumerate(SECRETS):
            for package in (standardwebhooks, svix.webhooks):
                if self._verifies(package, secret, body, request.headers):
                    self.verified.append((package.__name__, number))
        data = request.json["data"]
        if "customer_id" in data and "insight_version" in data:
            self.write(data["customer_id"], data)
        else:
            self.events.append(request.json)
        return Reply(204)

    @staticmethod
    def _verifies(package, secret, body, headers) -> bool:
        try:
            package.Webhook(secret).verify(body, dict(headers))
        except package.WebhookVerificationError:
            return False
        return True

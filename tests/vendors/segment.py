"""A source of Segment: takes whatever is JSON and small enough, tells nobody what it thinks."""

from base64 import b64decode

from integrations.outbound.suite.vendor import Reply, Request, Vendor

WRITE_KEY = "segment-write-key-42"


class Segment(Vendor):
    """A source: traits become contacts, `events` are the tracks, repeats are dropped by id."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict] = []
        self._seen: set[str] = set()

    def answer(self, request: Request) -> Reply:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Basic" or b64decode(key) != f"{WRITE_KEY}:".encode():
            return Reply(401, {"success": False})
        if request.path != "/v1/batch" or len(request.body) > 500_000:
            return Reply(400, {"success": False, "message": "malformed"})
        for one in request.json["batch"]:
            assert 0 < len(one["messageId"]) < 100
            assert one["userId"]
            if one["messageId"] in self._seen:
                continue
            self._seen.add(one["messageId"])
            if one["type"] == "identify":
                self.write(one["userId"], one["traits"])
            else:
                self.events.append(one)
        return Reply(200, {"success": True})

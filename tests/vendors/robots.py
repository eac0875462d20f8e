"""Robots of WeCom, DingTalk and Feishu groups: errors under 200, signatures checked."""

import hashlib
import hmac
from base64 import b64encode

from integrations.outbound.suite.vendor import Reply, Request, Vendor

SECRET = "SEC" + "5e" * 20
KEY = "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"


class Robot(Vendor):
    """A group; `messages` are what its people read."""

    def __init__(self) -> None:
        super().__init__()


class WeCom(Robot):
    def answer(self, request: Request) -> Reply:
        if request.path != "/cgi-bin/webhook/send" or request.query.get("key") != KEY:
            return Reply(200, {"errcode": 93000, "errmsg": "invalid webhook url"})
        content = request.json["markdown"]["content"]
        if len(content.encode()) > 4096:
            return Reply(200, {"errcode": 40058, "errmsg": "markdown.content exceed max length"})
        self.messages.append(content)
        return Reply(200, {"errcode": 0, "errmsg": "ok"})


class DingTalk(Robot):
    def answer(self, request: Request) -> Reply:
        if request.path != "/robot/send" or request.query.get("access_token") != KEY:
            return Reply(200, {"errcode": 300001, "errmsg": "token is not exist"})
        at_ms = request.query.get("timestamp", "")
        mac = hmac.new(SECRET.encode(), f"{at_ms}\n{SECRET}".encode(), hashlib.sha256).digest()
        if request.query.get("sign") != b64encode(mac).decode():
            return Reply(200, {"errcode": 310000, "errmsg": "sign not match"})
        self.messages.append(request.json["markdown"]["text"])
        return Reply(200, {"errcode": 0, "errmsg": "ok"})


class Feishu(Robot):
    def answer(self, request: Request) -> Reply:
        if request.path != f"/open-apis/bot/v2/hook/{KEY}":
            return Reply(
                200, {"code": 19001, "msg": "param invalid: incoming webhook access token"}
            )
        body = request.json
        mac = hmac.new(f"{body['timestamp']}\n{SECRET}".encode(), b"", hashlib.sha256).digest()
        if body["sign"] != b64encode(mac).decode():
            return Reply(200, {"code": 19021, "msg": "sign match fail or timestamp is not within"})
        self.messages.append(body["content"]["text"])
        return Reply(
            200, {"StatusCode": 0, "StatusMessage": "success", "code": 0, "msg": "success"}
        )

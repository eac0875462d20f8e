"""Vendors' own OpenAPI documents as judges of what is sent to them, and of our vendors' answers."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from integrations.outbound.suite.vendor import Exchange

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SHARED_DATA_DIR") or ROOT.parent / "shared")


@cache
def spec(name: str) -> OpenAPI:
    """A document, by its file's name, as a judge."""
    document = document_of(name)
    mend(document)
    return OpenAPI.from_dict(document, config=Config(spec_validator_cls=None))


def document_of(name: str) -> dict[str, Any]:
    """A document as the vendor wrote it; skips loudly where it is absent."""
    path = SHARED / "specs" / name
    if not path.exists():
        pytest.skip(f"NOT CHECKED against the vendor's document: {path} is absent")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def judge(document: OpenAPI, host: str, exchanges: Iterable[Exchange]) -> int:
    """Validate requests and answers; how many. Raises what openapi-core finds wrong."""
    count = 0
    for request, reply in exchanges:
        asked = MockRequest(
            host,
            request.method.lower(),
            request.path,
            args=dict(request.query),
            headers=dict(request.headers),
            data=request.body,
            content_type=request.headers.get("content-type", "application/json"),
        )
        kind = reply.headers.get("content-type", _content_type(asked))
        told = MockResponse(reply.raw, status_code=reply.status, content_type=kind)
        document.validate_request(asked)
        document.validate_response(asked, told)
        count += 1
    return count


def _content_type(asked: MockRequest) -> str:
    accepts = asked.parameters.header.get("accept", "")
    return "application/vnd.api+json" if "vnd.api" in accepts else "application/json"


def mend(document: Mapping[str, Any]) -> None:
    """Zoho's document knows status 200 alone, as results or as an error, neither with required
    members, so that every answer is both: results are 200 and 207, an error is any other status.
    HubSpot's dated document says */* of errors, of which a judge reads nothing: they are JSON.
    """
    for answer in document["components"].get("responses", {}).values():
        content = answer["content"]
        if "*/*" in content:
            content["application/json"] = content.pop("*/*")
    for operation in _operations(document):
        responses = operation["responses"]
        answer = responses["200"] if set(responses) == {"200"} else {}
        for kind in answer.get("content", {}).values():
            for branch in kind["schema"].get("oneOf", []):
                told = {"description": "", "content": {"application/json": {"schema": branch}}}
                is_error = "properties" not in branch or "data" not in branch["properties"]
                responses |= dict.fromkeys(("400", "401") if is_error else ("200", "207"), told)


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from (one for one in path.values() if isinstance(one, dict) and "responses" in one)

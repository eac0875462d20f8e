"""Bytes of an insight."""

import json
from collections.abc import Mapping
from typing import Any

from integrations.insight import CustomerInsight


def canonical_json(meaning: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8 with sorted keys.

    >>> canonical_json({"b": 1, "a": "é"}).decode()
    '{"a":"é","b":1}'
    """
    return json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def insight_payload(insight: CustomerInsight) -> bytes:
    """Compact JSON, fields in the order of the contract: equal insights, equal bytes."""
    return insight.__pydantic_serializer__.to_json(insight)

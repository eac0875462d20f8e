"""Bytes that are the same for the same meaning."""

import json
from collections.abc import Mapping
from typing import Any


def canonical_json(meaning: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8 with sorted keys.

    >>> canonical_json({"b": 1, "a": "é"}).decode()
    '{"a":"é","b":1}'
    """
    return json.dumps(
        meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True
    ).encode()

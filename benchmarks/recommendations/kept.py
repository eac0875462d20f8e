"""Figures of baselines that were measured before: a long comparison can go on where it ended.

Ours is measured in every run; a baseline does not depend on it, so that its figures stay true as
long as data, protocol and trials are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from models.recommend.evaluate import Quality


class Kept:
    """Files of one comparison in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, comparison: Mapping[str, Any]) -> None:
        """Name the comparison: whatever a baseline's figures depend on."""
        self._folder = folder
        self._comparison = json.dumps(comparison, sort_keys=True, default=str)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def _file(self, method: str) -> Path | None:
        if self._folder is None:
            return None
        digest = blake2b(f"{self._comparison} {method}".encode(), digest_size=8).hexdigest()
        return self._folder / f"{digest}.npz"

    def load(self, method: str) -> tuple[dict[str, Quality], dict[str, Any]] | None:
        """A method's figures per mode and user, and its rows of the report, if they are kept."""
        file = self._file(method)
        if file is None or not file.exists():
            return None
        with np.load(file, allow_pickle=False) as arrays:
            rows = json.loads(arrays["rows"].tobytes())
            return {mode: Quality(*arrays[mode]) for mode in rows}, rows

    def save(self, method: str, answers: Mapping[str, Quality], rows: Mapping[str, Any]) -> None:
        """Keep a method's figures and rows."""
        file = self._file(method)
        if file is not None:
            told = np.frombuffer(json.dumps(rows).encode(), dtype=np.uint8)
            np.savez_compressed(file, rows=told, **{m: np.array(a) for m, a in answers.items()})

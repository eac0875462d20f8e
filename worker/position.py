"""Where a backfill stands, in a file beside the data: an interrupted one goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: A server that is killed may lose what it accepted in its last seconds (AOF everysec): a position
#: counts only when it is older than this.
SETTLED_S: Final = 4.0
_ENDS: Final = 1 << 16


class Position:
    """Events of a file that the server has for good: a number, counted from the file's begin.

    path      of the position's own file
    identity  what has to be the same for the number to mean the same
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._identity = identity
        self._marks: deque[tuple[float, int]] = deque()
        self._kept = 0

    def load(self) -> int:
        """The events that need not be sent again; 0 if nothing is known, or of something else."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            same = found["identity"] == self._identity
            self._kept = int(found["events"]) if same else 0
        except (OSError, ValueError, KeyError, TypeError):
            self._kept = 0
        return self._kept

    def note(self, events: int, now: float) -> None:
        """All events before this one were accepted now; what was so for long enough is kept."""
        self._marks.append((now, events))
        settled = self._kept
        while self._marks and self._marks[0][0] <= now - SETTLED_S:
            settled = max(settled, self._marks.popleft()[1])
        if settled > self._kept:
            self._kept = settled
            self._write()

    def clear(self) -> None:
        """The file was sent to its end."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".tmp")
        text = json.dumps({"identity": self._identity, "events": self._kept})
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._path)


def name_of(options: Mapping[str, object]) -> str:
    """A short name of what is done to which file."""
    text = json.dumps(options, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def fingerprint(path: Path) -> str:
    """Tells a file from another of the same name: its size, begin and end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.blake2b(file.read(_ENDS), digest_size=16)
        file.seek(max(0, size - _ENDS))
        digest.update(file.read(_ENDS))
    return f"{size}-{digest.hexdigest()}"

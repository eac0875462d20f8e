"""Snapshots of the neighbor index in a folder: plain arrays and JSON, mapped by every process.

Each is a folder `g<number>` that appears whole (it is renamed) and never changes, but for the
`threshold` array: a note that all processes of the host share, of which nothing but the nudges of
others' lists depends. At most two are kept, so that what was erased is gone with the second next.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np

KEPT: Final = 2
SHARED: Final = "threshold"
_META: Final = "snapshot.json"
_FORMAT: Final = 2


class SnapshotError(ValueError):
    """A snapshot is missing, damaged, or of a format that this release does not read."""


class Snapshot(NamedTuple):
    """One snapshot: its number, arrays, and JSON."""

    number: int
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]


class Snapshots:
    """The snapshots in one folder. One builder writes; any number of processes read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self._folder

    def identity(self) -> str:
        """A name that was written into the folder by whoever used it first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "identity"
        if not path.exists():
            made = self._folder / f".identity-{secrets.token_hex(6)}"
            made.write_text(secrets.token_hex(8), encoding="utf-8")
            with suppress(FileExistsError):
                path.hardlink_to(made)
            made.unlink()
        return path.read_text(encoding="utf-8")

    def numbers(self) -> list[int]:
        """The numbers of all snapshots, newest first."""
        if not self._folder.is_dir():
            return []
        names = (path.name for path in self._folder.iterdir())
        return sorted((int(n[1:]) for n in names if n[:1] == "g" and n[1:].isdigit()), reverse=True)

    def meta(self, number: int) -> Mapping[str, Any]:
        """The JSON of one; raises SnapshotError."""
        try:
            found = json.loads((self._path(number) / _META).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SnapshotError(f"snapshot {number}: {error}") from None
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise SnapshotError(f"snapshot {number} is of another format")
        return found

    def read(self, number: int) -> Snapshot:
        """Map one. What a process writes into its arrays is its own, but for `SHARED`.

        Raises SnapshotError.
        """
        import numpy as np  # noqa: PLC0415  a worker limits its threads before it loads

        meta = self.meta(number)
        arrays = {}
        try:
            for name, (dtype, length) in meta["arrays"].items():
                mode: Any = "r+" if name == SHARED else "c"
                path = self._path(number) / f"{name}.npy"
                found = np.load(path, mmap_mode=mode if length else None)
                if found.dtype.str != dtype or found.shape != (length,):
                    raise SnapshotError(f"snapshot {number}: {name} is not what it should be")
                arrays[name] = np.asarray(found)
        except (OSError, ValueError, KeyError) as error:
            raise SnapshotError(f"snapshot {number}: {error}") from None
        return Snapshot(number, arrays, meta)

    def publish(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> int:
        """Write a snapshot of vectors, drop those before the last; its number."""
        import numpy as np  # noqa: PLC0415  same

        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(".new-*"):  # of a builder that was killed
            shutil.rmtree(left, ignore_errors=True)
        making = self._folder / f".new-{secrets.token_hex(6)}"
        making.mkdir()
        for name, array in arrays.items():
            np.save(making / f"{name}.npy", array, allow_pickle=False)
        shapes = {name: [array.dtype.str, len(array)] for name, array in arrays.items()}
        text = json.dumps({**meta, "format": _FORMAT, "arrays": shapes})
        (making / _META).write_text(text, encoding="utf-8")
        number = max(self.numbers(), default=0) + 1
        making.rename(self._path(number))
        for old in self.numbers()[KEPT:]:
            shutil.rmtree(self._path(old), ignore_errors=True)
        return number

    def _path(self, number: int) -> Path:
        return self._folder / f"g{number:012d}"

"""Many ids in one block of bytes, sorted: nothing per id in memory, so that processes share it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from models.checks import DomainError


class SortedIds(Sequence[str]):
    """Distinct ids in ascending order, and where each is.

    >>> ids = SortedIds.of(["a", "cup", "tea"])
    >>> ids[1], ids.find("tea"), ids.find("b")
    ('cup', 2, -1)
    """

    __slots__ = ("block", "bounds", "ends", "text")

    def __init__(self, block: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        """Take the UTF-8 of all ids behind one another, and where each ends (n,)."""
        self.block, self.ends = block, ends
        self.text, self.bounds = block.data, ends.data

    @classmethod
    def of(cls, ids: Sequence[str]) -> SortedIds:
        """Pack ids; raise DomainError unless they are ascending and distinct."""
        if any(a >= b for a, b in pairwise(ids)):
            raise DomainError("customer ids are distinct and ascending")
        coded = [one.encode() for one in ids]
        ends = np.cumsum([len(one) for one in coded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(coded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        """Return the id at a place >= 0, or those of a slice."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        start = self.bounds[place - 1] if place else 0
        return str(self.text[start : self.bounds[place]], "utf-8")

    def find(self, one: str) -> int:
        """Return the place of an id, -1 if it is not there."""
        place = self.place(one)
        return place if place < len(self) and self[place] == one else -1

    def place(self, one: str) -> int:
        """Return how many ids are before this one. Code points sort as UTF-8 does."""
        return bisect_left(self, one)

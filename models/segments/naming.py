"""Names of segments, from where their centroids lie in recency, frequency and money."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ShapeError

Matrix: TypeAlias = NDArray[np.float64]

CLEAR = 0.5  # a z-score beyond this is said aloud
STICKY = 0.25  # a living name stays while its own rule fails by no more than this

_RECENCY = ("Recent", "Occasional", "Dormant")
_MONEY = ("low spend", "average spend", "high spend")
_FREQUENCY_WORDS = ("fewer orders", "some orders", "more orders")
_RECENCY_WORDS = ("more recent", "less recent", "least recent")
_MONEY_WORDS = ("lower spend", "medium spend", "higher spend")


def name_segments(z: Matrix, kept: Sequence[str | None]) -> tuple[str, ...]:
    """Name every segment; all names differ.

    z        (k, 3) z-scores of the centroids among all customers: recency (high = long ago),
             frequency, money
    kept     (k,) the name that a segment already has, None for a new one; it stays while its
             rule still holds with `STICKY` to spare
    Raises   ShapeError

    >>> z = np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [1.0, 0.6, 0.9]])
    >>> name_segments(z, [None, None, None])
    ('Champions', 'Lapsed', 'At risk, valuable')
    """
    if z.ndim != 2 or z.shape[1] != 3 or len(kept) != len(z):
        raise ShapeError(f"z is {z.shape}, kept has {len(kept)}")
    names: list[str | None] = [
        old if old is not None and _still_holds(old, row) else None
        for old, row in zip(kept, z, strict=True)
    ]
    rules = [name_of(row) for row in z]
    for rule in dict.fromkeys(rules):
        alike = [i for i, other in enumerate(rules) if other == rule]
        suffixes = _suffixes(z[alike])
        for i, suffix in zip(alike, suffixes, strict=True):
            if names[i] is None:
                names[i] = _free(rule + suffix, names)
    return tuple(str(name) for name in names)


def name_of(z: NDArray[np.float64], slack: float = 0.0) -> str:
    """Return the name that one z-score row (3,) earns; `slack` lowers every threshold.

    >>> name_of(np.array([-0.8, 0.9, 0.1])), name_of(np.array([0.0, 0.0, 0.0]))
    ('Loyal', 'Occasional, average spend')
    """
    recency, frequency, money = z.tolist()
    clear = CLEAR - slack
    recent, stale = recency < -clear, recency > clear
    if recent and frequency > clear:
        return "Champions" if money > clear else "Loyal"
    if recent and money > clear:
        return "Big baskets"
    if recent and frequency < -clear:
        return "New"
    if stale and (money > clear or frequency > clear):
        return "At risk, valuable"
    if stale and money < -clear:
        return "Lapsed"
    return f"{_RECENCY[_level(recency)]}, {_MONEY[_level(money)]}"


def _still_holds(name: str, z: NDArray[np.float64]) -> bool:
    """Whether some row within STICKY of z, in each of its three scores, earns the name."""
    rule = name.split(" (", maxsplit=1)[0]
    steps = np.array(np.meshgrid(*[(-STICKY, 0.0, STICKY)] * 3)).reshape(3, -1).T
    return any(name_of(z + step) == rule for step in steps)


def _level(z: float) -> int:
    return 0 if z < -CLEAR else 2 if z > CLEAR else 1


def _suffixes(z: Matrix) -> list[str]:
    """Tell namesakes apart by the score in which they differ most."""
    if len(z) == 1:
        return [""]
    spread = z.max(axis=0) - z.min(axis=0)
    column = int(spread.argmax())
    words = (_RECENCY_WORDS, _FREQUENCY_WORDS, _MONEY_WORDS)[column]
    rank = np.empty(len(z), dtype=np.int64)
    rank[np.lexsort((np.arange(len(z)), z[:, column]))] = np.arange(len(z))
    if len(z) == 2:
        return [f" ({words[0] if r == 0 else words[2]})" for r in rank]
    if len(z) == 3:
        return [f" ({words[r]})" for r in rank]
    return [f" ({r + 1})" for r in rank]


def _free(name: str, taken: Sequence[str | None]) -> str:
    """Return the name, numbered if another segment has it already."""
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name} ({number})", number + 1
    return candidate

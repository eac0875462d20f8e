"""Labels of segments, from where their centers lie in recency, frequency and money."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ShapeError
from models.segments.labels import LANGUAGES, Label, numbered

Matrix: TypeAlias = NDArray[np.float64]

CLEAR = 0.5  # a z-score beyond this is said aloud
FAR = 1.5  # and beyond this with emphasis
STICKY = 0.25  # a living name stays while its own rule fails by no more than this
PATIENCE = 2  # and until it has failed by more in so many retrains in a row

_RECENCY = ("recent", "occasional", "dormant")
_MONEY = ("low", "average", "high")
#: What scores can earn. Another key says what a segment was, and goes when it is that no more.
_EARNED = {
    "champions", "loyal", "big_baskets", "new", "at_risk_valuable", "lapsed",
    *("_".join(pair) for pair in product(_RECENCY, _MONEY)),
}  # fmt: skip
_SUFFIXES = (
    ("more_recent", "less_recent", "least_recent"),
    ("fewer_orders", "some_orders", "more_orders"),
    ("lower_spend", "medium_spend", "higher_spend"),
)


def label_segments(
    z: Matrix, kept: Sequence[Label | None], fixed: Mapping[int, str] = MappingProxyType({})
) -> tuple[Label, ...]:
    """Label every segment; all names differ. Operators' names play no part in it.

    z       (k, >= 3) z-scores of the centers among all customers: recency (high = long ago),
            frequency, money, and tenure if it is known
    kept    (k,) the label that a segment already has, None for a new one
    fixed   keys of rows that are named by what they are, not by their scores
    Raises  ShapeError

    >>> z = np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [1.0, 0.6, 0.9]])
    >>> [label.name() for label in label_segments(z, [None, None, None])]
    ['Champions', 'Lapsed', 'At risk, valuable']
    """
    if z.ndim != 2 or z.shape[1] < 3 or len(kept) != len(z):
        raise ShapeError(f"z is {z.shape}, kept has {len(kept)}")
    labels = [None if old is None else _aged(old, row) for old, row in zip(kept, z, strict=True)]
    keys = [key_of(row) for row in z]
    for row, key in fixed.items():
        keys[row] = key
        labels[row] = Label(key, levels=_levels(z[row]))
    for key in dict.fromkeys(keys):
        alike = [i for i, other in enumerate(keys) if other == key]
        for i, suffix in zip(alike, _suffixes(z[alike, :3]), strict=True):
            if labels[i] is None:
                label = Label(key, suffix, levels=_levels(z[i]))
                labels[i] = numbered(label, _names(labels))
    return tuple(label for label in labels if label is not None)


def key_of(z: NDArray[np.float64]) -> str:
    """Return the key that one row of z-scores earns.

    >>> key_of(np.array([-0.8, 0.9, 0.1])), key_of(np.array([0.0, 0.0, 0.0]))
    ('loyal', 'occasional_average')
    """
    recency, frequency, money = z[:3].tolist()
    is_young = len(z) == 3 or z[3] < -CLEAR
    recent, stale = recency < -CLEAR, recency > CLEAR
    if recent and frequency > CLEAR:
        return "champions" if money > CLEAR else "loyal"
    if recent and money > CLEAR:
        return "big_baskets"
    if recent and frequency < -CLEAR and is_young:
        return "new"
    if stale and (money > CLEAR or frequency > CLEAR):
        return "at_risk_valuable"
    if stale and money < -CLEAR:
        return "lapsed"
    return f"{_RECENCY[_third(recency)]}_{_MONEY[_third(money)]}"


def _aged(label: Label, z: NDArray[np.float64]) -> Label | None:
    """Return the label after one more retrain; None if its rule has failed often enough."""
    if label.key not in _EARNED:
        return None
    steps = product((-STICKY, 0.0, STICKY), repeat=len(z[:4]))
    failed = 0 if label.key in {key_of(z[:4] + np.array(step)) for step in steps} else 1
    failed *= label.failed + 1
    if failed >= PATIENCE:
        return None
    return replace(label, levels=_levels(z), failed=failed, own="")


def _third(z: float) -> int:
    return 0 if z < -CLEAR else 2 if z > CLEAR else 1


def _levels(z: NDArray[np.float64]) -> tuple[int, int, int]:
    size = np.where(np.abs(z[:3]) > FAR, 2, np.where(np.abs(z[:3]) > CLEAR, 1, 0))
    recency, frequency, money = (size * np.sign(z[:3])).astype(int).tolist()
    return recency, frequency, money


def _suffixes(z: Matrix) -> list[str]:
    """Tell namesakes apart by the score in which they differ most; at most three have words."""
    if len(z) == 1 or len(z) > 3:
        return [""] * len(z)
    column = int((z.max(axis=0) - z.min(axis=0)).argmax())
    low, middle, high = _SUFFIXES[column]
    words = (low, high) if len(z) == 2 else (low, middle, high)
    rank = np.argsort(np.lexsort((np.arange(len(z)), z[:, column])))
    return [words[place] for place in rank]


def _names(labels: Sequence[Label | None]) -> set[str]:
    """Return the names that are given already, in any language."""
    return {one.name(language) for one in labels if one is not None for language in LANGUAGES}

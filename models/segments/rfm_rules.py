"""RFM rules: the classical names by quintiles of recency, frequency and money."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, matrix, vector
from models.checks import ShapeError, require

Matrix: TypeAlias = NDArray[np.float64]

#: The first rule that holds names the segment; r is the quintile of recency (5 = the most recent
#: fifth), fm the mean of those of frequency and money.
RULES: tuple[tuple[str, Callable[[int, float], bool]], ...] = (
    ("champions", lambda r, fm: r >= 4 and fm >= 4),
    ("loyal", lambda r, fm: r >= 3 and fm >= 3.5),
    ("new", lambda r, fm: r == 5 and fm < 2),
    ("promising", lambda r, fm: r == 4 and fm < 2),
    ("potential_loyalists", lambda r, _: r >= 4),
    ("need_attention", lambda r, fm: r == 3 and fm >= 2),
    ("about_to_sleep", lambda r, _: r == 3),
    ("cannot_lose", lambda _, fm: fm >= 4.5),
    ("at_risk", lambda _, fm: fm >= 2.5),
    ("hibernating", lambda r, _: r == 2),
    ("lost", lambda _, __: True),
)
KEYS = tuple(key for key, _ in RULES)
_CELLS = tuple(product(range(5), repeat=3))
_RULE_OF_CELL = np.array(
    [
        next(i for i, (_, holds) in enumerate(RULES) if holds(r + 1, (f + m) / 2 + 1))
        for r, f, m in _CELLS
    ]
)
_ELSEWHERE = 1e-9  # a customer on the edge of two cells is in one of them only


@dataclass(frozen=True, slots=True)
class Quintiles:
    """Cells between the quintiles, each of one segment.

    centers  (k, d) means of the segments, for plots and descriptions
    edges    (3, 4) rising quintiles of -recency, frequency, money, scaled
    rules    (k,) int64 row of RULES of each segment
    """

    centers: Matrix
    edges: Matrix
    rules: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless the parts fit together."""
        if self.edges.shape != (3, 4) or self.rules.shape != (len(self.centers),):
            raise ShapeError(f"edges are {self.edges.shape}, rules {self.rules.shape}")
        require((np.diff(self.edges, axis=1) >= 0).all(axis=1), "edges rise")
        require(sorted(self.rules.tolist()) == list(range(len(RULES))), "every rule has a segment")

    @property
    def unit(self) -> float:
        """0: a rule holds or not, there is nothing to wait for."""
        return 0.0

    def distances(self, points: Matrix) -> Matrix:
        """Return (n, k): 0 where the rule holds, else the way to its nearest cell."""
        low = np.hstack((np.full((3, 1), -np.inf), self.edges))
        high = np.hstack((self.edges, np.full((3, 1), np.inf)))
        values = points[:, :3] * np.array([-1.0, 1.0, 1.0])
        beside = np.maximum(low - values[:, :, None], values[:, :, None] - high).clip(0.0)
        beside = np.where(low < high, beside, np.inf)  # equal quintiles leave a cell empty
        cells = np.array(_CELLS)
        way = np.sqrt(sum(beside[:, axis, cells[:, axis]] ** 2 for axis in range(3)))
        own = self._own(values)
        found = np.empty((len(points), len(self.rules)))
        for j, rule in enumerate(self.rules.tolist()):
            nearest = way[:, rule == _RULE_OF_CELL].min(axis=1)
            found[:, j] = np.where(own == rule, 0.0, np.maximum(nearest, _ELSEWHERE))
        return found

    def _own(self, values: Matrix) -> NDArray[np.int64]:
        scores = [
            np.searchsorted(edges, column, side="left")
            for edges, column in zip(self.edges, values.T, strict=True)
        ]
        own: NDArray[np.int64] = _RULE_OF_CELL[25 * scores[0] + 5 * scores[1] + scores[2]]
        return own

    def strangeness(self, distances: Matrix) -> NDArray[np.float64]:
        """Return (n,) zeros: every customer fits some rule."""
        return np.zeros(len(distances))

    def reordered(self, order: NDArray[np.int64]) -> Self:
        """Return the same geometry with its rows in another order."""
        return type(self)(self.centers[order], self.edges, self.rules[order])

    def arrays(self) -> Arrays:
        """Return what `read` needs besides the centers."""
        return {"edges": self.edges, "rules": self.rules}

    @classmethod
    def read(cls, centers: Matrix, arrays: Arrays) -> Self:
        """Return the geometry of these arrays; raise ShapeError or DomainError."""
        rules = vector(arrays, "rules", len(centers)).astype(np.int64)
        return cls(centers, matrix(arrays, "edges", (3, 4)), rules)


def fit_rfm_rules(points: Matrix) -> Quintiles:
    """Return the quintiles of these customers.

    points  (n, d >= 3) recency, frequency, money first
    Source  Hughes (1994), "Strategic Database Marketing": customers in fifths by each of the three

    >>> points = np.arange(30.0)[:, None] * np.array([-1.0, 1.0, 1.0])
    >>> rules = fit_rfm_rules(points)
    >>> [KEYS[i] for i in rules.distances(points[[0, 6, 12, 29]]).argmin(axis=1)]
    ['lost', 'hibernating', 'need_attention', 'champions']
    """
    values = points[:, :3] * np.array([-1.0, 1.0, 1.0])
    edges = np.quantile(values, [0.2, 0.4, 0.6, 0.8], axis=0).T
    everywhere = np.tile(points.mean(axis=0), (len(RULES), 1))
    rules = Quintiles(everywhere, edges, np.arange(len(RULES)))
    own = rules.distances(points).argmin(axis=1)
    for rule in np.unique(own):
        everywhere[rule] = points[own == rule].mean(axis=0)
    return Quintiles(everywhere, edges, rules.rules)

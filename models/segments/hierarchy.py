"""AGNES: customers merge pair by pair into a tree, which is cut by number or by height."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]

SAMPLE = 3_000  # memory grows with its square
MOST = 20  # segments of a cut by height


def fit_agnes(
    points: Matrix, k: int, rng: np.random.Generator, height: float | None = None
) -> Matrix:
    """Return centers (k, d) of the branches of Ward's tree over a sample.

    Everybody who is not in the sample, now or later, belongs to the nearest center.

    points  (n, d) with at least k distinct rows
    height  cut where merging two branches costs more than this (the root of twice the growth of
            the squared distances); at most MOST branches; None = cut into k
    Source  Kaufman & Rousseeuw (1990), "Finding Groups in Data", ch. 5; Ward (1963),
            "Hierarchical grouping to optimize an objective function"

    >>> rng = np.random.default_rng(0)
    >>> points = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> sorted(fit_agnes(points, 2, rng).ravel().tolist())
    [0.5, 9.5]
    >>> len(fit_agnes(points, 2, rng, height=0.5)), len(fit_agnes(points, 2, rng, height=99.0))
    (4, 1)
    """
    from scipy.cluster.hierarchy import fcluster, ward  # noqa: PLC0415 - only a fit needs it

    sample = points
    if len(points) > SAMPLE:
        sample = points[rng.choice(len(points), SAMPLE, replace=False)]
    tree = ward(sample)
    if height is not None:
        k = min(MOST, len(np.unique(fcluster(tree, height, "distance"))))
    branches = fcluster(tree, k, "maxclust")
    centers: Matrix = np.stack(
        [sample[branches == branch].mean(axis=0) for branch in np.unique(branches)]
    )
    return centers

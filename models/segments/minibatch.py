"""MiniBatch k-means: centers from small random batches, for more customers than fit at once."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float64]

_BATCH = 1_024


def fit_minibatch(points: Matrix, k: int, rng: np.random.Generator) -> Matrix:
    """Return (k, d) centers.

    points  (n, d) with at least k distinct rows
    Source  Sculley (2010), "Web-scale k-means clustering"

    >>> fit_minibatch(np.array([[0.0], [9.0]]), 2, np.random.default_rng(0)).shape
    (2, 1)
    """
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415 - only a fit pays for this import

    seed = int(rng.integers(2**31))
    found = MiniBatchKMeans(k, n_init=3, batch_size=_BATCH, random_state=seed).fit(points)
    centers: Matrix = found.cluster_centers_
    return centers

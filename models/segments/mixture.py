"""Gaussian mixture: segments of any direction and width."""

from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, matrix, vector
from models.checks import ShapeError

Matrix: TypeAlias = NDArray[np.float64]

_RIDGE = 1e-3  # added to every variance: no segment collapses onto one customer


@dataclass(frozen=True, slots=True)
class Mixture:
    """k Gaussians.

    centers  (k, d) means
    roots    (k, d, d) W of each, with the inverse covariance W W'
    offsets  (k,) >= 0 what its best place lacks in log-likelihood, twice, against the best of all
    """

    centers: Matrix
    roots: Matrix
    offsets: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Raise ShapeError unless the parts fit together."""
        k, d = self.centers.shape
        if self.roots.shape != (k, d, d) or self.offsets.shape != (k,):
            raise ShapeError(f"roots are {self.roots.shape}, offsets {self.offsets.shape}")

    @property
    def unit(self) -> float:
        """Median distance from a center to another segment."""
        k = len(self.centers)
        gaps = self.distances(self.centers)[~np.eye(k, dtype=np.bool_)]
        return float(np.median(gaps)) if k > 1 else 0.0

    def distances(self, points: Matrix) -> Matrix:
        """Return (n, k): the root of twice the log-likelihood lost against the best place.

        >>> two = Mixture(np.array([[0.0], [4.0]]), np.array([[[1.0]], [[0.5]]]), np.zeros(2))
        >>> two.distances(np.array([[2.0]]))
        array([[2., 1.]])
        """
        found = np.empty((len(points), len(self.centers)))
        for j, (center, root) in enumerate(zip(self.centers, self.roots, strict=True)):
            whitened = np.einsum("nd,de->ne", points - center, root)
            found[:, j] = np.sqrt((whitened**2).sum(axis=1) + self.offsets[j])
        return found

    def strangeness(self, distances: Matrix) -> NDArray[np.float64]:
        """Return (n,) the distance to the nearest segment over the unit."""
        unit = self.unit
        nearest: NDArray[np.float64] = distances.min(axis=1)
        return nearest / (unit if unit > 0 else 1.0)

    def reordered(self, order: NDArray[np.int64]) -> Self:
        """Return the same geometry with its rows in another order."""
        return type(self)(self.centers[order], self.roots[order], self.offsets[order])

    def arrays(self) -> Arrays:
        """Return what `read` needs besides the centers."""
        return {"roots": self.roots, "offsets": self.offsets}

    @classmethod
    def read(cls, centers: Matrix, arrays: Arrays) -> Self:
        """Return the geometry of these arrays; raise ShapeError or DomainError."""
        k, d = centers.shape
        return cls(centers, matrix(arrays, "roots", (k, d, d)), vector(arrays, "offsets", k))


def fit_mixture(points: Matrix, k: int, rng: np.random.Generator) -> Mixture:
    """Return k Gaussians with full covariances, by expectation maximization.

    points  (n, d) with at least k distinct rows
    Source  Dempster, Laird & Rubin (1977), "Maximum likelihood from incomplete data via the EM
            algorithm"
    """
    from sklearn.mixture import GaussianMixture  # noqa: PLC0415 - only a fit pays for this import

    seed = int(rng.integers(2**31))
    found = GaussianMixture(k, n_init=2, reg_covar=_RIDGE, random_state=seed).fit(points)
    roots = found.precisions_cholesky_
    height = 2 * np.log(found.weights_)
    height += 2 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    return Mixture(found.means_, roots, height.max() - height)

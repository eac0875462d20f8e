"""Matching of new centroids to live segments, so that an id goes on meaning the same people."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.checks import ShapeError, require

Matrix: TypeAlias = NDArray[np.float64]
Ids: TypeAlias = NDArray[np.int64]


class Matched(NamedTuple):
    """Ids of the new centroids (k,), and the next id that no segment has ever had."""

    ids: Ids
    next_id: int


def match_centroids(new: Matrix, live: Matrix, live_ids: Ids, next_id: int) -> Matched:
    """Give each new centroid a live id, one to one, at the least total squared distance.

    A centroid that finds no partner gets a fresh id; so does one that lies farther from every
    live centroid than half the median distance between live centroids: it is something new.

    new       (k, d) centroids, any scale common with `live`
    live      (j, d)
    live_ids  (j,) distinct, all < next_id
    Raises    ShapeError, DomainError
    Source    Kuhn (1955), "The Hungarian method for the assignment problem"

    >>> live = np.array([[0.0], [10.0]])
    >>> match_centroids(np.array([[9.0], [1.0], [30.0]]), live, np.array([4, 7]), 8)
    Matched(ids=array([7, 4, 8]), next_id=9)
    """
    if new.ndim != 2 or live.ndim != 2 or new.shape[1] != live.shape[1]:
        raise ShapeError(f"new is {new.shape}, live is {live.shape}")
    if live_ids.shape != (len(live),):
        raise ShapeError(f"live_ids is {live_ids.shape}, live is {live.shape}")
    require(live_ids < next_id, "live ids < next_id")
    require(len(np.unique(live_ids)) == len(live_ids), "live ids are distinct")
    distance = np.sqrt(((new[:, None, :] - live[None, :, :]) ** 2).sum(axis=2))
    familiar = distance.min(axis=1, initial=np.inf) <= _reach(live)
    ids = np.full(len(new), -1, dtype=np.int64)
    candidates = np.flatnonzero(familiar)
    rows, columns = linear_sum_assignment(distance[candidates] ** 2)
    ids[candidates[rows]] = live_ids[columns]
    fresh = np.flatnonzero(ids < 0)
    ids[fresh] = next_id + np.arange(len(fresh))
    return Matched(ids, next_id + len(fresh))


def _reach(live: Matrix) -> float:
    """Half the median distance between live centroids; endless for fewer than two."""
    upper = np.triu_indices(len(live), 1)
    gaps = np.sqrt(((live[upper[0]] - live[upper[1]]) ** 2).sum(axis=1))
    return float(np.median(gaps)) / 2 if len(gaps) else float("inf")

"""What follows customers day by day: ours, and what others would use."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score

from benchmarks.segment_replay import Day, Replay
from models.segments.following import SAMPLE, follow
from models.segments.geometry import squared_distances
from models.segments.kmeans import inertia

RIVER_CUSTOMERS = 25  # a day: a second per hundred customers


class Ours:
    """The segment model, following a uniform sample of all customers every day."""

    def __init__(self, replay: Replay) -> None:
        self.model = replay.model
        self.rng = np.random.default_rng(1)

    def learn(self, day: Day) -> int:
        """One minor version."""
        size = min(SAMPLE, len(day.table))
        sample = day.table[self.rng.choice(len(day.table), size, replace=False)]
        self.model = follow(self.model, sample).model
        return size

    def centers(self) -> np.ndarray:
        """Where the segments are."""
        return self.model.geometry.centers


class Frozen:
    """The first day's model for ever."""

    def __init__(self, replay: Replay) -> None:
        self.fixed = replay.model.geometry.centers

    def learn(self, _day: Day) -> int:
        """Nothing."""
        return 0

    def centers(self) -> np.ndarray:
        """Where they always were."""
        return self.fixed


class MiniBatch:
    """scikit-learn's partial_fit, on customers with events or on as many drawn uniformly."""

    def __init__(self, replay: Replay, *, uniform: bool) -> None:
        centers = replay.model.geometry.centers
        self.uniform = uniform
        self.rng = np.random.default_rng(1)
        self.fitted = MiniBatchKMeans(
            replay.k, init=centers, n_init=1, batch_size=512, random_state=0
        ).partial_fit(replay.rows[0].points)

    def learn(self, day: Day) -> int:
        """One partial fit."""
        rows = day.active
        if self.uniform:
            rows = self.rng.choice(len(day.points), len(rows))
        if len(rows):
            self.fitted.partial_fit(day.points[rows])
        return len(rows)

    def centers(self) -> np.ndarray:
        """Where the segments are."""
        return self.fitted.cluster_centers_


class River:
    """A stream clusterer of River, on a few customers a day drawn uniformly."""

    def __init__(self, replay: Replay, kind: str) -> None:
        from river import cluster  # noqa: PLC0415 - an extra

        if kind == "clustream":
            self.learner = cluster.CluStream(
                n_macro_clusters=replay.k, max_micro_clusters=80, time_gap=200, seed=0
            )
        else:
            self.learner = cluster.STREAMKMeans(
                chunk_size=100, n_clusters=replay.k, halflife=0.5, sigma=1.5, seed=0
            )
        self.rng = np.random.default_rng(1)
        self.width = replay.rows[0].points.shape[1]
        points = replay.rows[0].points
        for point in points[self.rng.choice(len(points), min(1_000, len(points)), replace=False)]:
            self.learner.learn_one(dict(enumerate(point.tolist())))

    def learn(self, day: Day) -> int:
        """Learn a few, one by one."""
        rows = self.rng.choice(len(day.points), RIVER_CUSTOMERS)
        for point in day.points[rows].tolist():
            self.learner.learn_one(dict(enumerate(point)))
        return len(rows)

    def centers(self) -> np.ndarray:
        """Where its macro clusters are."""
        found = self.learner.centers.values()
        return np.array([[one.get(i, 0.0) for i in range(self.width)] for one in found])


def online(
    replay: Replay, references: dict[int, Sequence[Any]], *, with_river: bool
) -> dict[str, dict[str, float]]:
    """Every learner over the whole replay."""
    learners: dict[str, Callable[[], Any]] = {
        "ours": lambda: Ours(replay),
        "frozen": lambda: Frozen(replay),
        "minibatch": lambda: MiniBatch(replay, uniform=False),
        "minibatch_uniform": lambda: MiniBatch(replay, uniform=True),
    }
    if with_river:
        learners["clustream"] = lambda: River(replay, "clustream")
        learners["streamkmeans"] = lambda: River(replay, "streamkmeans")
    return {name: _online(replay, references, make()) for name, make in learners.items()}


def _online(replay: Replay, references: dict[int, Sequence[Any]], learner: Any) -> dict[str, float]:
    gaps, aris, spent_s, seen = [], [], 0.0, 0
    for number, day in enumerate(replay.rows[1:], 1):
        start = time.process_time()
        seen += learner.learn(day)
        spent_s += time.process_time() - start
        if number in references:
            best, least = references[number]
            centers = learner.centers()
            gaps.append(inertia(day.points, centers) / least - 1)
            aris.append(
                adjusted_rand_score(_labels(day.points, best), _labels(day.points, centers))
            )
    return {
        "inertia_gap_pct": round(100 * float(np.mean(gaps)), 3),
        "ari": round(float(np.mean(aris)), 4),
        "us_per_customer": round(1e6 * spent_s / seen, 2) if seen else 0.0,
    }


def _labels(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    return squared_distances(points, centers).argmin(axis=1)

"""Methods of the field: each scores every item for some users of a problem.

Sources: Hu et al. (2020), "TIFU-KNN", SIGIR; Faggioli et al. (2020), "UP-CF", UMAP; Sarwar et al.
(2001), item-kNN, WWW10; Hu et al. (2008), iALS, ICDM; Steck (2019), EASE^R, WWW.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from benchmarks.recommendations.problem import Problem
from models.recommend.seeds import mean_of_similar_users, similarities

Users = NDArray[np.int64]
Scores = NDArray[np.float32]
Params = dict[str, Any]
EASE_ITEMS = 5_000


class Method(NamedTuple):
    """A way to score, and the settings that its trials are drawn from."""

    score: Callable[..., Scores]
    space: Mapping[str, list[Any]]

    def trials(self, most: int) -> list[Params]:
        """At most so many settings, drawn evenly from the space, always the same."""
        every = [
            dict(zip(self.space, values, strict=True))
            for values in itertools.product(*self.space.values())
        ]
        if len(every) <= most:
            return every
        chosen = np.sort(np.random.RandomState(3).choice(len(every), most, replace=False))
        return [every[i] for i in chosen]


def _unit(rows: csr_array) -> csr_array:
    norm = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return csr_array(diags_array(1.0 / np.where(norm > 0, norm, 1.0)) @ rows)


def _idf(problem: Problem) -> NDArray[np.float64]:
    holders = np.asarray(problem.held.sum(axis=0)).ravel()
    return np.log(problem.users / np.maximum(holders, 1)) + 1.0


def _weighted(problem: Problem, kind: str, half_life: float | None = None) -> csr_array:
    """Rows of a user-kNN: binary, log counts, or decayed; "tfidf" weighs items by rarity."""
    rows = problem.decayed(half_life).copy()
    if kind == "binary":
        rows.data[:] = 1.0
    elif half_life is None:
        rows.data = np.log1p(rows.data)
    return csr_array(rows @ diags_array(_idf(problem))) if kind == "tfidf" else rows


def popularity(problem: Problem, users: Users, half_life: float | None) -> Scores:
    """What everybody buys; with a half-life, these days."""
    rows = problem.decayed(half_life, shared_clock=True) if half_life else problem.held
    total = np.asarray(rows.sum(axis=0)).ravel().astype(np.float32)
    return np.tile(total, (len(users), 1))


def personal(
    problem: Problem, users: Users, half_life: float | None = None, rate: float | None = None
) -> Scores:
    """Own purchases, decayed or not; popularity breaks ties."""
    popular = np.asarray(problem.held.sum(axis=0)).ravel()
    own = problem.decayed(half_life, rate)[users].toarray()
    return (own + 1e-4 * popular / popular.max()).astype(np.float32)


def user_knn(
    problem: Problem,
    users: Users,
    similarity: str,
    rows: str,
    k: int,
    power: float,
    half_life: float | None,
    own: float,
) -> Scores:
    """Rows of the k nearest users at unit length, times similarity ** power; `own` is mixed in."""
    compared = _weighted(problem, rows, half_life)
    values = _unit(problem.decayed(half_life))
    found = similarities(compared, users, similarity)
    return _from_neighbors(problem, users, found, values, k, power, own)


def _from_neighbors(
    problem: Problem,
    users: Users,
    found: NDArray[np.floating],
    values: csr_array,
    k: int,
    power: float,
    own: float,
) -> Scores:
    n = len(users)
    found[np.arange(n), users] = -np.inf
    k = min(k, problem.users - 1)
    near = np.argpartition(-found, k - 1, axis=1)[:, :k]
    weight = np.maximum(np.take_along_axis(found, near, axis=1), 0.0) ** power
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    where = (np.repeat(np.arange(n), k), near.ravel())
    theirs = csr_array((weight.ravel(), where), shape=(n, problem.users)) @ values
    return (own * values[users].toarray() + (1 - own) * theirs.toarray()).astype(np.float32)


def seeds_formula(problem: Problem, users: Users, k: int) -> Scores:
    """Mean history of the k users of highest Pearson correlation."""
    return mean_of_similar_users(problem.counts, users, k).astype(np.float32)


def tifu_knn(
    problem: Problem, users: Users, k: int, group: int, within: float, between: float, own: float
) -> Scores:
    """Baskets in groups from the end, decayed twice; the mean of the nearest is mixed in."""
    at = problem.from_end // group
    groups = np.ceil(problem.baskets / group)
    oldest = problem.baskets - (groups - 1) * group
    size = np.where(at == groups[problem.user] - 1, oldest[problem.user], group)
    weight = within ** (problem.from_end % group) / size * between**at / groups[problem.user]
    rows = problem.weighted(weight)
    norm2 = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
    nearness = 2.0 * (rows[users] @ rows.T.tocsr()).toarray() - norm2[None]
    n, k = len(users), min(k, problem.users - 1)
    nearness[np.arange(n), users] = -np.inf
    near = np.argpartition(-nearness, k - 1, axis=1)[:, :k]
    where = (np.repeat(np.arange(n), k), near.ravel())
    mean = csr_array((np.full(n * k, 1.0 / k), where), shape=(n, problem.users)) @ rows
    return (own * rows[users].toarray() + (1 - own) * mean.toarray()).astype(np.float32)


def up_cf(problem: Problem, users: Users, last: int, locality: float, asymmetry: float) -> Scores:
    """Shares of the last baskets, averaged by asymmetric cosine over everybody."""
    recent = problem.decayed(None, None, last)
    share = 1.0 / np.maximum(np.minimum(problem.baskets, last), 1)
    values = csr_array(diags_array(share) @ recent)
    size = np.maximum(np.asarray(problem.held.sum(axis=1)).ravel(), 1.0)
    both = (problem.held[users] @ problem.held.T.tocsr()).toarray()
    alike = both / (size[users][:, None] ** asymmetry * size[None] ** (1 - asymmetry))
    alike = alike**locality
    alike[alike < 1e-8] = 0.0
    return (csr_array(alike) @ values).toarray().astype(np.float32)


def item_knn(problem: Problem, users: Users, kind: str, k: int, half_life: float | None) -> Scores:
    """Item-kNN by `implicit`, applied to decayed profiles or to counts."""
    from implicit import nearest_neighbours as nearest  # noqa: PLC0415  an extra of the bench

    model = {
        "cosine": nearest.CosineRecommender,
        "tfidf": nearest.TFIDFRecommender,
        "bm25": nearest.BM25Recommender,
    }[kind](K=k, num_threads=1)
    model.fit(_classic(problem.counts), show_progress=False)
    profile = problem.decayed(half_life)[users]
    return np.asarray((profile @ csr_array(model.similarity)).toarray(), dtype=np.float32)


def ials(
    problem: Problem, users: Users, factors: int, alpha: float, regularization: float
) -> Scores:
    """Implicit alternating least squares by `implicit`, on log counts."""
    from implicit.als import AlternatingLeastSquares  # noqa: PLC0415  an extra of the bench

    model = AlternatingLeastSquares(
        factors=factors, alpha=alpha, regularization=regularization, iterations=12,
        num_threads=1, random_state=1, use_gpu=False,
    )  # fmt: skip
    model.fit(_classic(_weighted(problem, "log")), show_progress=False)
    return np.asarray(model.user_factors[users] @ model.item_factors.T, dtype=np.float32)


def rectools_knn(problem: Problem, users: Users, kind: str, k: int) -> Scores:
    """Item-kNN as RecTools fits and applies it, a peer with its own pipeline; of each user its
    thousand best items.
    """
    import pandas as pd  # noqa: PLC0415  with the rest of the peer
    from implicit import nearest_neighbours as nearest  # noqa: PLC0415  an extra of the bench
    from rectools import Columns  # noqa: PLC0415  same
    from rectools.dataset import Dataset  # noqa: PLC0415  same
    from rectools.models import ImplicitItemKNNWrapperModel  # noqa: PLC0415  same

    rows = problem.counts.tocoo()
    user, item = rows.coords
    frame = pd.DataFrame(
        {Columns.User: user, Columns.Item: item, Columns.Weight: rows.data,
         Columns.Datetime: pd.Timestamp(0)}
    )  # fmt: skip
    inner = {
        "cosine": nearest.CosineRecommender,
        "tfidf": nearest.TFIDFRecommender,
        "bm25": nearest.BM25Recommender,
    }[kind](K=k, num_threads=1)
    data = Dataset.construct(frame)
    model = ImplicitItemKNNWrapperModel(inner).fit(data)
    found = model.recommend(users, data, k=min(1_000, problem.items), filter_viewed=False)
    place = np.full(problem.users, -1)
    place[users] = np.arange(len(users))
    scores = np.full((len(users), problem.items), -np.inf, dtype=np.float32)
    scores[place[found[Columns.User].to_numpy()], found[Columns.Item].to_numpy()] = found[
        Columns.Score
    ].to_numpy()
    return scores


def _classic(rows: csr_array) -> Any:
    from scipy.sparse import csr_matrix  # noqa: PLC0415  what `implicit` accepts

    return csr_matrix(rows, dtype=np.float32)


def ease(problem: Problem, users: Users, ridge: float, half_life: float | None) -> Scores:
    """EASE^R over the most bought items, applied to decayed profiles."""
    holders = np.asarray(problem.held.sum(axis=0)).ravel()
    top = np.sort(np.argsort(-holders, kind="stable")[:EASE_ITEMS])
    held = problem.held[:, top]
    gram = (held.T @ held).toarray().astype(np.float32)
    gram[np.diag_indices_from(gram)] += ridge
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)[None]
    weights[np.diag_indices_from(weights)] = 0.0
    scores = np.zeros((len(users), problem.items), dtype=np.float32)
    scores[:, top] = problem.decayed(half_life)[users][:, top] @ weights
    return scores


_HALF_LIVES: list[Any] = [None, 30.0, 60.0, 120.0, 240.0]


def _knn(similarity: str) -> Method:
    space = {
        "similarity": [similarity],
        "rows": ["binary", "tfidf", "log"],
        "k": [50, 100, 200, 500],
        "power": [1.0, 2.0, 3.0],
        "half_life": [None, 60.0, 120.0],
        "own": [0.0, 0.3],
    }
    return Method(user_knn, space)


METHODS: dict[str, Method] = {
    "popularity": Method(popularity, {"half_life": [None, *np.geomspace(1.0, 365.0, 39).tolist()]}),
    "personal frequency": Method(personal, {"half_life": [None]}),
    "personal decayed": Method(
        personal,
        {"half_life": [None, 30.0, 60.0, 90.0, 120.0, 180.0, 240.0, 365.0],
         "rate": [None, 0.8, 0.85, 0.9, 0.95]},
    ),
    "user-kNN cosine": _knn("cosine"),
    "user-kNN Pearson": _knn("pearson"),
    "user-kNN Euclidean": _knn("euclidean"),
    "seeds' formula": Method(seeds_formula, {"k": [*range(3, 30, 2), *range(30, 290, 10)]}),
    "TIFU-KNN": Method(
        tifu_knn,
        {"k": [100, 300, 900], "group": [3, 7, 10], "within": [0.9, 0.95, 1.0],
         "between": [0.6, 0.7, 0.9], "own": [0.2, 0.5, 0.7, 0.9]},
    ),
    "UP-CF": Method(
        up_cf,
        {"last": [5, 10, 25, 50, 1000], "locality": [1.0, 5.0, 10.0, 50.0],
         "asymmetry": [0.0, 0.25, 0.5, 0.75]},
    ),
    "item-kNN": Method(
        item_knn,
        {"kind": ["cosine", "tfidf", "bm25"], "k": [50, 100, 200, 400], "half_life": _HALF_LIVES},
    ),
    "item-kNN by RecTools": Method(
        rectools_knn,
        {"kind": ["cosine", "tfidf", "bm25"],
         "k": [10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1000]},
    ),
    "iALS": Method(
        ials,
        {"factors": [32, 64, 128], "alpha": [1.0, 3.0, 10.0, 30.0],
         "regularization": [0.01, 0.1, 1.0, 10.0]},
    ),
    "EASE^R": Method(
        ease, {"ridge": [20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0],
         "half_life": _HALF_LIVES},
    ),
}  # fmt: skip

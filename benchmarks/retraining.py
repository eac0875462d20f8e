"""When is a model old, and is it worth training anew? Alarms and policies, replayed.

    python -m benchmarks.retraining [ORDERS] --json OUT
    python -m benchmarks.retraining --scale --customers 100000 --json OUT
    python -m benchmarks.retraining --scale --simulate 1000000 --json OUT

With --scale: what a training costs, see `benchmarks.retraining_scale`. Without:

ORDERS is a parquet file of orders (cust, ts, amount, skus, kind); without it, that of Online
Retail II in $SHARED_DATA_DIR, or in `shared` beside the project. Figures of the JSON:

alarm_delay_days  segments fitted on 2010-12-01 never follow; days from when their inertia is 10 %
                  above that of a refit on all customers (the best of ten) to the alarm, negative =
                  before; null = it never rang
false_alarms      of 20 shops simulated from the purchase and money models of those orders, with as
                  many new customers every day: those of `inertia` and those of `loss`. Segments
                  fitted after two years follow as live ones do, the purchase model stays as it is,
                  and both are looked at every day of the third
loss              log loss of "buys within 30 days" over 72 weekly steps, of the purchase model
                  trained by our alarms and gate, weekly, every 4 weeks, never
retrains, cpu_s   of ours in those steps; `policies` has those of all, and of ours if its gate asked
                  for a win of what is due, too; `policies_one_in_ten` is of a tenth of the shop
over_best         our loss over that of the best fixed policy, less 1
reached           whether the alarm rang within 7 days and not before, none rang for nothing, and
                  ours is at most 0.5 % behind the best fixed policy

Alarms and gate are those of the product: the same functions, on a sample of the same size.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from benchmarks import retraining_scale as scale
from benchmarks.retraining_policies import (
    HORIZON_DAYS,
    closed_at,
    compared,
    fit,
    fitted,
    rings,
    step_at,
)
from benchmarks.segment_shops import read_shop
from models.features import feature_matrix, fit_features
from models.forecast.btyd import MBGNBD
from models.forecast.gamma_gamma import GammaGamma, fit_gamma_gamma
from models.forecast.snapshot import take
from models.history import Histories, cut, from_orders, purchase_stats
from models.monitoring import INERTIA_ALARM, inertia_alarm, inertia_ratio
from models.segments.fit import fit_matrix
from models.segments.following import SAMPLE as FOLLOWED
from models.segments.following import follow
from models.segments.geometry import squared_distances
from worker.telemetry import configure as configure_logs
from worker.triggers import SAMPLE

_ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SHARED_DATA_DIR") or _ROOT.parent / "shared")
ORDERS = SHARED / "data" / "forecast-online-retail-2-orders.parquet"
K = 6
SHOPS = 20
ARRIVALS = 5  # new customers a day
YEAR = 365
MOST_DELAY_DAYS = 7
MOST_OVER_BEST = 0.005
REFERENCES = {"MBG/NBD 4-weekly": 0.4253, "LightGBM weekly": 0.4240}


class Watch(NamedTuple):
    """Days since the fit: when the inertia was 10 % above a refit's, and when the alarm rang."""

    worse: int | None
    alarm: int | None


def watch(
    past: Histories, start: int, days: int, rng: np.random.Generator, *, following: bool = False
) -> Watch:
    """Fit segments at the start of a day, and look at them on each of the days after it.

    following  the centers follow a sample each day, as live ones do; only until the alarm rings
    """
    known = cut(past, start)
    features = fit_features("shipped", known, start)
    table = feature_matrix(features, known, start)
    model = fit_matrix(table[table[:, 1] > 0], features, rng=np.random.default_rng(0), k=K)
    centers = model.geometry.centers
    worse = alarm = None
    for day in range(1, days + 1):
        table = feature_matrix(features, cut(past, start + day), start + day)
        points = model.points(table[table[:, 1] > 0])
        some = rng.choice(len(points), min(SAMPLE, len(points)), replace=False)
        ratio = inertia_ratio(points[some], centers)
        if alarm is None and inertia_alarm(ratio, len(centers), len(some)):
            alarm = day
        if following:
            rows = table[table[:, 1] > 0]
            some = rng.choice(len(rows), min(FOLLOWED, len(rows)), replace=False)
            model = follow(model, rows[some]).model
            centers = model.geometry.centers
        if not following and worse is None and over_refit(points, centers) > INERTIA_ALARM:
            worse = day
        if alarm is not None and (worse is not None or following):
            break
    return Watch(worse, alarm)


def loss_rings(past: Histories, start: int, days: int) -> bool:
    """Fit a purchase model at the start of a day; does its loss ring on one of the days after?"""
    live = fitted(past, start, closed_at(past, start))
    found = (step_at(past, start + day - HORIZON_DAYS) for day in range(1, days + 1))
    return any(rings(live, step) for step in found)


def over_refit(points: np.ndarray, centers: np.ndarray) -> float:
    """Inertia of centers over that of a refit that knows nothing of them: the best of ten."""
    refit = KMeans(len(centers), n_init=10, random_state=0).fit(points)
    own = squared_distances(points, centers).min(axis=1).sum()
    return float(own / refit.inertia_)


def simulated(btyd: MBGNBD, money: GammaGamma, rng: np.random.Generator) -> Histories:
    """Three years of a shop whose customers never change: as many new ones each day."""
    total = 3 * YEAR
    n = total * ARRIVALS
    born = np.repeat(np.arange(total), ARRIVALS).astype(np.float64)
    rate = rng.gamma(btyd.r, 1.0 / btyd.alpha, n) / 7.0  # the model's time is in weeks
    leaves = rng.beta(btyd.a, btyd.b, n)
    mean = rng.gamma(money.q, 1.0, n)  # and over the scale v, a rate of money
    who, day = [np.arange(n)], [born]
    at, here = born.copy(), rng.random(n) >= leaves
    while here.any():
        at[here] += rng.exponential(1.0, int(here.sum())) / np.maximum(rate[here], 1e-9)
        here &= at < total
        who.append(np.flatnonzero(here))
        day.append(at[here])
        here[here] = rng.random(int(here.sum())) >= leaves[here]
    customer, when = np.concatenate(who), np.concatenate(day).astype(np.int64)
    scale = mean[customer] / money.v  # rate of the Gamma that an order's money comes from
    amount = rng.gamma(money.p, 1.0 / scale).round().astype(np.int64)
    items = 1 + rng.poisson(2.0, len(amount))
    return from_orders(n, customer, when, np.maximum(amount, 1), items)


def measure(orders: Path) -> dict[str, Any]:
    """All figures."""
    shop = read_shop(str(orders))
    start = shop.start if shop.start < shop.days - YEAR // 4 else shop.days // 2
    print("alarms on the shop's own orders", file=sys.stderr, flush=True)
    days = min(YEAR, shop.days - start - 1)
    seen = watch(shop.past, start, days, np.random.default_rng(1))
    delay = None if None in seen else (seen.alarm or 0) - (seen.worse or 0)
    snapshot = take(shop.past, shop.days)
    stats = purchase_stats(shop.past, shop.days - 1)
    money = fit_gamma_gamma(stats.paid_orders.astype(np.float64), stats.mean_paid_minor)
    btyd, false = fit(snapshot), {"inertia": 0, "loss": 0}
    for seed in range(SHOPS):
        print(f"shop {seed + 1} of {SHOPS} that never changes", file=sys.stderr, flush=True)
        rng = np.random.default_rng(seed)
        made = simulated(btyd, money, rng)
        found = watch(made, 2 * YEAR, YEAR - 1, rng, following=True)
        false["inertia"] += found.alarm is not None
        false["loss"] += loss_rings(made, 2 * YEAR, YEAR - 1)
    policies = compared(shop)
    loss = {name: one["loss"] for name, one in policies.items()}
    over = loss["ours"] / min(loss[name] for name in ("weekly", "monthly", "never")) - 1
    return {
        "alarm_delay_days": delay,
        "worse_after_days": seen.worse,
        "false_alarms": sum(false.values()),
        "false_alarms_of": false,
        "loss": loss,
        "retrains": policies["ours"]["retrains"],
        "cpu_s": policies["ours"]["cpu_s"],
        "policies": policies,
        "policies_one_in_ten": compared(shop, one_in=10),
        "over_best": round(over, 5),
        "reached": {
            "alarm": delay is not None and 0 <= delay <= MOST_DELAY_DAYS,
            "false_alarms": not any(false.values()),
            "loss": over <= MOST_OVER_BEST,
        },
        "references": REFERENCES,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit 1 when the orders cannot be found."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.retraining",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("orders", nargs="?", type=Path, default=ORDERS)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--scale", action="store_true", help="what a training costs")
    parser.add_argument("--customers", type=int, default=0, help="live ones, with --scale")
    parser.add_argument("--simulate", type=int, default=0, help="simulated ones, with --scale")
    parser.add_argument("--seconds", type=float, default=20.0, help="of ingest without training")
    args = parser.parse_args(argv)
    if not args.scale and not args.orders.exists():
        print(f"{args.orders} does not exist: name a file of orders", file=sys.stderr)
        return 1
    with threadpool_limits(1):
        figures = _scaled(args) if args.scale else measure(args.orders)
    text = json.dumps(figures, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 0


def _scaled(args: argparse.Namespace) -> dict[str, Any]:
    """The live and the simulated figures; both at the sizes of the targets if none is named."""
    configure_logs("WARNING")
    named = bool(args.customers or args.simulate)
    found = {}
    if customers := args.customers or (0 if named else 100_000):
        found["live"] = scale.live(customers, args.seconds)
    if customers := args.simulate or (0 if named else 1_000_000):
        found["simulated"] = scale.simulated(customers)
    return found


if __name__ == "__main__":
    raise SystemExit(main())

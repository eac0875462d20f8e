"""What it costs to refresh forecasts: CPU, features included.

    python -m benchmarks.refresh [--json OUT] [--million N]

level 1 = MBG/NBD and Gamma-Gamma, all targets and horizons; level 2 = the same with boosted trees
and a forest in as many heads as the budget lets ship. Batches of 500 customers, and all of them
at once; and the fit of MBG/NBD on 100,000.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.forecast.backtest import fit_member
from models.forecast.btyd import fit_mbg_nbd
from models.forecast.bundle import Bundle, Head, fit_bundle, predict_bundle
from models.forecast.families.base import Target
from models.forecast.heads import MOST_STEPS, steps
from models.forecast.recipe import Recipe
from models.forecast.sheets import Sheets
from models.history import Histories, from_orders, purchase_stats, select

_TODAY = 20_000
_BATCH = 500
_FITTED = 100_000
_MEMBERS: dict[Target, tuple[str, ...]] = {
    "buy": ("boosting+btyd", "forest"),
    "orders": ("boosting+btyd", "forest"),
    "spend": ("boosting+btyd", "forest"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.refresh", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--million", type=int, default=1_000_000, help="customers at once")
    args = parser.parse_args(argv)
    everyone = shop(args.million)
    level1 = fit_bundle(shop(5_000), _TODAY, currency="EUR", windows=0)
    result = {
        "level1": cost(level1, everyone),
        "level2": cost(with_trees(level1, shop(5_000)), everyone),
        "fit_100k_s": fit_cost(shop(min(_FITTED, args.million))),
    }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def shop(customers: int) -> Histories:
    """A simulated shop: three purchase days a customer in the mean."""
    rng = np.random.default_rng(customers)
    who = np.repeat(np.arange(customers), rng.geometric(1 / 3, customers))
    day = _TODAY - rng.integers(0, 700, len(who))
    return from_orders(customers, who, day, rng.integers(100, 20_000, len(who)))


def with_trees(level1: Bundle, histories: Histories) -> Bundle:
    """The bundle with boosted trees and a forest in as many heads as may ship."""
    heads: list[Head] = []
    left = MOST_STEPS
    for horizon in level1.horizons_days:
        key = np.arange(len(histories.starts) - 1, dtype=np.uint64)
        sheets = Sheets(histories, horizon, key)
        for head in level1.heads:
            if head.horizon_days == horizon:
                names = _MEMBERS[head.target]
                members = tuple(fit_member(sheets, n, head.target, _TODAY, 0) for n in names)
                spent = sum(map(steps, members))
                if spent <= left:
                    left -= spent
                    head = head._replace(recipe=Recipe(names), members=members)  # noqa: PLW2901
                heads.append(head)
    return level1._replace(heads=tuple(heads))


def cost(bundle: Bundle, everyone: Histories) -> dict[str, float]:
    """CPU per customer in batches, CPU of all at once, and the memory that it took at most.

    The time of all is scaled to a million where there are fewer.
    """
    few = select(everyone, np.arange(min(_BATCH, len(everyone.starts) - 1)))
    spent = []
    for _ in range(20):
        start = time.process_time()
        predict_bundle(bundle, few, _TODAY)
        spent.append(time.process_time() - start)
    all_spent = []
    for _ in range(2 if bundle.heads[0].members == () else 1):
        start = time.process_time()
        predict_bundle(bundle, everyone, _TODAY)
        all_spent.append(time.process_time() - start)
    customers = len(everyone.starts) - 1
    tracemalloc.start()
    predict_bundle(bundle, everyone, _TODAY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "batch500_us": round(float(np.median(spent)) / (len(few.starts) - 1) * 1e6, 2),
        "million_s": round(min(all_spent) * 1e6 / customers, 3),
        "peak_mb": round(peak / 1e6, 1),
    }


def fit_cost(histories: Histories) -> float:
    """CPU of a fit of MBG/NBD with the prior."""
    stats = purchase_stats(histories, _TODAY)
    start = time.process_time()
    fit_mbg_nbd(stats.frequency, stats.recency, stats.age)
    return round(time.process_time() - start, 3)


if __name__ == "__main__":
    raise SystemExit(main())

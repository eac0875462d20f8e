"""How many customers a day hear from us although nothing happened to them.

    python -m benchmarks.pushes [ORDERS] [--cutoff D ...] [--days 56] [--json OUT]

Forecasts are fitted at a cutoff and refreshed on each day after it, purchases as they came. Counted
are customers who did not buy on that day, but whose insight is materially another one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.shops import JOURNEY, load
from integrations.insight import CustomerInsight
from integrations.material import DEAD_BANDS, DeadBands, material
from models.forecast.bundle import Bundle, fit_bundle
from models.history import Histories, cut, select
from worker.insights.forecasts import add_forecasts
from worker.insights.history import add_history
from worker.insights.subject import Options
from worker.live import Live

_CURRENCY = "EUR"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.pushes", description=__doc__)
    parser.add_argument("orders", nargs="?", default=JOURNEY, metavar="ORDERS")
    parser.add_argument("--cutoff", action="append", type=np.datetime64, metavar="DATE")
    parser.add_argument("--days", type=int, default=56)
    parser.add_argument("--customers", type=int, default=1_500, help="at most; sampled")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    histories = load(args.orders).histories
    result: dict[str, Any] = {}
    for cutoff in args.cutoff or [np.datetime64("2017-10-17")]:
        day = int(cutoff.astype("datetime64[D]").astype(int))
        shares = told_by_the_clock(sampled(histories, day, args.customers), day, args.days)
        result[str(cutoff)] = {
            "mean_pct": round(100 * float(np.mean(shares)), 2),
            "worst_day_pct": round(100 * max(shares), 2),
            "last_14_days_pct": round(100 * float(np.mean(shares[-14:])), 2),
        }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def sampled(histories: Histories, day: int, most: int) -> Histories:
    """At most so many of the customers who had bought before a day, taken at random."""
    buyers = np.flatnonzero(np.diff(cut(histories, day).starts) > 0)
    return select(histories, np.random.default_rng(0).permutation(buyers)[:most])


def told_by_the_clock(
    histories: Histories, day: int, days: int, bands: DeadBands = DEAD_BANDS
) -> list[float]:
    """Share of the customers, on each day from `day` on, who are told of drift alone."""
    bundle = fit_bundle(cut(histories, day), day - 1, currency=_CURRENCY, windows=0)
    customer = np.repeat(np.arange(len(histories.starts) - 1), np.diff(histories.starts))
    held = [material(one) for one in _insights(bundle, histories, day - 1)]
    shares = []
    for today in range(day, day + days):
        bought = _flags(customer[histories.day == today], len(held))
        now = [
            material(one, before, bands)
            for one, before in zip(_insights(bundle, histories, today), held, strict=True)
        ]
        changed = np.array([a != b for a, b in zip(now, held, strict=True)])
        shares.append(float((changed & ~bought).mean()))
        held = now
    return shares


def _flags(rows: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    flags = np.zeros(count, dtype=np.bool_)
    flags[rows] = True
    return flags


def _insights(bundle: Bundle, histories: Histories, today: int) -> list[CustomerInsight]:
    """What the refresh says of everyone at the end of a day, without segments and lists."""
    past = cut(histories, today + 1)
    parts: list[dict[str, Any]] = [{"abstained": {}} for _ in range(len(past.starts) - 1)]
    unknown = [False] * len(parts)
    add_history(parts, past, today, _CURRENCY, unknown)
    add_forecasts(parts, Live(forecasts=bundle), past, today, Options(_CURRENCY, 3, 3), unknown)
    as_of = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=today)
    return [
        CustomerInsight(customer_id=str(i), insight_version=1, as_of=as_of, **part)
        for i, part in enumerate(parts)
    ]


if __name__ == "__main__":
    raise SystemExit(main())

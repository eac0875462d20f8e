"""A hundred customers: how much worse is their P(buy) than that of the best model fitted on 12,000?

    python -m benchmarks.small_shop ORDERS [--cutoff D] [--horizon-days H] [--json OUT]

Shops of 100 customers are drawn from ORDERS; each is fitted with the prior of the other source
shops, and scored on the same 6,000 others, as is the best of the candidates fitted on 12,000.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.shops import load, source_of
from models.forecast.backtest import FLOOR, fit_member, names_of
from models.forecast.btyd import Prior
from models.forecast.bundle import fit_bundle, predict_bundle
from models.forecast.level1 import expect
from models.forecast.metrics import log_losses
from models.forecast.prior import prior_without
from models.forecast.sheets import Sheets, expectation_columns
from models.forecast.snapshot import outcome, take
from models.history import Histories, cut, select

Rows = NDArray[np.float64]


class Sizes(NamedTuple):
    """How many customers are fitted on, judged and compared with, and how many shops are drawn."""

    shop: int = 100
    others: int = 6_000
    reference: int = 12_000
    draws: int = 20


SIZES = Sizes()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.small_shop", description=__doc__)
    parser.add_argument("orders", metavar="ORDERS")
    parser.add_argument("--cutoff", type=np.datetime64, default=np.datetime64("1998-04-01"))
    parser.add_argument("--horizon-days", type=int, default=90)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    source = source_of(args.orders)
    day = int(args.cutoff.astype("datetime64[D]").astype(int))
    found = run(load(args.orders).histories, day, args.horizon_days, prior_without(source), SIZES)
    result = {"prior_without": source, **found}
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def run(
    histories: Histories, day: int, horizon_days: int, prior: Prior, sizes: Sizes
) -> dict[str, Any]:
    """Log losses on the others, and their ratios."""
    buyers = np.flatnonzero(np.diff(cut(histories, day).starts) > 0)
    shuffled = np.random.default_rng(0).permutation(buyers)
    others, pool = select(histories, shuffled[: sizes.others]), shuffled[sizes.others :]
    seen = take(others, day)
    bought = (outcome(others, seen, horizon_days).orders > 0).astype(np.float64)
    past = cut(select(others, seen.row), day)

    def loss(chance: Rows) -> float:
        return float(log_losses(bought, chance).mean())

    known = cut(select(histories, pool[: sizes.reference]), day)
    key = np.arange(len(known.starts) - 1, dtype=np.uint64)
    sheets = Sheets(known, horizon_days, key, prior)
    expected = expect(sheets.at(day).floor, seen.stats, float(horizon_days))
    losses = {FLOOR: loss(expected.buy)}
    for name in names_of("buy"):
        member = fit_member(sheets, name, "buy", day, 0)
        losses[name] = loss(member.predict(seen.features, expectation_columns(expected)))
    best = min(losses, key=lambda name: losses[name])
    small = []
    for draw in range(sizes.draws):
        drawn = np.random.default_rng(draw).choice(pool, sizes.shop, replace=False)
        shop = cut(select(histories, drawn), day)
        bundle = fit_bundle(
            shop, day - 1, currency="USD", horizons_days=(horizon_days,), prior=prior
        )
        small.append(loss(predict_bundle(bundle, past, day - 1).outlooks[horizon_days].buy))
    ratios = np.array(small) / losses[best]
    return {
        "reference": losses,
        "best": best,
        "small_mean": float(np.mean(small)),
        "ratio_mean": round(float(ratios.mean()), 4),
        "ratio_worst": round(float(ratios.max()), 4),
    }


if __name__ == "__main__":
    raise SystemExit(main())

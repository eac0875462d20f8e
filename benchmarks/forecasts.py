"""Our automatic choice of forecast against its peers, on windows it has not seen.

    python -m benchmarks.forecasts ORDERS --cutoff D [--cutoff D2 ...] --horizon-days H --json OUT

ORDERS is a parquet file (cust, ts, amount, kind) or `complete-journey`. At a cutoff T the models
know the days before T; population: everyone with a purchase before T; outcome: [T, T + H).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_peers import Said, btyd, has_lightgbm, lightgbm, rules, trees, tuned
from benchmarks.shops import JOURNEY, Shop, load, source_of
from models.forecast.backtest import names_of, score
from models.forecast.btyd import Prior
from models.forecast.bundle import Bundle, fit_bundle, predict_bundle, spend_distribution
from models.forecast.families.base import TARGETS, Target
from models.forecast.metrics import (
    auc,
    bias,
    ece,
    ece_floor,
    gini_share,
    log_losses,
    poisson_deviances,
)
from models.forecast.prior import prior_without
from models.forecast.sheets import Sheets
from models.forecast.snapshot import outcome
from models.history import Histories, cut, select

Rows = NDArray[np.float64]

_FIELD: dict[Target, str] = {"buy": "p_buy", "orders": "orders", "spend": "spend"}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit 2 on a cutoff whose window is not recorded."""
    parser = argparse.ArgumentParser(prog="benchmarks.forecasts", description=__doc__)
    parser.add_argument("orders", nargs="?", default=JOURNEY, metavar="ORDERS")
    parser.add_argument("--cutoff", action="append", type=np.datetime64, metavar="DATE")
    parser.add_argument("--horizon-days", type=int, default=28)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    shop, horizon = load(args.orders), args.horizon_days
    cutoffs = args.cutoff or [np.datetime64("2017-10-17"), np.datetime64("2017-12-03")]
    days = [int(one.astype("datetime64[D]").astype(int)) for one in cutoffs]
    late = [d for d in days if d + horizon > shop.end_day or d <= shop.first_day + horizon]
    if late:
        parser.error(f"{np.datetime64(late[0], 'D')}: its window or its history is not recorded")
    result = run(shop, days, horizon, prior_without(source_of(str(args.orders))))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _show(result)
    return 0


def run(shop: Shop, days: Sequence[int], horizon: int, prior: Prior) -> dict[str, Any]:
    """All cutoffs of one shop."""
    key = np.random.default_rng(1).permutation(len(shop.histories.starts) - 1).astype(np.uint64)
    first = Sheets(cut(shop.histories, min(days)), horizon, key, prior)
    options = tuned(first, min(days))
    if not has_lightgbm():
        print("LIGHTGBM IS NOT INSTALLED: measured without this peer", file=sys.stderr)
    result: dict[str, Any] = {
        "cutoffs": {},
        "chosen": {},
        "lightgbm": options if has_lightgbm() else "not installed: measured without this peer",
    }
    for day in days:
        name = str(np.datetime64(day, "D"))
        print(f"{name} ...", file=sys.stderr, flush=True)
        result["cutoffs"][name], result["chosen"][name] = _cutoff(
            shop.histories, day, horizon, key, prior, options
        )
    return result


def _cutoff(
    histories: Histories,
    day: int,
    horizon: int,
    key: NDArray[np.uint64],
    prior: Prior,
    options: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, str]]:
    past = cut(histories, day)
    bundle = fit_bundle(
        past, day - 1, currency="EUR", horizons_days=(horizon,), key=key, prior=prior
    )
    sheets = Sheets(past, horizon, key, prior)
    sheet = sheets.at(day)
    came = outcome(histories, sheet.snapshot, horizon)
    label = {"buy": (came.orders > 0) * 1.0, "orders": came.orders, "spend": came.spend_minor}
    known = select(past, sheet.snapshot.row)
    outlook = predict_bundle(bundle, known, day - 1).outlooks[horizon]
    ours = {
        "buy": outlook.buy,
        "orders": outlook.orders / bundle.level1.orders_per_day,
        "spend": outlook.spend_minor,
    }
    said: Said = {target: {"ours": ours[target]} for target in TARGETS}
    for other in (
        rules(sheets, day),
        btyd(sheet, horizon),
        _candidates(sheets, day),
        trees(sheets, day),
        lightgbm(sheets, day, options),
    ):
        for target in TARGETS:
            said[target] |= other[target]
    figures: dict[str, Any] = {
        "p_buy": {n: _buy(label["buy"], p, n == "ours") for n, p in said["buy"].items()},
        "orders": {n: _orders(label["orders"], m) for n, m in said["orders"].items()},
        "spend": {n: _spend(label["spend"], m) for n, m in said["spend"].items()},
    }
    floor = said["buy"]["mbg_nbd"]
    gap = log_losses(label["buy"], ours["buy"]) - log_losses(label["buy"], floor)
    figures["p_buy"]["ours"] |= {
        "over_mbg": float(gap.mean()),
        "over_mbg_se": float(gap.std() / np.sqrt(len(gap))),
    }
    figures["spend"]["ours"] |= intervals(bundle, known, day, horizon, label["spend"])
    return figures, {_FIELD[h.target]: h.recipe.label for h in bundle.heads}


def _candidates(sheets: Sheets, day: int) -> Said:
    """Every linear candidate alone, in the order of the snapshot's rows."""
    wanted = [
        (target, name)
        for target in TARGETS
        for name in names_of(target)
        if name.partition("+")[0] not in {"forest", "boosting"}  # `trees`, with more of them
    ]
    scored = score(sheets, day, wanted, 0, most=len(sheets.key))
    place = np.argsort(scored.customer)
    return {
        target: {n: said[place] for n, said in found.items() if n != "mbg_nbd"}
        for target, found in scored.forecasts.items()
    }


def intervals(
    bundle: Bundle, known: Histories, day: int, horizon: int, spend: Rows
) -> dict[str, float]:
    """How often the 80 % interval of spend was right, in percent; zeros are randomized."""
    rng = np.random.default_rng(0)
    levels = np.array([0.1, 0.9])
    found: dict[str, float] = {}
    top = None
    for raw in (False, True):
        told = spend_distribution(bundle, known, day - 1, horizon, levels=levels, raw=raw)
        low, high = told.quantiles.T
        mean = predict_bundle(bundle, known, day - 1).outlooks[horizon].spend_minor
        top = mean >= np.quantile(mean, 0.8)
        at_zero = rng.random(len(spend)) * told.none
        inside = np.where(spend > 0, (spend >= low) & (spend <= high), abs(at_zero - 0.5) <= 0.4)
        miss = np.maximum(low - spend, 0.0) + np.maximum(spend - high, 0.0)
        suffix = "_raw" if raw else ""
        found["coverage80" + suffix] = round(100 * float(inside.mean()), 2)
        found["coverage80_top20" + suffix] = round(100 * float(inside[top].mean()), 2)
        found["wis" + suffix] = float((high - low + 10.0 * miss).mean()) / 100.0
    return found


def _buy(bought: Rows, p: Rows, ours: bool) -> dict[str, float]:
    figures = {
        "log_loss": float(log_losses(bought, p).mean()),
        "auc": auc(bought, p),
        "brier": float(((bought - p) ** 2).mean()),
        "ece": ece(bought, p),
    }
    if ours:
        figures["ece_floor"] = ece_floor(p, np.random.default_rng(0))
    return figures


def _orders(count: Rows, mean: Rows) -> dict[str, float]:
    return {"deviance": float(poisson_deviances(count, mean).mean()), "bias": bias(count, mean)}


def _spend(spend: Rows, mean: Rows) -> dict[str, float]:
    return {"ngini": gini_share(spend, mean), "bias": bias(spend, mean)}


def _show(result: dict[str, Any]) -> None:
    """The summary that the targets are stated in."""
    cutoffs = list(result["cutoffs"].values())
    for field, loss in (("p_buy", "log_loss"), ("orders", "deviance")):
        mean = {
            name: float(np.mean([one[field][name][loss] for one in cutoffs]))
            for name in cutoffs[0][field]
        }
        best = min((name for name in mean if name != "ours"), key=lambda name: mean[name])
        ratio = mean["ours"] / mean[best]
        print(f"{field}: ours {mean['ours']:.4f}, best single {best} {mean[best]:.4f}: {ratio:.4f}")
    for name, one in result["cutoffs"].items():
        print(name, {k: round(v, 4) for k, v in one["p_buy"]["ours"].items()})
        print(" " * 10, {k: round(v, 4) for k, v in one["spend"]["ours"].items()})
        print(" " * 10, result["chosen"][name])


if __name__ == "__main__":
    raise SystemExit(main())

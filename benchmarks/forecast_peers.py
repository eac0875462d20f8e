"""What our forecasts are measured against: rules of thumb, BTYD alone, LightGBM if installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.forecast.btyd import (
    expected_purchases,
    fit_bg_nbd,
    fit_mbg_nbd,
    purchase_probability,
)
from models.forecast.families.base import Target
from models.forecast.families.logistic import FAMILY as LOGISTIC
from models.forecast.gamma_gamma import expected_value, fit_gamma_gamma
from models.forecast.metrics import log_losses
from models.forecast.sheets import Sheet, Sheets, design, usable
from models.forecast.snapshot import NAMES

Rows = NDArray[np.float64]
Said = dict[Target, dict[str, Rows]]

GRID: Final = tuple(  # tuned one horizon before the first cutoff
    {"n_estimators": trees, "learning_rate": rate, "num_leaves": leaves, "min_child_samples": least}
    for trees, rate, leaves, least in (
        (80, 0.05, 7, 50),
        (150, 0.05, 15, 50),
        (300, 0.03, 15, 100),
        (250, 0.03, 31, 30),
    )
)
_COMMON: Final[dict[str, Any]] = {
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.7,
    "reg_lambda": 5.0,
    "n_jobs": 1,
    "verbose": -1,
    "random_state": 0,
}
_MOST_ROWS: Final = 50_000


def rules(sheets: Sheets, day: int) -> Said:
    """Base rate, last horizon, recency alone; means and own pace for orders and spend."""
    past, now = [sheets.at(one) for one in sheets.closed_before(day)], sheets.at(day)
    label = {t: np.concatenate([s.labels[t] for s in past]) for t in ("buy", "orders", "spend")}
    n, horizon = len(now.labels["buy"]), sheets.horizon_days
    window = min((w for w in (7, 14, 30, 60, 90, 180, 365) if w >= horizon), default=365)
    orders, spend = NAMES.index(f"orders_{window}d"), NAMES.index(f"spend_{window}d")
    recent = np.concatenate([s.snapshot.features[:, orders] for s in past]) > 0
    last = now.snapshot.features[:, orders]
    rates = [
        label["buy"][recent == flag].mean() if (recent == flag).any() else 0.5 for flag in (0, 1)
    ]
    silence = [s.snapshot.features[:, :1] for s in (*past, now)]
    logit = LOGISTIC.fit(np.concatenate(silence[:-1]), label["buy"], "buy", 0)
    return {
        "buy": {
            "base_rate": np.full(n, label["buy"].mean()),
            "last_h": np.where(last > 0, rates[1], rates[0]),
            "recency_logit": LOGISTIC.predict(logit, silence[-1], "buy"),
        },
        "orders": {"base_rate": np.full(n, label["orders"].mean()), "last_h": last},
        "spend": {
            "base_rate": np.full(n, label["spend"].mean()),
            "last_h": now.snapshot.features[:, spend],
        },
    }


def btyd(sheet: Sheet, horizon_days: int) -> Said:
    """BG/NBD and MBG/NBD by maximum likelihood on all histories, money by Gamma-Gamma."""
    history, stats = sheet.snapshot.history, sheet.snapshot.stats
    paid = stats.paid_orders.astype(np.float64)
    value = expected_value(
        fit_gamma_gamma(paid, stats.mean_paid_minor), paid, stats.mean_paid_minor
    )
    said: Said = {"buy": {}, "orders": {}, "spend": {}}
    for name, fit in (("bg_nbd", fit_bg_nbd), ("mbg_nbd", fit_mbg_nbd)):
        model = fit(*history, prior=None)
        said["buy"][name] = purchase_probability(model, horizon_days, *history)
        said["orders"][name] = expected_purchases(model, horizon_days, *history)
        said["spend"][name] = said["orders"][name] * value * sheet.floor.orders_per_day
    return said


def lightgbm(sheets: Sheets, day: int, options: dict[str, Any]) -> Said:
    """LightGBM without and with the BTYD expectation; nothing where it is not installed."""
    said: Said = {"buy": {}, "orders": {}, "spend": {}}
    if find_spec("lightgbm") is None:
        return said
    for suffix in ("", "+btyd"):
        for target in ("buy", "orders", "spend"):
            model, test = _boosted(sheets, day, target, options, stacked=bool(suffix))
            found = model.predict_proba(test)[:, 1] if target == "buy" else model.predict(test)
            said[target]["lightgbm" + suffix] = found
    return said


def tuned(sheets: Sheets, first_cutoff: int) -> dict[str, Any]:
    """The point of the grid with the least log loss one horizon before the first cutoff."""
    day = first_cutoff - sheets.horizon_days
    if find_spec("lightgbm") is None or not sheets.closed_before(day):
        return GRID[0]
    bought = sheets.at(day).labels["buy"]

    def loss(options: dict[str, Any]) -> float:
        model, test = _boosted(sheets, day, "buy", options, stacked=False)
        return float(log_losses(bought, model.predict_proba(test)[:, 1]).mean())

    return min(GRID, key=loss)


def _boosted(
    sheets: Sheets, day: int, target: Target, options: dict[str, Any], *, stacked: bool
) -> tuple[Any, Rows]:
    from lightgbm import LGBMClassifier, LGBMRegressor  # noqa: PLC0415  only where installed

    days = sheets.closed_before(day)
    columns = usable(sheets.first_day, days[0])
    rows = np.concatenate([design(sheets.at(d), columns, stacked=stacked) for d in days])
    label = np.concatenate([sheets.at(d).labels[target] for d in days])
    keep = np.random.default_rng(0).permutation(len(rows))[:_MOST_ROWS]
    test = design(sheets.at(day), columns, stacked=stacked)
    rows, label = rows[keep], label[keep]
    if target == "buy":
        return LGBMClassifier(objective="binary", **options, **_COMMON).fit(rows, label), test
    if target == "orders":
        return LGBMRegressor(objective="poisson", **options, **_COMMON).fit(rows, label), test
    held = np.minimum(label, np.quantile(label[label > 0], 0.995))
    model = LGBMRegressor(objective="tweedie", tweedie_variance_power=1.5, **options, **_COMMON)
    return model.fit(rows, held), test

"""What our forecasts are measured against: rules of thumb, BTYD alone, models of scikit-learn with
parameters of their own, LightGBM if installed.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.forecast.btyd import (
    expected_purchases,
    fit_bg_nbd,
    fit_mbg_nbd,
    purchase_probability,
)
from models.forecast.families.base import TARGETS, Target
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
_FOREST: Final[dict[str, Any]] = {
    "n_estimators": 100,
    "min_samples_leaf": 20,
    "max_features": 0.3,
    "n_jobs": 1,
    "random_state": 0,
}
_HIST_GB: Final[dict[str, Any]] = {
    "max_iter": 120,
    "learning_rate": 0.05,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 50,
    "l2_regularization": 5.0,
    "early_stopping": False,
    "random_state": 0,
}
_MOST_ROWS: Final = 50_000


def has_lightgbm() -> bool:
    """Tell whether this peer can be measured here."""
    return find_spec("lightgbm") is not None


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
    if not has_lightgbm():
        return said
    for suffix in ("", "+btyd"):
        for target in TARGETS:
            rows, label, test = _rows(sheets, day, target, stacked=bool(suffix))
            model = _boosted(rows, label, target, options)
            said[target]["lightgbm" + suffix] = _answer(model, test, target)
    return said


def trees(sheets: Sheets, day: int) -> Said:
    """A forest of 100 full trees and HistGradientBoosting, without and with the expectation."""
    said: Said = {"buy": {}, "orders": {}, "spend": {}}
    for suffix in ("", "+btyd"):
        for target in TARGETS:
            rows, label, test = _rows(sheets, day, target, stacked=bool(suffix))
            if target == "buy":
                models: dict[str, Any] = {
                    "forest": RandomForestClassifier(**_FOREST),
                    "hist_gb": HistGradientBoostingClassifier(**_HIST_GB),
                }
            else:
                models = {
                    "forest": RandomForestRegressor(**_FOREST),
                    "hist_gb": HistGradientBoostingRegressor(loss="poisson", **_HIST_GB),
                }
            unit = float(label.mean()) if target == "spend" else 1.0
            with threadpool_limits(1):
                for name, model in models.items():
                    model.fit(rows, label if target == "buy" else label / unit)
                    said[target][name + suffix] = unit * _answer(model, test, target)
    return said


def _answer(model: Any, test: Rows, target: Target) -> Rows:
    found = model.predict_proba(test)[:, 1] if target == "buy" else model.predict(test)
    return np.asarray(found)


def tuned(sheets: Sheets, first_cutoff: int) -> dict[str, Any]:
    """The point of the grid with the least log loss one horizon before the first cutoff."""
    day = first_cutoff - sheets.horizon_days
    if not has_lightgbm() or not sheets.closed_before(day):
        return GRID[0]
    bought = sheets.at(day).labels["buy"]

    def loss(options: dict[str, Any]) -> float:
        rows, label, test = _rows(sheets, day, "buy", stacked=False)
        said = _answer(_boosted(rows, label, "buy", options), test, "buy")
        return float(log_losses(bought, said).mean())

    return min(GRID, key=loss)


def _rows(sheets: Sheets, day: int, target: Target, *, stacked: bool) -> tuple[Rows, Rows, Rows]:
    """Features and outcomes of at most 50,000 training rows, and the features to be judged."""
    days = sheets.closed_before(day)
    columns = usable(sheets.first_day, days[0])
    rows = np.concatenate([design(sheets.at(d), columns, stacked=stacked) for d in days])
    label = np.concatenate([sheets.at(d).labels[target] for d in days])
    keep = np.random.default_rng(0).permutation(len(rows))[:_MOST_ROWS]
    label = label[keep]
    if target == "spend":
        label = np.minimum(label, np.quantile(label[label > 0], 0.995))
    return rows[keep], label, design(sheets.at(day), columns, stacked=stacked)


def _boosted(rows: Rows, label: Rows, target: Target, options: dict[str, Any]) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor  # noqa: PLC0415  only where installed

    if target == "buy":
        return LGBMClassifier(objective="binary", **options, **_COMMON).fit(rows, label)
    if target == "orders":
        return LGBMRegressor(objective="poisson", **options, **_COMMON).fit(rows, label)
    model = LGBMRegressor(objective="tweedie", tweedie_variance_power=1.5, **options, **_COMMON)
    return model.fit(rows, label)

"""What a version says of its training: data, rows, features, parameters, and figures.

Nothing here changes what is fitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, Meta
from models.forecast.backtest import MOST_SCORED, STACKED
from models.forecast.families.registry import FAMILIES
from models.forecast.fitting import tried
from models.forecast.sheets import Sheets
from models.history import select
from models.recommend.fitting import MOST_JUDGED
from models.segments.model import SegmentModel, assign
from models.segments.state import from_state
from worker.training import memory
from worker.training.data import TrainingData

Rows = NDArray[np.float64]

#: Figures of segments are measured on so many buyers, those of the lowest hashes.
MOST_MEASURED: Final = 20_000
#: The silhouette looks at all pairs.
MOST_PAIRED: Final = 2_000
#: Half of a 95 % interval in standard errors.
_Z95: Final = 1.959964
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def of_data(data: TrainingData) -> dict[str, Any]:
    """What all kinds of one training share: the window of the data, and where it was cut.

    `watermarks` is, per shard, the stream position behind which the scan of that shard began: all
    entries up to it are in the data as far as they happened before `as_of_s`.
    """
    days = data.past.day
    return {
        "as_of_s": data.at_s,
        "window": {
            "first_day": None if not len(days) else iso_day(int(days.min())),
            "last_day": None if not len(days) else iso_day(int(days.max())),
            "time_zone": data.rules.time_zone,
        },
        "watermarks": {str(one.shard): one.cursor for one in data.watermarks},
        "customers": len(data.key),
        "buyers": data.buyers,
        "purchase_days": len(days),
        "orders": data.orders,
        "catalog_items": len(data.catalog),
    }


def told(
    kind: str, fit: Callable[[TrainingData], tuple[Arrays, Meta]]
) -> Callable[[TrainingData], tuple[Arrays, Meta]]:
    """A fit whose meta has, under `provenance`, what `of_model` says and what the fit took.

    `memory_peak_bytes` is the most that the process held during the fit, profiles included.
    """

    def fitted(data: TrainingData) -> tuple[Arrays, Meta]:
        memory.begin_peak()
        start_s = time.process_time()
        arrays, model = fit(data)
        took = {
            "cpu_s": round(time.process_time() - start_s, 2),
            "memory_peak_bytes": memory.peak_bytes(),
        }
        return arrays, {**model, "provenance": {**of_model(kind, data, arrays, model), **took}}

    return fitted


def of_model(
    kind: str, data: TrainingData, arrays: Arrays, model: Mapping[str, Any]
) -> dict[str, Any]:
    """What is said of one kind: `rows` that were used, `features`, `parameters`, `metrics`.

    Each metric has a value, the rows that it rests on, and its 95 % interval where that is known.
    """
    return _OF_KIND[kind](data, arrays, model)


def iso_day(day: int) -> str:
    """A day since 1970-01-01 as a date.

    >>> iso_day(20_000)
    '2024-10-04'
    """
    return (_EPOCH + timedelta(days=day)).date().isoformat()


def metric(
    name: str, value: float, error: float | None, rows: int | None, on: str
) -> dict[str, Any]:
    """One figure with its standard error, 95 % interval and ground.

    >>> metric("loss", 0.5, 0.1, 9, "a window")["high"]
    0.696
    """
    told: dict[str, Any] = {"name": name, "value": _short(value), "rows": rows, "on": on}
    if error is None:
        return {**told, "error": None, "low": None, "high": None}
    low, high = value - _Z95 * error, value + _Z95 * error
    return {**told, "error": _short(error), "low": _short(low), "high": _short(high)}


def _segments(data: TrainingData, arrays: Arrays, model: Mapping[str, Any]) -> dict[str, Any]:
    made = from_state(dict(arrays), dict(model))
    table = made.matrix(data.past, data.today)
    bought = np.flatnonzero(table[:, 1] > 0)
    measured = bought[_lowest(data, bought, MOST_MEASURED)]
    found = assign(made, table[measured])
    metrics = [
        _mean("squared distance to the own segment", found.distance**2, "buyers of the training")
    ]
    metrics += _silhouette(made, table[measured[:MOST_PAIRED]])
    metrics += [
        metric(name, row[name], None, None, "the choice: the last window, customers held out")
        for row in model.get("choice", {}).get("ways", ())
        if (row["algorithm"], row["k"]) == (made.algorithm, len(made.ids))
        and row["kept"] == model["choice"]["kept"]
        for name in ("auc", "spend_gini", "stability")
    ]
    return {
        "rows": {"fit": len(bought), "measured": len(measured)},
        "features": list(made.features.columns),
        "parameters": {
            "algorithm": made.algorithm,
            "segments": len(made.ids),
            "feature_set": made.features.name,
            "weights": [_short(float(one)) for one in made.features.weights],
        },
        "metrics": metrics,
    }


def _silhouette(model: SegmentModel, table: Rows) -> list[dict[str, Any]]:
    from sklearn.metrics import silhouette_samples  # noqa: PLC0415  slow to load

    ids = assign(model, table).ids
    if not 1 < len(np.unique(ids)) < len(ids):
        return []
    return [_mean("silhouette", silhouette_samples(model.points(table), ids), "buyers")]


def _mean(name: str, values: Rows, on: str) -> dict[str, Any]:
    if not len(values):
        return metric(name, 0.0, None, 0, on)
    error = float(values.std() / np.sqrt(len(values)))
    return metric(name, float(values.mean()), error, len(values), on)


def _recommendations(
    data: TrainingData, _arrays: Arrays, model: Mapping[str, Any]
) -> dict[str, Any]:
    on = "customers of the last closed window, weights learned on the others"
    return {
        "rows": {
            "fit": data.buyers,
            "items": len(model["items"]),
            "judged": {row["list"]: row["rows"] for row in model.get("quality", ())},
            "judged_most": MOST_JUDGED,
        },
        "features": list(model["features"]),
        "parameters": _some(model, "half_life_days", "k_neighbors", "shop_gap", "shop_repeat"),
        "metrics": [
            metric(f"{row['list']}: NDCG@10", row["ndcg10"], row["se"], row["rows"], on)
            for row in model.get("quality", ())
        ],
    }


def _forecasts(data: TrainingData, _arrays: Arrays, model: Mapping[str, Any]) -> dict[str, Any]:
    some = tried(data.past, data.key)
    past = data.past if some is None else select(data.past, some)
    known = np.sort(past.day[past.starts[:-1][np.diff(past.starts) > 0]])

    def customers(day: int) -> int:
        return int(np.searchsorted(known, day))

    fits, scored, metrics = [], [], []
    for head in model.get("heads", ()):
        sheets = Sheets(past, int(head["horizon_days"]), np.zeros(0, dtype=np.uint64))
        fits += [
            {**_fit_rows(sheets, data.today, name, customers), **_of(head)}
            for name, _ in head["members"]
        ]
    for told in model.get("report", ()):
        rows = [min(customers(day), MOST_SCORED) for day in told["windows"]]
        days = [iso_day(day) for day in told["windows"]]
        scored.append({**_of(told), "windows": days, "rows": rows, "most": MOST_SCORED})
        metrics += _of_head(told, sum(rows))
    return {
        "rows": {"level_1": data.buyers, "tried": len(known), "fits": fits, "backtests": scored},
        "features": list(model["features"]),
        "parameters": {
            **_some(model, "currency", "discount_rate_year", "churn_horizon_days"),
            "chosen": [
                f"{one['target']}, {one['horizon_days']} d: {one['chosen']}"
                for one in model.get("report", ())
            ],
        },
        "metrics": metrics,
    }


def _some(model: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: model[name] for name in names if name in model}


def _of(head: Mapping[str, Any]) -> dict[str, Any]:
    return {"target": head["target"], "horizon_days": head["horizon_days"]}


def _fit_rows(
    sheets: Sheets, today: int, name: str, customers: Callable[[int], int]
) -> dict[str, Any]:
    """How many rows a supervised fit had, of how many: snapshots of customers, by their hash."""
    days = sheets.closed_before(today)
    most = FAMILIES[name.removesuffix(STACKED)].most_rows
    there = [customers(day) for day in days]
    used = sum(min(one, most // max(len(days), 1)) for one in there)
    return {"model": name, "snapshots": len(days), "rows": used, "of": sum(there), "most": most}


def _of_head(told: Mapping[str, Any], rows: int) -> list[dict[str, Any]]:
    head = f"{told['target']}, {told['horizon_days']} d"
    on = f"{len(told['windows'])} closed windows"
    found = []
    for row in told["candidates"]:
        if row.get("chosen"):
            found.append(metric(f"{head}: loss", row["loss"], row.get("loss_se"), rows, on))
            found.append(metric(f"{head}: gain over level 1", row["gain"], row["se"], rows, on))
            found += [
                metric(f"{head}: {name}", row[name], None, rows, on)
                for name in ("auc", "ece", "gini", "bias", "coverage80")
                if row.get(name) is not None
            ]
    return found


def _lowest(data: TrainingData, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Places in `rows` of the lowest hashes: who is measured does not depend on the order."""
    return np.argsort(data.key[rows], kind="stable")[:most]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


_OF_KIND: Final[
    Mapping[str, Callable[[TrainingData, Arrays, Mapping[str, Any]], dict[str, Any]]]
] = {
    "segments": _segments,
    "recommendations": _recommendations,
    "forecasts": _forecasts,
}

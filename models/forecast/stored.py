"""A bundle as arrays and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, Meta
from models.checks import DomainError, ShapeError
from models.forecast import forecast
from models.forecast.backtest import Member
from models.forecast.families.base import TARGETS
from models.forecast.families.registry import FAMILIES
from models.forecast.heads import Bundle, Head
from models.forecast.level1 import Season
from models.forecast.recipe import Recipe
from models.forecast.season import MOST_LOG, Calendar
from models.forecast.snapshot import NAMES
from models.forecast.spread import spread_from, spread_state


def to_state(bundle: Bundle) -> tuple[Arrays, Meta]:
    """Return arrays and JSON from which `from_state` builds an equal bundle.

    >>> from models.forecast.fitting import fit_bundle
    >>> from models.history import from_orders
    >>> days = np.array([100, 200])
    >>> shop = fit_bundle(from_orders(1, 0 * days, days, days), 210, currency="EUR")
    >>> from_state(*to_state(shop)).horizons_days
    [30, 90]
    """
    arrays, meta = forecast.to_state(bundle.level1)
    heads: list[Meta] = []
    for i, head in enumerate(bundle.heads):
        for j, member in enumerate(head.members):
            arrays[f"{i}.{j}.columns"] = member.columns
            arrays |= {f"{i}.{j}.state.{name}": value for name, value in member.state.items()}
        if head.spread is not None:
            arrays |= {f"{i}.spread.{k}": v for k, v in spread_state(head.spread).items()}
        heads.append(
            {
                "target": head.target,
                "horizon_days": head.horizon_days,
                "members": [[member.name, member.lift] for member in head.members],
                "floor": head.recipe.floor,
                "anchor": head.recipe.anchor,
                "shift": head.shift,
                "season": _season_state(head.season),
            }
        )
    return arrays, {
        **meta,
        "features": list(NAMES),
        "heads": heads,
        "report": list(bundle.report),
        "projected": bundle.projected,
    }


def from_state(arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Bundle:
    """Return the bundle that `to_state` described; raise ShapeError or DomainError."""
    own = {name: value for name, value in arrays.items() if "." not in name}
    level1 = forecast.from_state(own, dict(meta))
    if "heads" not in meta:
        return Bundle(level1)
    if list(meta.get("features", ())) != list(NAMES):
        raise ShapeError("the features are those of another release")
    try:
        heads = tuple(_head_from(arrays, i, one) for i, one in enumerate(meta["heads"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ShapeError(f"a head lacks {error}") from None
    return Bundle(level1, heads, tuple(meta.get("report", ())), float(meta.get("projected", 0.0)))


def _head_from(arrays: Mapping[str, NDArray[Any]], i: int, told: Mapping[str, Any]) -> Head:
    members = []
    for j, (name, lift) in enumerate(told["members"]):
        if name.partition("+")[0] not in FAMILIES or told["target"] not in TARGETS:
            raise DomainError(f"unknown model {name}")
        state = _under(arrays, f"{i}.{j}.state.")
        if not state or not all(np.isfinite(v).all() or k == "threshold" for k, v in state.items()):
            raise DomainError(f"the state of {name} is empty or not finite")
        columns = arrays[f"{i}.{j}.columns"].astype(np.int64)
        members.append(Member(name, told["target"], columns, state, float(lift)))
    spread = _under(arrays, f"{i}.spread.")
    recipe = Recipe(tuple(one.name for one in members), float(told["floor"]), float(told["anchor"]))
    return Head(
        told["target"],
        int(told["horizon_days"]),
        recipe,
        float(told["shift"]),
        tuple(members),
        spread_from(spread) if spread else None,
        _season_from(told["season"]),
    )


def _season_state(season: Calendar) -> Meta:
    return {
        "days": list(season.days),
        "logs": [list(one) for one in season.seasons],
        "weight": season.weight,
    }


def _season_from(told: Mapping[str, Any]) -> Calendar:
    days = tuple(int(day) for day in told["days"])
    seasons = tuple(Season(*map(float, logs)) for logs in told["logs"])
    weight = float(told["weight"])
    if len(days) != len(seasons) or list(days) != sorted(set(days)):
        raise ShapeError("a season needs one entry per day")
    if not 0 <= weight <= 1 or not all(abs(log) <= MOST_LOG for one in seasons for log in one):
        raise DomainError("a season is out of its range")
    return Calendar(days, seasons, weight)


def _under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

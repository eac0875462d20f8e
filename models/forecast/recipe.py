"""Blends: which candidates speak, with what weight, and how far the level follows level 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from models.forecast.backtest import FLOOR, STACKED
from models.forecast.families.base import Target

Rows: TypeAlias = NDArray[np.float64]

_LEAST_P: Final = 1e-5
_LEAST_MEAN: Final = 1e-3
_STEPS: Final = 12  # of Newton's method on a monotone, smooth mean


class Recipe(NamedTuple):
    """A blend of candidates of one target.

    members  names; their logits (buy) or logarithms (orders, spend) are averaged
    floor    weight of level 1 beside them, in [0, 1]
    anchor   how far the mean forecast moves to level 1's, in [0, 1]; needs no labels
    """

    members: tuple[str, ...]
    floor: float = 0.0
    anchor: float = 0.0

    @property
    def label(self) -> str:
        """The recipe in one word, as in the tables."""
        if not self.members:
            return FLOOR
        name = " ".join(self.members)
        parts = [f"{self.floor:g} {FLOOR}"] * bool(self.floor)
        parts += [f"anchor {self.anchor:g}"] * bool(self.anchor)
        return f"{name} ({', '.join(parts)})" if parts else name


FLOOR_ONLY: Final = Recipe(())

_MIXES: Final[dict[Target, tuple[tuple[str, ...], ...]]] = {
    "buy": (
        ("logistic" + STACKED, "boosting" + STACKED),
        ("logistic" + STACKED, "forest"),
        ("boosting" + STACKED, "forest"),
        ("logistic", "boosting", "forest"),
        ("logistic" + STACKED, "boosting" + STACKED, "forest"),
    ),
    "orders": (
        ("poisson" + STACKED, "boosting" + STACKED),
        ("poisson" + STACKED, "boosting" + STACKED, "forest"),
        ("poisson", "boosting", "forest"),
    ),
    "spend": (
        ("tweedie" + STACKED, "boosting" + STACKED),
        ("tweedie" + STACKED, "boosting" + STACKED, "forest"),
        ("tweedie", "boosting", "forest"),
    ),
}
FLOOR_WEIGHTS: Final = (0.0, 0.25, 0.5)
ANCHORS: Final = (0.0, 0.5, 1.0)


def recipes_of(target: Target, names: list[str]) -> list[Recipe]:
    """Return level 1 alone, then every candidate and blend with every weight and anchor."""
    mixes = [(name,) for name in names] + [m for m in _MIXES[target] if set(m) <= set(names)]
    return [FLOOR_ONLY] + [
        Recipe(mix, floor, anchor) for mix in mixes for floor in FLOOR_WEIGHTS for anchor in ANCHORS
    ]


def apply(recipe: Recipe, target: Target, said: Mapping[str, Rows], shift: float | None) -> Rows:
    """Blend what the members said.

    said     (n,) forecasts by name, level 1 among them
    shift    the anchor's shift on the blend's scale, if it was settled before; None = from `said`
    Returns  (n,) in the target's range

    >>> said = {FLOOR: np.array([0.1]), "logistic": np.array([0.5])}
    >>> apply(Recipe(("logistic",), 0.0, 0.5), "buy", said, None).round(3)  # half way to level 1
    array([0.3])
    """
    if not recipe.members:
        return said[FLOOR]
    inner = mixed(recipe, target, said)
    moved = anchor_shift(recipe, target, inner, said[FLOOR]) if shift is None else shift
    return _outer(inner + moved, target)


def mixed(recipe: Recipe, target: Target, said: Mapping[str, Rows]) -> Rows:
    """Return the weighted mean on the blend's scale, before the anchor."""
    blend = sum(_inner(said[name], target) for name in recipe.members) / len(recipe.members)
    if recipe.floor:
        blend = (1.0 - recipe.floor) * blend + recipe.floor * _inner(said[FLOOR], target)
    return np.asarray(blend)


def anchor_shift(recipe: Recipe, target: Target, inner: Rows, floor: Rows) -> float:
    """Return what moves the blend's mean by `recipe.anchor` of the way to level 1's mean.

    For probabilities the way goes in the mean probability, for counts and spend in the logarithm.
    """
    if not recipe.anchor or not len(inner):
        return 0.0
    own, theirs = _outer(inner, target).mean(), floor.mean()
    if target != "buy":
        return float(recipe.anchor * np.log(max(theirs, 1e-9) / max(own, 1e-9)))
    goal = (1.0 - recipe.anchor) * own + recipe.anchor * theirs
    shift = 0.0
    for _ in range(_STEPS):
        p = expit(inner + shift)
        shift += float(np.clip((goal - p.mean()) / max((p * (1.0 - p)).mean(), 1e-9), -2.0, 2.0))
    return shift


def _inner(values: Rows, target: Target) -> Rows:
    if target == "buy":
        return np.asarray(logit(np.clip(values, _LEAST_P, 1.0 - _LEAST_P)))
    return np.log(np.maximum(values, _LEAST_MEAN))


def _outer(inner: Rows, target: Target) -> Rows:
    if target == "buy":
        return np.asarray(expit(inner))
    return np.exp(inner)

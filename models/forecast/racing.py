"""Which candidates are worth the older windows: those of the blends that lead on the newer ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.forecast.backtest import FLOOR, STACKED, Scored
from models.forecast.families.base import Target
from models.forecast.families.registry import FAMILIES
from models.forecast.gate import LOSSES
from models.forecast.recipe import Recipe, apply, recipes_of

LEADERS: Final = 8  # blends that go on after the newest window; after each further one, half


def leading(scored: Sequence[Scored], target: Target) -> list[str]:
    """Return the candidates of the blends with the least mean loss on the windows so far.

    scored  newest first, all of the same candidates or of fewer
    Beside them those of the best blend without trees: it is what speaks where trees would make a
    refresh too slow. Level 1 needs no fit and stays anyway.
    Source  Jamieson & Talwalkar (2016), "Non-stochastic Best Arm Identification and Hyperparameter
            Optimization": successive halving

    >>> import numpy as np
    >>> said = {FLOOR: np.full(1, 0.5), "boosting": np.full(1, 0.1), "logistic": np.full(1, 0.9)}
    >>> window = Scored(0, np.zeros(1, int), {"buy": np.ones(1)}, {"buy": said})
    >>> leading([window] * 4, "buy")
    ['logistic']
    """
    names = [name for name in scored[-1].forecasts[target] if name != FLOOR]

    def loss(recipe: Recipe) -> float:
        said = (apply(recipe, target, one.forecasts[target], None) for one in scored)
        pairs = zip(scored, said, strict=True)
        return sum(float(LOSSES[target](one.labels[target], p).mean()) for one, p in pairs)

    ranked = sorted(recipes_of(target, names)[1:], key=loss)
    quick = [recipe for recipe in ranked if not any(map(_has_trees, recipe.members))]
    most = max(LEADERS >> (len(scored) - 1), 1)
    ahead = {name for recipe in ranked[:most] + quick[:1] for name in recipe.members}
    return [name for name in names if name in ahead]


def _has_trees(name: str) -> bool:
    return FAMILIES[name.removesuffix(STACKED)].has_trees

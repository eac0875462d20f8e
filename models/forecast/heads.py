"""What one version of the forecasts is made of: level 1, and a winner per target and horizon."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Meta
from models.forecast.backtest import Member
from models.forecast.families.base import Target
from models.forecast.forecast import Forecaster
from models.forecast.recipe import Recipe
from models.forecast.season import Calendar
from models.forecast.spread import Spread

Rows: TypeAlias = NDArray[np.float64]

HORIZONS_DAYS: Final = (30, 90)
#: Tree levels walked per customer, all heads together: what 150 microseconds allow.
MOST_STEPS: Final = 8_000


class Head(NamedTuple):
    """What speaks for one target and horizon.

    shift   of the anchor, on the blend's scale, as of the fit
    spread  intervals (orders and spend); None for buy, or where money abstains
    season  of level 1 in the windows to come
    """

    target: Target
    horizon_days: int
    recipe: Recipe
    shift: float
    members: tuple[Member, ...]
    spread: Spread | None
    season: Calendar = Calendar()


class Bundle(NamedTuple):
    """All winners of one shop, promoted together.

    level1  the forecaster that always speaks where no winner does
    heads   by horizon, then target
    report  why: per head the windows, the table of candidates and the reason (JSON)
    projected  share of the customers whose figures had to be made coherent, as of the fit
    """

    level1: Forecaster
    heads: tuple[Head, ...] = ()
    report: tuple[Meta, ...] = ()
    projected: float = 0.0

    @property
    def horizons_days(self) -> list[int]:
        """The horizons, rising."""
        return sorted({head.horizon_days for head in self.heads})


def steps(member: Member) -> int:
    """Return the tree levels that a customer walks; a dot product counts as none.

    >>> none = np.zeros(0, dtype=np.int64)
    >>> steps(Member("forest", "buy", none, {"roots": np.zeros(40), "depth": np.array([14])}))
    560
    """
    state = member.state
    return len(state["roots"]) * int(state["depth"][0]) if "roots" in state else 0

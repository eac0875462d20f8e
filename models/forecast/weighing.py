"""How much of last year's season counts: what closed windows would have gained by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.forecast.families.base import TARGETS
from models.forecast.gate import LOSSES
from models.forecast.season import UNTRIED, WEIGHTS
from models.forecast.sheets import Sheets


def season_weight(sheets: Sheets, days: Sequence[int]) -> tuple[float, bool]:
    """Return the weight of the season, and whether closed windows decided on it.

    days  first days of closed windows
    The weight has the least mean loss of level 1, relative to none, over the windows that have a
    year before them and over the three targets. Where there is no such window, half counts.

    >>> from models.history import from_orders
    >>> days = np.array([100, 200])
    >>> shop = from_orders(1, 0 * days, days, days)
    >>> season_weight(Sheets(shop, 30, np.zeros(1, np.uint64)), [180])
    (0.5, False)
    """
    ratios = []
    for day in days:
        if sheets.season(day) is None:
            continue
        labels = sheets.at(day).labels
        losses = np.array(
            [
                [
                    LOSSES[target](labels[target], getattr(sheets.leveled(day, w), target)).mean()
                    for target in TARGETS
                ]
                for w in WEIGHTS
            ]
        )
        ratios.append((losses / np.maximum(losses[0], 1e-9)).mean(axis=1))
    if not ratios:
        return UNTRIED, False
    weight = WEIGHTS[int(np.argmin(np.mean(ratios, axis=0)))]
    return weight, weight > 0

"""Rolling closed windows: what every candidate would have said then, and what came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.forecast.families.base import Family, Target
from models.forecast.families.registry import FAMILIES, families_of
from models.forecast.level1 import Expected
from models.forecast.sheets import Sheets, design, usable
from models.forecast.snapshot import sample

Rows: TypeAlias = NDArray[np.float64]

FLOOR: Final = "mbg_nbd"
STACKED: Final = "+btyd"
MOST_SCORED: Final = 20_000
_CAP_QUANTILE: Final = 0.995  # spend above it counts as much in a fit


class Member(NamedTuple):
    """A fitted candidate: its name, the columns it reads, and its state.

    lift  (spend) restores the sum that capping the largest outcomes took away
    """

    name: str
    target: Target
    columns: NDArray[np.int64]
    state: dict[str, NDArray[Any]]
    lift: float = 1.0

    @property
    def family(self) -> Family:
        """The family that can read the state."""
        return FAMILIES[self.name.removesuffix(STACKED)]

    @property
    def stacked(self) -> bool:
        """Whether it reads the purchase model's expectation."""
        return self.name.endswith(STACKED)

    def predict(self, features: NDArray[np.float64], expectation: NDArray[np.float64]) -> Rows:
        """Return (n,) from all features and the columns of `expectation_columns`."""
        plain = features[:, self.columns]
        seen = np.hstack((plain, expectation)) if self.stacked else plain
        return self.family.predict(self.state, seen, self.target) * self.lift


class Scored(NamedTuple):
    """One closed window.

    day          its first day
    customer     (n,) who, as a row of the histories
    labels       what came, by target
    forecasts    what each candidate said, by target and name
    """

    day: int
    customer: NDArray[np.int64]
    labels: dict[Target, Rows]
    forecasts: dict[Target, dict[str, Rows]]


def names_of(target: Target) -> list[str]:
    """Return the supervised candidates of a target, each without and with the expectation.

    >>> names_of("buy")[:2]
    ['boosting', 'boosting+btyd']
    """
    return [f.name + suffix for f in families_of(target) for suffix in ("", STACKED)]


def fit_member(sheets: Sheets, name: str, target: Target, day: int, seed: int) -> Member:
    """Fit a candidate on the snapshots whose windows are closed before `day`.

    Raises  DomainError (no closed snapshot), NumericError
    """
    days = sheets.closed_before(day)
    training = [sheets.at(one) for one in days]
    columns = usable(sheets.first_day, days[0])
    family = FAMILIES[name.removesuffix(STACKED)]
    stacked = name.endswith(STACKED)
    parts, labels = [], []
    for sheet in training:
        rows = sample(sheets.key[sheet.snapshot.row], family.most_rows // len(days))
        parts.append(design(sheet, columns, stacked=stacked)[rows])
        labels.append(sheet.labels[target][rows])
    outcome, lift = np.concatenate(labels), 1.0
    if target == "spend" and (outcome > 0).any():
        held = np.minimum(outcome, np.quantile(outcome[outcome > 0], _CAP_QUANTILE))
        lift, outcome = float(outcome.sum() / held.sum()), held
    state = family.fit(np.concatenate(parts), outcome, target, seed)
    return Member(name, target, columns, state, lift)


def score(
    sheets: Sheets,
    day: int,
    wanted: Iterable[tuple[Target, str]],
    seed: int,
    most: int = MOST_SCORED,
    weight: float = 0.0,
) -> Scored:
    """Fit the wanted candidates as of `day` and forecast the window that begins then.

    weight  of the season in what level 1 says
    """
    sheet = sheets.at(day)
    rows = sample(sheets.key[sheet.snapshot.row], most)
    forecasts = floor_forecasts(sheets.leveled(day, weight), rows)
    for target, name in wanted:
        member = fit_member(sheets, name, target, day, seed)
        seen = design(sheet, member.columns, stacked=member.stacked)[rows]
        said = member.family.predict(member.state, seen, target) * member.lift
        forecasts[target][name] = said
    labels: dict[Target, Rows] = {name: label[rows] for name, label in sheet.labels.items()}
    return Scored(day, sheet.snapshot.row[rows], labels, forecasts)


def floor_forecasts(expected: Expected, rows: NDArray[np.int64]) -> dict[Target, dict[str, Rows]]:
    """Return what level 1 says of some rows, by target."""
    return {
        "buy": {FLOOR: expected.buy[rows]},
        "orders": {FLOOR: expected.orders[rows]},
        "spend": {FLOOR: expected.spend[rows]},
    }

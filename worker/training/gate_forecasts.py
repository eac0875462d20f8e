"""Whether new forecasts take over: the same closed windows, head by head."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.challenging import CLEARLY, MARGIN, Contest, judge
from models.checks import DomainError
from models.forecast.backtest import FLOOR, Member, fit_member, floor_forecasts
from models.forecast.btyd import PRIOR
from models.forecast.bundle import Bundle, Head, predict_bundle
from models.forecast.families.base import TARGETS, Target
from models.forecast.gate import LOSSES
from models.forecast.level1 import ORDINARY, Expected, Floor, Season, expect
from models.forecast.recipe import apply
from models.forecast.sheets import Sheets, expectation_columns
from models.forecast.snapshot import Snapshot, outcome
from models.history import Histories
from models.monitoring import out_of_band
from worker.training.evidence import Evidence
from worker.training.ruling import Ruling, figure

Rows: TypeAlias = NDArray[np.float64]
Said: TypeAlias = dict[Target, Rows]

#: Closed windows of each horizon, at most.
WINDOWS: Final = 3
#: The head that an alarm rings for, and that must win when it did: target and days.
RUNG: Final = ("buy", 30)


class Seen(NamedTuple):
    """One closed window of one horizon.

    day         its first day
    known_day   first day that neither the champion nor the challenger knows, as they speak here
    customer    (n,) who, by place in the evidence
    came        what they did in it
    champion    what the live version would have said
    challenger  what the new one would have said, made of what was known then
    itself      what the new one says with the parameters that it has: it knows the window
    """

    day: int
    known_day: int
    customer: NDArray[np.int64]
    came: Said
    champion: Said
    challenger: Said
    itself: Said


def judge_forecasts(
    evidence: Evidence,
    champion: Bundle,
    champion_day: int,
    challenger: Bundle,
    tell: Callable[[float], None] = lambda _: None,
    *,
    must_win: bool = False,
) -> Ruling:
    """Hold new forecasts against the live ones.

    A version whose data end before a window speaks as it is; of any other, what it is made of is
    fitted anew on what was known when the window began. For no target and horizon may the new one
    be clearly worse (`models.challenging.judge`), nor out of the band of calibration and level;
    and as it is, knowing the newest window, it must not do clearly worse on it.

    champion_day  first day that the live version does not know
    must_win      the live version's alarm rang: where it did, not to be worse is not enough
    Raises        ShapeError, DomainError, NumericError
    """
    shared = sorted(set(champion.horizons_days) & set(challenger.horizons_days))
    reasons: list[str] = []
    notes: list[str] = []
    figures: list[dict[str, Any]] = []
    for number, horizon in enumerate(shared):
        tell(number / len(shared))
        seen = list(_seen(evidence, horizon, champion, champion_day, challenger))
        if not seen:
            notes.append(f"{horizon} d: no closed window with history enough to compare on")
        for target in TARGETS if seen else ():
            name = f"{target}, {horizon} d"
            found, told = _judged(seen, target, must_win=must_win and (target, horizon) == RUNG)
            reasons += [f"{name}: {reason}" for reason in found]
            figures.append({**told, "of": name})
    return Ruling(not reasons, False, tuple(reasons), tuple(notes), tuple(figures))


def _judged(
    seen: list[Seen], target: Target, *, must_win: bool
) -> tuple[list[str], dict[str, Any]]:
    losses = LOSSES[target]
    contests = [
        Contest(
            one.day,
            one.known_day,
            one.customer,
            losses(one.came[target], one.champion[target]),
            losses(one.came[target], one.challenger[target]),
        )
        for one in seen
    ]
    rows = sum(len(one.customer) for one in seen)
    found = judge(contests, must_win=must_win)
    came, new, old = (
        np.concatenate([told[target] for told in part])
        for part in zip(*((one.came, one.challenger, one.champion) for one in seen), strict=True)
    )
    reasons = [*found.reasons, *out_of_band(came, new, old, are_chances=target == "buy")]
    newest = seen[0]
    itself = losses(newest.came[target], newest.itself[target])
    gap = _worse(itself, contests[0].champion)
    if gap:
        reasons.append(f"is {gap:.1%} worse on the newest window, which it knows")
    return reasons, figure("", [one.day for one in seen], rows, found)


def _worse(itself: Rows, champion: Rows) -> float:
    """By what part of the live loss a version is clearly worse, that should be better; or 0."""
    over, loss = itself - champion, float(champion.mean())
    error = float(over.std()) / np.sqrt(len(over))
    gap = float(over.mean())
    return gap / max(loss, 1e-9) if gap > max(MARGIN * loss, CLEARLY * error) else 0.0


def _seen(
    evidence: Evidence, horizon: int, champion: Bundle, champion_day: int, challenger: Bundle
) -> Iterable[Seen]:
    """The windows, newest first."""
    key = np.array([zlib.crc32(one.encode()) for one in evidence.customer_ids], dtype=np.uint64)
    for day in Sheets(evidence.now, horizon, key).windows(evidence.today, WINDOWS):
        past = evidence.past(day)
        try:
            then = _Then(Sheets(past, horizon, key, PRIOR), day, evidence.seed)
            new = then.made(challenger)
            is_older = champion_day <= day
            old = (
                as_it_is(champion, past, day, horizon, then.row)
                if is_older
                else then.made(champion)
            )
        except DomainError:
            continue  # too little was known then to fit on
        known_day = max(int(past.day.max()) + 1, champion_day if is_older else 0)
        labels = happened(evidence.now, then.sheet.snapshot, horizon)
        yield Seen(day, known_day, then.row, labels, old, new, then.itself(challenger))


def happened(now: Histories, snapshot: Snapshot, horizon: int) -> Said:
    """What the customers of a snapshot did in the window that began with it."""
    came = outcome(now, snapshot, horizon)
    return {
        "buy": (came.orders > 0).astype(np.float64),
        "orders": came.orders,
        "spend": came.spend_minor,
    }


class _Then:
    """What versions would have said at the beginning of a day; each member is fitted once."""

    def __init__(self, sheets: Sheets, day: int, seed: int) -> None:
        self._sheets = sheets
        self._day = day
        self._seed = seed
        self._known: dict[tuple[Target, str], Member] = {}
        self.sheet = sheets.at(day)
        self.row = self.sheet.snapshot.row

    def made(self, bundle: Bundle) -> Said:
        """What a bundle made of what was known then would say; raises DomainError."""
        found: Said = {}
        for target, head in self._heads(bundle):
            weight = 0.0 if head is None else head.season.weight
            expected = self._sheets.leveled(self._day, weight)
            names = () if head is None else head.recipe.members
            members = [self._member(target, name) for name in names]
            found[target] = self._blend(target, head, expected, members)
        return found

    def itself(self, bundle: Bundle) -> Said:
        """What a bundle's own parameters say; level and season are those of the day."""
        level1 = bundle.level1
        floor = Floor(level1.btyd, level1.value, level1.orders_per_day)
        found: Said = {}
        for target, head in self._heads(bundle):
            season = self._sheets.season(self._day) or ORDINARY
            weight = 0.0 if head is None else head.season.weight
            part = Season(*(weight * one for one in season))
            expected = expect(
                floor, self.sheet.snapshot.stats, float(self._sheets.horizon_days), part
            )
            members = () if head is None else head.members
            found[target] = self._blend(target, head, expected, members)
        return found

    def _heads(self, bundle: Bundle) -> list[tuple[Target, Head | None]]:
        horizon = self._sheets.horizon_days
        heads = {head.target: head for head in bundle.heads if head.horizon_days == horizon}
        return [(target, heads.get(target)) for target in TARGETS]

    def _blend(
        self, target: Target, head: Head | None, expected: Expected, members: Sequence[Member]
    ) -> Rows:
        said = floor_forecasts(expected, np.arange(len(self.row)))[target]
        if head is None:
            return said[FLOOR]
        columns = expectation_columns(self.sheet.expected)
        for one in members:
            said[one.name] = one.predict(self.sheet.snapshot.features, columns)
        return apply(head.recipe, target, said, None)

    def _member(self, target: Target, name: str) -> Member:
        if (target, name) not in self._known:
            made = fit_member(self._sheets, name, target, self._day, self._seed)
            self._known[target, name] = made
        return self._known[target, name]


def as_it_is(
    bundle: Bundle, past: Histories, day: int, horizon: int, row: NDArray[np.int64]
) -> Said:
    """What a version says with the parameters that it has, of what was known before a day."""
    outlook = predict_bundle(bundle, past, day - 1).outlooks[horizon]
    return {
        "buy": outlook.buy[row],
        "orders": outlook.orders[row] / bundle.level1.orders_per_day,
        "spend": outlook.spend_minor[row],
    }

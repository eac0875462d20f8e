"""Is it worth training a purchase model anew? Policies replayed over weekly steps.

All have the same model (MBG/NBD) and the same steps; ours trains by the alarms and the gate of the
product (`models.monitoring`, `models.challenging`), the others by the calendar.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.segment_shops import Shop
from models.challenging import Contest, judge
from models.forecast.btyd import MBGNBD, fit_mbg_nbd, purchase_probability
from models.forecast.metrics import log_losses
from models.forecast.snapshot import Snapshot, outcome, take
from models.history import Histories, select
from models.monitoring import growth_alarm, loss_alarm
from worker.training.gate_forecasts import WINDOWS

STEPS = 72
HORIZON_DAYS = 30
AGE_DAYS = 28


class Step(NamedTuple):
    """What was known when a day began, and what came in the 30 days after."""

    snapshot: Snapshot
    bought: np.ndarray


class Fitted(NamedTuple):
    """A model, the day before which its data end, and how it did on windows before that day.

    before    (n,) loss of each customer on the newest closed window
    expected  mean loss over the closed windows, each of a model made before it
    """

    model: MBGNBD
    day: int
    customers: int
    before: np.ndarray
    expected: float


def step_at(past: Histories, day: int) -> Step:
    """One step."""
    snapshot = take(past, day)
    came = outcome(past, snapshot, HORIZON_DAYS)
    return Step(snapshot, (came.orders > 0).astype(np.float64))


def closed_at(past: Histories, day: int) -> list[Step]:
    """The windows that have closed when a day begins, newest first: as many as the gate sees."""
    return [step_at(past, day - HORIZON_DAYS * back) for back in range(1, WINDOWS + 1)]


def fit(snapshot: Snapshot) -> MBGNBD:
    """The purchase model on what was known."""
    return fit_mbg_nbd(*snapshot.history)


def losses(model: MBGNBD, step: Step) -> np.ndarray:
    """Log loss of every customer of a step."""
    chance = purchase_probability(model, float(HORIZON_DAYS), *step.snapshot.history)
    return log_losses(step.bought, chance)


def fitted(past: Histories, day: int, closed: Sequence[Step]) -> Fitted:
    """A model of all that is known when a day begins."""
    snapshot = take(past, day)
    model = fit(snapshot)
    expected = float(np.mean([losses(fit(one.snapshot), one).mean() for one in closed]))
    return Fitted(model, day, len(snapshot.row), losses(model, closed[0]), expected)


def rings(live: Fitted, newest: Step) -> bool:
    """The alarm of the product, on the newest closed window."""
    return loss_alarm(losses(live.model, newest), live.before, live.expected)


def fixed(steps: Sequence[Step], every: int | None) -> tuple[float, int]:
    """Mean loss and trainings, one every so many steps; None = at the first one alone."""
    found, times, model = [], 0, fit(steps[0].snapshot)
    for number, step in enumerate(steps):
        if every is not None and number % every == 0:
            model = fit(step.snapshot)
            times += 1
        found.append(losses(model, step).mean())
    return float(np.mean(found)), times


def ours(past: Histories, steps: Sequence[Step], *, always_win: bool = False) -> tuple[float, int]:
    """Mean loss and times that another model became live, by alarms, age and gate.

    always_win  the gate asks for a win of what is due, too
    """
    found, times, live, tried = [], 0, None, steps[0].snapshot.day
    for step in steps:
        day, closed = step.snapshot.day, closed_at(past, step.snapshot.day)
        live = live or fitted(past, day, closed)
        due = day - tried >= AGE_DAYS or growth_alarm(len(step.snapshot.row), live.customers)
        if due or (day > tried and rings(live, closed[0])):
            tried = day  # what the gate keeps back counts as a training
            contests = [_contest(one, live) for one in closed]
            if judge(contests, must_win=always_win or not due).promote:
                live = fitted(past, day, closed)
                times += 1
        found.append(losses(live.model, step).mean())
    return float(np.mean(found)), times


def _contest(window: Step, live: Fitted) -> Contest:
    """Who knows a day of the window is fitted anew on what was known before it, as in the gate."""
    day, then = window.snapshot.day, fit(window.snapshot)
    champion = live.model if live.day <= day else then
    rows = losses(champion, window), losses(then, window)
    return Contest(day, day, window.snapshot.row, *rows)


def compared(shop: Shop, *, one_in: int = 1) -> dict[str, dict[str, float]]:
    """Loss, trainings and CPU of each policy on the same steps.

    one_in  of how many customers one is in the shop
    """
    past = select(shop.past, np.arange(0, len(shop.past.starts) - 1, one_in))
    last = shop.days - HORIZON_DAYS
    steps = [step_at(past, last - 7 * back) for back in range(STEPS - 1, -1, -1)]
    policies = {
        "ours": lambda: ours(past, steps),
        "ours_must_win": lambda: ours(past, steps, always_win=True),
        "weekly": lambda: fixed(steps, 1),
        "monthly": lambda: fixed(steps, 4),
        "never": lambda: fixed(steps, None),
    }
    found = {}
    for name, policy in policies.items():
        start_s = time.process_time()
        loss, retrains = policy()
        cpu_s = round(time.process_time() - start_s, 2)
        found[name] = {"loss": round(loss, 5), "retrains": retrains, "cpu_s": cpu_s}
    return found

"""Our own blend, run by the code that serves customers; weights learned on the validation slice."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.recommendations.problem import MODES, Problem, candidates
from models.recommend import fitting
from models.recommend.content import fit_content
from models.recommend.evaluate import NONE, Quality, quality
from models.recommend.hybrid import Candidates, expanded
from models.recommend.interactions import Interactions
from models.recommend.model import Recommender, basic_weights
from models.recommend.repeat_kernels import EARLIEST
from models.recommend.tuning import choices_of, learn_weights

HALF_LIVES = (30.0, 60.0, 90.0, 120.0)
NEIGHBORS = (100, 200)
RIDGES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


class Params(NamedTuple):
    """What the trials choose among."""

    half_life_days: float
    k_neighbors: int
    ridge: float


class Asked(NamedTuple):
    """The candidates of some users of a problem, as the members collected them."""

    problem: Problem
    users: NDArray[np.int64]
    found: list[Candidates]


def collect(problem: Problem, users: NDArray[np.int64], half_life: float, k: int) -> Asked:
    """Fit on the problem's train part, and collect candidates."""
    days = np.floor(problem.day).astype(np.int64)
    once = np.unique(np.stack([problem.user, problem.item, days]), axis=1)
    events = Interactions(once[0], once[1], once[2], np.ones(once.shape[1]))
    today = int(np.floor(problem.end)) + 1
    names = [f"{column:06d}" for column in range(problem.items)]
    fitted: Recommender = fitting.fit_statistics(
        events, names, problem.users,
        as_of_day=today - 1, half_life_days=half_life, k_neighbors=k,
    )  # fmt: skip
    found = fitting.candidates(
        fitted, events, problem.users, users, today, fit_content(problem.text)
    )
    return Asked(problem, users, list(found))


def _in(mode: str, found: Candidates) -> NDArray[np.bool_]:
    if mode == "any":
        return np.ones(len(found.columns), dtype=np.bool_)
    return found.bought if mode == "again" else ~found.bought


def learn(asked: Asked, mode: str, ridge: float) -> NDArray[np.float64]:
    """Weights of one list from what these users bought."""
    truth = asked.problem.truth
    parts = []
    for user, found in zip(asked.users.tolist(), asked.found, strict=True):
        inside = _in(mode, found)
        bought = truth.indices[truth.indptr[user] : truth.indptr[user + 1]]
        parts.append((expanded(found.features[inside]), np.isin(found.columns[inside], bought)))
    return learn_weights(choices_of(parts), basic_weights(), ridge=ridge)


def lists(
    asked: Asked, mode: str, weights: NDArray[np.float64], k: int, *, held_back: bool = False
) -> NDArray[np.int64]:
    """The k best of each user; `held_back` applies the rule of re-purchase."""
    best = np.full((len(asked.users), k), NONE, dtype=np.int64)
    for row, found in enumerate(asked.found):
        inside = _in(mode, found)
        if held_back:
            inside = inside & found.due
        utility = expanded(found.features[inside]) @ weights
        order = np.argsort(-utility, kind="stable")[:k]
        best[row, : len(order)] = found.columns[inside][order]
    return best


def judge(asked: Asked, mode: str, best: NDArray[np.int64]) -> Quality:
    """Figures of lists against the mode's truth."""
    truth, _ = candidates(asked.problem, asked.users, mode)
    return quality(best, truth)


def choose(
    problem: Problem, users: NDArray[np.int64], trials: int
) -> tuple[dict[str, Params], dict[str, float], int]:
    """Per mode the settings whose lists were best for users that the weights did not see."""
    grid = list(itertools.product(HALF_LIVES, NEIGHBORS))
    ridges = RIDGES[: max(trials // len(grid), 1)]
    best: dict[str, tuple[float, Params]] = {}
    ran = 0
    for half_life, k in grid[:trials]:
        asked = collect(problem, users, half_life, k)
        halves = [_part(asked, first) for first in (0, 1)]
        for ridge in ridges:
            ran += 1
            for mode in MODES:
                scores = np.concatenate(
                    [
                        judge(other, mode, lists(other, mode, learn(one, mode, ridge), 10)).ndcg
                        for one, other in (halves, halves[::-1])
                    ]
                )
                found = float(scores.mean()), Params(half_life, k, ridge)
                best[mode] = max(best.get(mode, found), found)
    chosen = {mode: params for mode, (_, params) in best.items()}
    return chosen, {mode: score for mode, (score, _) in best.items()}, ran


def _part(asked: Asked, first: int) -> Asked:
    return Asked(asked.problem, asked.users[first::2], asked.found[first::2])


def rule() -> str:
    """The shipped rule of re-purchase, in words."""
    return f"an item is held back until {EARLIEST:g} of its usual interval has passed"

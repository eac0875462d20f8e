"""Whether new recommendations take over: whose lists hold what was bought next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.challenging import Contest, judge
from models.monitoring import worse_than_before
from models.recommend.content import NO_CONTENT, Content, fit_content
from models.recommend.filters import ServiceItems
from models.recommend.fitting import WINDOW_DAYS, candidates, fit_recommender
from models.recommend.hybrid import expanded
from models.recommend.interactions import Interactions, ItemTable
from models.recommend.recommender import Recommender
from worker.index import triplets
from worker.insights.shelf import text_of
from worker.training.evidence import Evidence
from worker.training.ruling import Ruling, figure

Rows: TypeAlias = NDArray[np.float64]

#: So many customers are judged, and a list is so long.
MOST_JUDGED: Final = 500
LENGTH: Final = 10
LEAST_JUDGED: Final = 20
#: What the whole version may miss more, as a share of what the live one misses.
WHOLE_SLACK: Final = 0.20
LISTS: Final = ("buy_again", "new_for_you")
_DISCOUNT: Final = 1.0 / np.log2(np.arange(2, LENGTH + 2))


class Question(NamedTuple):
    """The last closed window: what was known before it, and what was bought in it.

    past   what happened before its first day; columns of `items`
    day    its first day
    asked  (n,) customers whose lists are judged, rising
    truth  what each of them bought then, a set of columns each
    own    what each of them had bought before
    """

    past: Interactions
    items: ItemTable
    customers: int
    day: int
    asked: NDArray[np.int64]
    truth: list[set[int]]
    own: list[set[int]]


def judge_recommendations(
    evidence: Evidence, champion: Recommender, champion_day: int, challenger: Recommender
) -> Ruling:
    """Hold new recommendations against the live ones: NDCG@10 of both lists on the last window.

    A recommender fitted anew on what was known before the window meets the live one, where the live
    one's data end before it too: otherwise both would be the same. The new version's weights, which
    know the window, must not do clearly worse on what was known then; nor the whole version much
    worse, whose other parts know more than was known then, and so are not what weights expect.

    champion_day  first day that the live version does not know
    Raises        ShapeError, DomainError, NumericError
    """
    found = question(evidence)
    if found is None:
        return Ruling(promote=True, notes=("too few customers bought in the last window",))
    then = fit_recommender(
        found.past,
        found.items.ids,
        found.customers,
        as_of_day=found.day - 1,
        content=_content(evidence, found.items.ids),
        params=challenger.params,
        similarity=challenger.similarity,
        rng=np.random.default_rng(evidence.seed),
    )
    new = losses(evidence, then, found)
    is_older = champion_day <= found.day
    old = losses(evidence, champion, found) if is_older else new
    weights = losses(evidence, replace(then, weights=challenger.weights), found)
    whole = losses(evidence, challenger, found)
    known_day = max(int(found.past.day.max()) + 1, champion_day if is_older else 0)
    reasons, figures = [], []
    for number, name in enumerate(LISTS):
        judged = np.isfinite(old[number])
        if judged.sum() >= LEAST_JUDGED:
            parts = [part[number][judged] for part in (old, new, weights, whole)]
            told, figured = _judged(name, found.day, known_day, found.asked[judged], parts)
            reasons += told
            figures.append(figured)
    notes = () if is_older else ("the live version knows the window: only the new one is checked",)
    return Ruling(not reasons, False, tuple(reasons), notes, tuple(figures))


def _judged(
    name: str, day: int, known_day: int, who: NDArray[np.int64], parts: Sequence[Rows]
) -> tuple[list[str], dict[str, Any]]:
    """Of one list, what speaks against the new version, and the figure."""
    old, new, weights, whole = parts
    verdict = judge([Contest(day, known_day, who, old, new)], must_win=False)
    reasons = [f"{name}: {reason}" for reason in verdict.reasons]
    missed = _missed(weights, old) or max(_missed(whole, old) - WHOLE_SLACK, 0.0)
    if missed:
        gap = max(_missed(weights, old), _missed(whole, old))
        reasons.append(f"{name}: misses {gap:.0%} more in the last window, which it knows")
    return reasons, figure(f"{name}: 1 - NDCG@{LENGTH}", [day], len(old), verdict)


def _missed(itself: Rows, old: Rows) -> float:
    """How much more the new version misses, as a share of what the live one does; 0 = not clear."""
    if not worse_than_before(itself, old):
        return 0.0
    return float(itself.mean() / max(old.mean(), 1e-9) - 1)


def question(evidence: Evidence) -> Question | None:
    """The last window of the evidence; None where it tells nothing."""
    day = evidence.today - WINDOW_DAYS
    services, items = ServiceItems(evidence.rules.service_items), ItemTable()
    views = evidence.views(day)
    past = triplets(views, items, evidence.calendar, services)
    later = triplets(evidence.views(evidence.today), items, evidence.calendar, services)
    bought = (later.weight >= 1) & (later.day >= day)
    before = past.weight >= 1
    who = np.intersect1d(later.customer[bought], past.customer[before])
    if len(who) < LEAST_JUDGED:
        return None
    if len(who) > MOST_JUDGED:
        rng = np.random.default_rng(evidence.seed)
        who = np.sort(rng.choice(who, MOST_JUDGED, replace=False))
    return Question(
        past,
        items,
        len(views),
        day,
        who,
        [set(later.item[bought & (later.customer == one)].tolist()) for one in who],
        [set(past.item[before & (past.customer == one)].tolist()) for one in who],
    )


def losses(evidence: Evidence, model: Recommender, asked: Question) -> tuple[Rows, Rows]:
    """1 - NDCG@10 of each customer in both lists; NaN for who bought nothing that belongs there."""
    lists = ranked(
        model, asked.past, asked.items, asked.customers, asked.asked, asked.day,
        _content(evidence, model.items),
    )  # fmt: skip
    found = np.full((len(LISTS), len(asked.asked)), np.nan)
    for row, (again, new) in enumerate(lists):
        truth, own = asked.truth[row], asked.own[row]
        for number, (best, wanted) in enumerate(((again, truth & own), (new, truth - own))):
            if wanted:
                found[number, row] = 1.0 - _ndcg(best, wanted)
    return found[0], found[1]


def ranked(
    model: Recommender,
    past: Interactions,
    items: ItemTable,
    customers: int,
    asked: NDArray[np.integer],
    day: int,
    content: Content = NO_CONTENT,
) -> list[tuple[list[int], list[int]]]:
    """Both lists of some customers as they would be when a day begins, as columns of `items`.

    Neighbors are found among the customers of `past`; what the model does not know is not listed.
    """
    place = np.array([model.column.get(one, -1) for one in items.ids], dtype=np.int64)
    known = place[past.item] >= 0
    seen = Interactions._make(part[known] for part in past)
    seen = seen._replace(item=place[seen.item])
    back = np.array([_column(items, one) for one in model.items], dtype=np.int64)
    lists = []
    for found in candidates(model, seen, customers, asked, day, content):
        both = []
        weights = (model.weights.buy_again, model.weights.new_for_you)
        for weight, chosen in zip(weights, (found.bought, ~found.bought), strict=True):
            utility = expanded(found.features[chosen]) @ weight
            best = np.argsort(-utility, kind="stable")[:LENGTH]
            both.append(back[found.columns[chosen][best]].tolist())
        lists.append((both[0], both[1]))
    return lists


def _column(items: ItemTable, item: str) -> int:
    column = items.column(item)
    return -1 if column is None else column


def _ndcg(best: list[int], wanted: set[int]) -> float:
    hit = np.array([column in wanted for column in best], dtype=np.float64)
    return float(hit @ _DISCOUNT[: len(hit)] / _DISCOUNT[: min(len(wanted), LENGTH)].sum())


def _content(evidence: Evidence, items: Sequence[str]) -> Content:
    texts = [text_of(evidence.catalog.get(item)) for item in items]
    return fit_content(texts) if any(texts) else NO_CONTENT

"""Fit a recommender: what sells and repeats, and weights from the last closed window."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.recommend.choosing import MOST_ASKED, Trial, choose_params
from models.recommend.content import NO_CONTENT, Content
from models.recommend.cooccurrence import Companions, fit_companions
from models.recommend.customer_rows import Decay, rows_of
from models.recommend.hybrid import Candidates, Collector, Liked, Shop, expanded
from models.recommend.interactions import (
    Interactions,
    ItemTable,
    inverse_document_frequency,
)
from models.recommend.model import HALF_LIFE_DAYS, K_NEIGHBORS, Params, Recommender, Weights
from models.recommend.neighbors import NeighborIndex
from models.recommend.repeats import OwnItems, fit_habits, own_items
from models.recommend.similarity import Similarity
from models.recommend.tuning import Choices, choices_of, learn_weights

Floats: TypeAlias = NDArray[np.float64]

WINDOW_DAYS = 30
MOST_JUDGED = 1_000  # customers that weights are learned from
_LEAST_JUDGED = 20
_HALF_WEEK = 3  # days from the middle of a week to its last day
_NO_INPUTS = np.zeros((0, 0))  # of who teaches nothing
_WINDOWS_OF_PAST = 2  # the past before a window is at least so many windows long


class Window(NamedTuple):
    """A closed window: what was known before it, and what was bought in it.

    past      interactions before the window
    today     its first day
    customer  (t,) of each purchase within it
    item      (t,)
    """

    past: Interactions
    today: int
    customer: NDArray[np.integer]
    item: NDArray[np.integer]


def fit_statistics(
    interactions: Interactions,
    items: Sequence[str],
    customers: int,
    *,
    as_of_day: int,
    half_life_days: float = HALF_LIFE_DAYS,
    k_neighbors: int = K_NEIGHBORS,
    similarity: Similarity = Similarity.COSINE,
) -> Recommender:
    """Fit everything but the weights on interactions up to `as_of_day`, which becomes t0.

    interactions  e events; columns index `items`, customers count from 0
    items         m distinct ids
    customers     number of customers, also those without an event
    Raises        ShapeError, DomainError

    >>> zero, days = np.zeros(2, dtype=np.int64), np.array([86, 100])
    >>> events = Interactions(np.arange(2), zero, days, np.ones(2))
    >>> shop = fit_statistics(events, ["tea", "cup"], 2, as_of_day=100)
    >>> shop.buyers, shop.idf.round(3)
    (array([2, 0], dtype=int32), array([1.   , 2.099]))
    """
    past = _some(interactions, interactions.day <= as_of_day)
    decay = Decay(as_of_day, half_life_days)
    rows = rows_of(past, customers, len(items), decay)
    bought = rows_of(_some(past, past.weight >= 1), customers, len(items), decay)
    return Recommender(
        half_life_days=half_life_days,
        t0_day=as_of_day,
        items=tuple(items),
        idf=inverse_document_frequency(rows.weights),
        habits=fit_habits(past, len(items)),
        companions=fit_companions(bought.weights),
        buyers=np.bincount(bought.weights.indices, minlength=len(items)).astype(np.int32),
        k_neighbors=k_neighbors,
        similarity=similarity,
    )


class Learned(NamedTuple):
    """How the weights came about.

    choices  what customers could choose from and chose, a part for each list
    params   the settings that were taken
    trials   all that were tried
    """

    choices: tuple[Choices, Choices, Choices]
    params: Params
    trials: Sequence[Trial]


def fit_recommender(
    interactions: Interactions,
    items: Sequence[str],
    customers: int,
    *,
    as_of_day: int,
    content: Content = NO_CONTENT,
    params: Params = Params(),  # noqa: B008  immutable
    similarity: Similarity = Similarity.COSINE,
    search: bool = False,
    rng: np.random.Generator,
    told: Callable[[Learned], None] = lambda _: None,
) -> Recommender:
    """Fit on everything up to `as_of_day`, with weights learned from the days before it.

    content  of the items, in their sequence
    params   settings of the fit
    search   whether the last closed window may choose others
    rng      picks the customers that weights are learned from, where there are very many
    told     is called with how the weights came about
    Raises   ShapeError, DomainError
    """
    half_life, k = params.half_life_days, params.k_neighbors
    fitted = fit_statistics(
        interactions, items, customers, as_of_day=as_of_day, half_life_days=half_life,
        k_neighbors=k, similarity=similarity,
    )  # fmt: skip
    window = last_window(interactions, as_of_day)
    if window is None:
        return fitted
    before = fit_statistics(
        window.past, items, customers, as_of_day=window.today - 1, half_life_days=half_life,
        k_neighbors=k, similarity=similarity,
    )  # fmt: skip
    judged = np.unique(window.customer)
    if len(judged) > MOST_JUDGED:
        judged = np.sort(rng.choice(judged, MOST_JUDGED, replace=False))

    def lists_of(tried: Params, asked: NDArray[np.integer]) -> tuple[Choices, Choices, Choices]:
        model = _with(before, tried)
        return choices(model, window, customers, asked, content)

    trials: list[Trial] = []
    if search:
        asked = judged[:: -(-len(judged) // MOST_ASKED)]
        params, trials = choose_params(lambda tried: lists_of(tried, asked)[1:], len(asked), params)
    found = lists_of(params, judged)
    told(Learned(found, params, trials))
    weights = [
        learn_weights(part, start, ridge=params.ridge)
        for part, start in zip(found, fitted.weights, strict=True)
    ]
    return replace(_with(fitted, params), weights=Weights(*weights))


def _with(recommender: Recommender, params: Params) -> Recommender:
    """Under other settings: nothing else that is fitted depends on them."""
    return replace(recommender, **params._asdict())


def last_window(interactions: Interactions, as_of_day: int) -> Window | None:
    """The last days as a window, shorter for a young shop; None where it would tell nothing."""
    bought = (interactions.weight >= 1) & (interactions.day <= as_of_day)
    if not bought.any():
        return None
    span = as_of_day - int(interactions.day[bought].min()) + 1
    days = min(WINDOW_DAYS, span // (_WINDOWS_OF_PAST + 1))
    if days < 1:
        return None
    today = as_of_day + 1 - days
    inside = bought & (interactions.day >= today)
    known = np.unique(interactions.customer[bought & (interactions.day < today)])
    inside &= np.isin(interactions.customer, known)
    if len(np.unique(interactions.customer[inside])) < _LEAST_JUDGED:
        return None
    past = _before(interactions, today)
    return Window(past, today, interactions.customer[inside], interactions.item[inside])


def _before(interactions: Interactions, day: int) -> Interactions:
    """What was known before a day. Signals are told by the middle of their week: of one that
    reaches the day nobody can say whether it came before.
    """
    past = interactions.day < day
    known = (interactions.weight >= 1) | (interactions.day + _HALF_WEEK < day)
    return _some(interactions, past & known)


def _some(interactions: Interactions, chosen: NDArray[np.bool_]) -> Interactions:
    return Interactions._make(part[chosen] for part in interactions)


def choices(
    recommender: Recommender,
    window: Window,
    customers: int,
    judged: NDArray[np.integer],
    content: Content = NO_CONTENT,
    *,
    power: float = 1.0,
) -> tuple[Choices, Choices, Choices]:
    """What each judged customer could choose from when the window began, and chose; a list each."""
    order = np.argsort(window.customer, kind="stable")
    who, what = window.customer[order], window.item[order]
    parts: tuple[list[tuple[Floats, NDArray[np.bool_]]], ...] = ([], [], [])
    for customer, found in zip(
        judged.tolist(),
        candidates(recommender, window.past, customers, judged, window.today, content, power=power),
        strict=True,
    ):
        start, end = np.searchsorted(who, [customer, customer + 1])
        bought = np.isin(found.columns, what[start:end])
        every = np.ones(len(bought), dtype=np.bool_)
        for part, chosen in zip(parts, (every, found.bought, ~found.bought), strict=True):
            useful = bought[chosen].any()
            inputs = expanded(found.features[chosen]) if useful else _NO_INPUTS
            part.append((inputs, bought[chosen]))
    again = [choices_of(part) for part in parts]
    return again[0], again[1], again[2]


def candidates(
    recommender: Recommender,
    past: Interactions,
    customers: int,
    asked: NDArray[np.integer],
    today: int,
    content: Content = NO_CONTENT,
    *,
    power: float = 1.0,
) -> Iterator[Candidates]:
    """Collect the candidates of some customers as they would have been at the start of a day."""
    m = len(recommender.items)
    index = _index(recommender, past, customers)
    shop = Shop(index.popularity, index.companions, recommender.habits, content)
    collector = Collector(shop, m)
    for customer, own in zip(
        asked.tolist(),
        _own_of(past, asked, recommender.half_life_days),
        strict=True,
    ):
        (near,) = index.near([_name(customer)], recommender.k_neighbors)
        liked = Liked(*index.liked(near, power=power))
        yield collector.collect(own, liked, today)


def _own_of(
    past: Interactions, asked: NDArray[np.integer], half_life_days: float
) -> Iterator[OwnItems]:
    order = np.argsort(past.customer, kind="stable")
    customer = past.customer[order]
    starts, ends = np.searchsorted(customer, asked), np.searchsorted(customer, asked, "right")
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        span = order[start:end]
        yield own_items(
            past.item[span], past.day[span], past.weight[span], half_life_days=half_life_days
        )


def _index(recommender: Recommender, past: Interactions, customers: int) -> NeighborIndex:
    decay, items = recommender.decay, len(recommender.items)
    rows = rows_of(past, customers, items, decay)
    names = [_name(customer) for customer in range(customers)]
    index = NeighborIndex.build(
        names, ItemTable(recommender.items), rows.weights, recommender.idf,
        bought=rows.bought, decay=decay,
    )  # fmt: skip
    index.companions = Companions(recommender.companions, recommender.buyers)
    index.similarity = recommender.similarity
    return index


def _name(customer: int) -> str:
    return f"{customer:09d}"

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.checks import DomainError, ShapeError
from models.recommend.interactions import Interactions
from models.recommend.recommender import (
    Blend,
    OwnItems,
    Recommender,
    Weights,
    fit_recommender,
    recommend,
)

ITEMS = ("tea", "cup", "pot", "jam", "honey")
SHOP = Recommender(90.0, 0, ITEMS, np.ones(5), np.array([5.0, 4.0, 3.0, 2.0, 0.0]))
NOBODY = csr_array((0, 5), dtype=np.float64)
NOTHING = OwnItems(np.zeros(0, int), np.zeros(0), np.zeros(0, int), np.zeros(0, int))


def own(**items):
    """Own items by name: (weight, purchase days, last day)."""
    weight, days, last = np.array(list(items.values()), dtype=float).T
    columns = np.array([ITEMS.index(name) for name in items])
    return OwnItems(columns, weight, days.astype(int), last.astype(int))


def ids(suggestions):
    return [suggestion.item_id for suggestion in suggestions]


def test_a_cold_start_is_what_is_popular():
    found = recommend(SHOP, ITEMS, NOTHING, NOBODY, np.zeros(0), 100)
    assert found.buy_again == []
    assert ids(found.new_for_you) == ["tea", "cup", "pot", "jam"]
    assert found.new_for_you[0].score == round(0.7 / 1.7, 6)
    assert {suggestion.reason for suggestion in found.new_for_you} == {"popular this month"}


def test_bought_items_are_only_in_buy_again_and_looked_at_items_only_in_new_for_you():
    mine = own(jam=(2.0, 3, 95), tea=(1.0, 1, 100), cup=(5.0, 0, 0))
    found = recommend(SHOP, ITEMS, mine, NOBODY, np.zeros(0), 100)
    assert [(s.item_id, s.reason) for s in found.buy_again] == [
        ("jam", "you bought it 3 times, last 5 days ago"),
        ("tea", "you bought it today"),
    ]
    assert ids(found.new_for_you) == ["cup", "pot"]


def test_similar_customers_bring_what_they_have_in_proportion_to_their_similarity():
    rows = csr_array(np.array([[0, 0, 0, 0, 4.0], [0, 0, 3.0, 0, 0], [0, 0, 0, 0, 1.0]]))
    found = recommend(SHOP, ITEMS, own(tea=(1, 1, 9)), rows, np.array([0.9, 0.4, 0.1]), 10)
    honey, pot = found.new_for_you[:2]
    assert (pot.item_id, pot.reason) == ("pot", "popular this month")
    assert (honey.item_id, honey.reason) == ("honey", "chosen by 2 customers like you")
    assert honey.score == round(1.0 / 1.7, 6)
    assert pot.score == round((0.4 / 1.0 + 0.7 * 3 / 4) / 1.7, 6)


def test_the_blend_equals_a_dense_computation():
    rng = np.random.default_rng(3)
    m, names = 60, tuple(f"i{j:02d}" for j in rng.permutation(60))
    shop = Recommender(90.0, 0, names, np.ones(m), rng.integers(0, 9, m).astype(float))
    for _ in range(40):
        columns = rng.permutation(m)[: rng.integers(0, 12)]
        mine = OwnItems(
            columns, rng.random(len(columns)), rng.integers(0, 3, len(columns)), 0 * columns
        )
        dense = rng.random((5, m)) * (rng.random((5, m)) < 0.15)
        similarity = rng.random(5)
        found = recommend(shop, names, mine, csr_array(dense), similarity, 10, count=7)
        norm = np.maximum(np.linalg.norm(dense, axis=1), 1e-300)
        neighbors = (similarity / norm) @ dense
        weight, bought = np.zeros(m), np.zeros(m, bool)
        weight[columns], bought[columns] = mine.weights, mine.purchase_days > 0
        for listed, mask, blend in (
            (found.buy_again, bought, shop.weights.buy_again),
            (found.new_for_you, ~bought, shop.weights.new_for_you),
        ):
            score = np.zeros(m)
            for member, share in zip((weight, neighbors, shop.popularity), blend, strict=True):
                most = member[mask].max(initial=0.0)
                score += share * member / (most or 1.0)
            score = np.where(mask, score / sum(blend), 0.0).round(6)
            order = sorted(range(m), key=lambda j: (-score[j], names[j]))
            expected = [(names[j], score[j]) for j in order[:7] if score[j] > 0]
            assert [(s.item_id, pytest.approx(s.score)) for s in listed] == expected


def test_who_has_all_that_is_popular_is_shown_what_comes_next():
    mine = own(tea=(1, 1, 9), cup=(1, 1, 9))
    assert ids(recommend(SHOP, ITEMS, mine, NOBODY, np.zeros(0), 9, count=2).new_for_you) == [
        "pot",
        "jam",
    ]


def test_items_newer_than_the_recommender_can_come_from_neighbors():
    names = [*ITEMS, "new"]
    rows = csr_array(np.array([[0, 0, 0, 0, 0, 1.0]]))
    found = recommend(SHOP, names, NOTHING, rows, np.ones(1), 10)
    assert found.new_for_you[0].item_id == "new"
    assert found.new_for_you[0].reason == "chosen by 1 customer like you"


def test_fitting_counts_nothing_after_the_day():
    events = Interactions(np.array([0, 1]), np.array([0, 1]), np.array([100, 101]), np.ones(2))
    shop = fit_recommender(events, ["a", "b"], 2, as_of_day=100)
    assert shop.popularity.tolist() == [1.0, 0.0]
    assert shop.idf[1] > shop.idf[0]
    assert shop.t0_day == 100


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ShapeError):
        recommend(SHOP, ITEMS[:3], NOTHING, NOBODY, np.zeros(0), 1)
    with pytest.raises(ShapeError):
        recommend(SHOP, ITEMS, NOTHING, NOBODY, np.zeros(1), 1)
    with pytest.raises(DomainError):
        recommend(SHOP, ITEMS, OwnItems(*np.zeros((4, 2), int)), NOBODY, np.zeros(0), 1)
    with pytest.raises(DomainError, match="weight > 0"):
        Recommender(90.0, 0, (), np.zeros(0), np.zeros(0), Weights(Blend(0, 0, 0)))

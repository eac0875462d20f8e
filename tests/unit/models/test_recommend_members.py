"""Each member of the blend against an example computed by hand."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.checks import DomainError, ShapeError
from models.recommend.candidate_kernels import CONTENT
from models.recommend.content import fit_content
from models.recommend.cooccurrence import Companions, fit_companions
from models.recommend.customer_rows import Decay, Row, rows_of
from models.recommend.evaluate import bootstrap_mean, coverage, quality, top_items
from models.recommend.hybrid import Collector, Liked, Shop
from models.recommend.interactions import Interactions
from models.recommend.links import no_links
from models.recommend.popularity import Popularity
from models.recommend.repeat_kernels import usual_days
from models.recommend.repeats import (
    RepeatHabits,
    due_items,
    fit_habits,
    own_items,
    repeat_features,
)
from models.recommend.seeds import mean_of_similar_users, similarities
from models.recommend.tuning import choices_of, learn_weights

NOBODY = Liked(np.zeros(0, int), np.zeros(0), np.zeros(0, int))


def events(*rows):
    customer, item, day = np.array(rows).T
    return Interactions(customer, item, day, np.ones(len(rows)))


def test_own_repeats():
    """Item 0 on days 10 and 100; item 1 on day 40: two purchase days came after the first."""
    own = own_items(np.array([0, 1, 0]), np.array([100, 40, 10]), np.ones(3), half_life_days=90.0)
    assert own.times.tolist() == [2, 1]
    np.testing.assert_allclose(own.weight, [1 + 2**-1, 2 ** (-60 / 90)])
    np.testing.assert_allclose(own.fast, [1 + 0.85**2, 0.85])
    habits = RepeatHabits(np.array([0.4, 0.2]), np.array([30.0, 30.0]), 0.3, 25.0)
    said = repeat_features(own, habits, 110)
    np.testing.assert_allclose(said[:, 3], [1.0, 2 ** (-60 / 60)])
    np.testing.assert_allclose(said[:, 4], [0.4, 0.2])
    np.testing.assert_allclose(said[:, 6], [2 / (100 + 30), 1 / (70 + 30)])


def test_the_interval_is_drawn_from_the_item_to_the_customer():
    """One own gap of 90 days beside two of the item's 30: (90 + 60) / 3 = 50 days; due at 10."""
    own = own_items(np.zeros(2, int), np.array([10, 100]), np.ones(2), half_life_days=90.0)
    habits = RepeatHabits(np.array([0.4]), np.array([30.0]), 0.3, 25.0)
    assert usual_days(2, 10, 100, 30.0) == 50.0
    assert [bool(due_items(own, habits, today)[0]) for today in (109, 110)] == [False, True]


def test_an_item_later_than_the_fit_has_the_shops_interval():
    own = own_items(np.array([7]), np.array([100]), np.ones(1), half_life_days=90.0)
    habits = RepeatHabits(np.zeros(0), np.zeros(0), 0.3, 25.0)
    assert [bool(due_items(own, habits, today)[0]) for today in (104, 105)] == [False, True]


def test_habits_of_a_shop():
    """Item 0: gaps 10 and 20 (median 15), 2 of 4 purchases repeat. Item 1: bought once."""
    habits = fit_habits(events((0, 0, 1), (0, 0, 11), (0, 0, 31), (1, 0, 5), (1, 1, 5)), 2)
    assert habits.gap_days.tolist() == [15.0, 15.0]
    assert habits.shop_repeat == pytest.approx(2 / 5)
    np.testing.assert_allclose(habits.repeat_share, [(2 + 4) / 14, (0 + 4) / 11])


def test_trends():
    """Bought on days 93 and 100: one customer, 1 + 2 ** (-7 / 60) as of the last; first on 93."""
    rows = rows_of(events((0, 0, 93), (0, 0, 100)), 1, 2, Decay(80, 60.0))
    sold = Popularity(2, Decay(80, 60.0))
    sold.count(Row(rows.weights.indices, rows.weights.data, *rows.bought))
    sold.look(107)
    bought = 1 + 2 ** (-7 / 60)
    expected = [bought / 2, np.log1p(bought * 2**-0.5), bought * 2 ** (-7 / 60), 2 ** (-14 / 30)]
    np.testing.assert_allclose(sold.trends, [expected, [0.0] * 4])
    assert sold.buyers.tolist() == [1, 0]


def test_co_occurrence():
    """Holders of 0: {a, b}; of 1: {a}; of 2: {a, b, c}: cosines 1/sqrt(2), 2/sqrt(6), 1/sqrt(3)."""
    links = fit_companions(csr_array(np.array([[1.0, 1, 1], [3.0, 0, 1], [0, 0, 1.0]])))
    found = {
        row: dict(
            zip(
                links.columns[links.starts[row] : links.starts[row + 1]].tolist(),
                links.scores[links.starts[row] : links.starts[row + 1]].round(4).tolist(),
                strict=True,
            )
        )
        for row in range(3)
    }
    assert found[0] == {2: round(2 / 6**0.5, 4), 1: round(1 / 2**0.5, 4)}
    assert found[1] == {0: round(1 / 2**0.5, 4), 2: round(1 / 3**0.5, 4)}
    assert fit_companions(csr_array(np.eye(3)), 1).columns.tolist() == []


def test_co_occurrence_keeps_the_best_k():
    rng = np.random.default_rng(2)
    held = (rng.random((80, 30)) < 0.3).astype(float)
    norm = np.sqrt(held.sum(axis=0))
    cosine = held.T @ held / np.outer(norm, norm)
    np.fill_diagonal(cosine, 0.0)
    links = fit_companions(csr_array(held), 5)
    for row in range(30):
        span = slice(links.starts[row], links.starts[row + 1])
        expected = sorted(range(30), key=lambda j: (-cosine[row, j].round(9), j))[:5]
        np.testing.assert_allclose(links.scores[span], np.sort(cosine[row])[::-1][:5])
        assert len(set(links.columns[span].tolist()) ^ set(expected)) <= 2, "ties apart"


def test_content_is_the_cosine_of_profile_and_item():
    texts = ["green tea", "green cup", "black tea", "pot"]
    content = fit_content(texts)
    shop = Shop(
        Popularity.of(np.zeros((4, 4))),
        Companions(no_links(4), np.zeros(4, dtype=np.int32)),
        RepeatHabits(np.full(4, 0.5), np.full(4, 30.0), 0.5, 30.0),
        content,
    )
    own = own_items(np.array([0]), np.array([10]), np.ones(1), half_life_days=60.0)
    found = Collector(shop, 4).collect(own, NOBODY, 40)
    said = dict(zip(found.columns.tolist(), found.features[:, CONTENT].tolist(), strict=True))
    # "green" and "tea" are in two texts each and weigh alike; "cup", "black" and "pot" are in one
    assert said == {
        0: pytest.approx(1.0),
        1: pytest.approx(1 / 2**0.5),
        2: pytest.approx(1 / 2**0.5),
    }


def test_the_seeds_methods():
    rows = csr_array(np.array([[2.0, 0, 0, 1], [4.0, 0, 0, 2], [0, 3.0, 0, 0], [2.0, 0, 1, 1]]))
    dense = rows.toarray()
    asked = np.arange(4)
    np.testing.assert_allclose(similarities(rows, asked, "pearson"), np.corrcoef(dense))
    apart = np.linalg.norm(dense[:, None] - dense[None], axis=2)
    np.testing.assert_allclose(similarities(rows, asked, "euclidean"), 1 / (1 + apart))
    assert mean_of_similar_users(rows, np.array([0]), 2)[0].tolist() == [3.0, 0.0, 0.5, 1.5]
    with pytest.raises(DomainError):
        similarities(rows, asked, "jaccard")


def test_weights_are_where_the_likelihood_is_highest():
    rng = np.random.default_rng(1)
    truth = np.array([2.0, -1.0])
    parts = []
    for _ in range(600):
        inputs = rng.random((12, 2))
        odds = np.exp(inputs @ truth)
        chosen = rng.choice(12, p=odds / odds.sum())
        parts.append((inputs, np.arange(12) == chosen))
    choices = choices_of([*parts, (np.ones((3, 2)), np.zeros(3, dtype=bool))])
    assert len(choices.starts) == 600, "who bought none of the candidates teaches nothing"
    found = learn_weights(choices, np.zeros(2), ridge=1e-5)
    np.testing.assert_allclose(found, truth, atol=0.45)
    few = choices_of(parts[:2])
    assert abs(learn_weights(few, np.zeros(2), ridge=0.1)).max() < 0.2, "few stay near the start"
    with pytest.raises(ShapeError):
        learn_weights(choices, np.zeros(3))


def test_measures_by_hand():
    best = np.array([[2, 0, 1], [0, -1, -1], [1, 2, 0]])
    truth = csr_array(np.array([[1.0, 0, 0], [0, 0, 0], [0, 1.0, 1.0]]))
    found = quality(best, truth)
    np.testing.assert_allclose(found.ndcg, [1 / np.log2(3), 1.0])
    np.testing.assert_allclose(found.recall, [1.0, 1.0])
    np.testing.assert_allclose(found.average_precision, [0.5, 1.0])
    assert coverage(best, 6) == 0.5
    assert top_items(np.array([[0.0, 2.0, 1.0]]), 2).tolist() == [[1, 2]]
    low, high = bootstrap_mean(np.arange(100.0), np.random.default_rng(0))
    assert 40 < low < 49.5 < high < 60

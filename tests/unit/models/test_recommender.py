from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.checks import DomainError, ShapeError
from models.recommend.content import NO_CONTENT, fit_content
from models.recommend.cooccurrence import Companions
from models.recommend.customer_rows import Decay, row_of
from models.recommend.filters import Attributes, Rules, allowed_items, within_share
from models.recommend.fitting import fit_recommender, last_window
from models.recommend.hybrid import FEATURES, MEMBERS, Collector, Shop, expanded
from models.recommend.interactions import Interactions, ItemTable
from models.recommend.links import Links
from models.recommend.model import Weights
from models.recommend.neighbors import NeighborIndex
from models.recommend.popularity import Popularity
from models.recommend.recommender import (
    Asked,
    Liked,
    Recommender,
    empty_recommender,
    own_items,
    recommend,
)

ITEMS = ("tea", "cup", "pot", "jam", "honey")
SOLD = np.array([5.0, 4.0, 3.0, 2.0, 0.0])
SHOP = empty_recommender(ITEMS)
TRENDS = np.column_stack([SOLD, np.log1p(SOLD), SOLD, SOLD])
NOBODY = Liked(np.zeros(0, int), np.zeros(0), np.zeros(0, int))
NOTHING_HIDDEN = np.zeros(0, int)
TODAY = 100


def own(shop: Recommender = SHOP, /, **items):
    """Own items by name: days of purchase, or -day where the customer only looked."""
    columns = [ITEMS.index(name) for name, days in items.items() for _ in days]
    days = np.array([day for days in items.values() for day in days], dtype=int)
    weights = np.where(days < 0, 0.1, 1.0)
    return own_items(
        np.array(columns, dtype=int), abs(days), weights, half_life_days=shop.half_life_days
    )


def asked(mine=None, liked=NOBODY, *, today=TODAY, hidden=NOTHING_HIDDEN, **more):
    return Asked("c-1", own() if mine is None else mine, liked, today, hidden, **more)


def shared(shop, trends=TRENDS, content=NO_CONTENT):
    companions = Companions(shop.companions, shop.buyers)
    return Shop(Popularity.of(trends), companions, shop.habits, content)


def lists(
    one, shop=SHOP, *, trends=TRENDS, allowed=None, content=NO_CONTENT, names=ITEMS, **options
):
    about = shared(shop, trends, content)
    return recommend(shop, Collector(about, len(names), allowed), names, one, **options)


def ids(suggestions):
    return [suggestion.item_id for suggestion in suggestions]


def only(member, weight=1.0):
    """Weights of a blend that listens to one feature alone."""
    weights = np.zeros(2 * len(FEATURES))
    weights[[name for name, _ in FEATURES].index(member)] = weight
    return replace(SHOP, weights=Weights(weights, weights, weights))


def test_without_any_event_the_popular_is_recommended():
    found = lists(asked())
    assert found.buy_again == []
    assert ids(found.new_for_you) == ["tea", "cup", "pot", "jam"]
    assert found.new_for_you[0].score == 1.0
    assert {one.reason for one in found.new_for_you} == {"popular this month"}


def test_without_any_event_the_segment_stands_in_for_similar_customers():
    favorites = Liked(np.array([4]), np.array([9.0]), np.array([1]))
    first = lists(asked(liked=favorites, segment="Champions")).new_for_you[0]
    assert (first.item_id, first.reason) == ("honey", "popular among Champions")


def test_bought_items_are_only_in_buy_again_and_looked_at_items_only_in_new_for_you():
    found = lists(asked(own(jam=[10, 50, 80], tea=[60], cup=[-95])))
    assert {one.item_id: one.reason for one in found.buy_again} == {
        "jam": "you buy it every 35 days",
        "tea": "you bought it 40 days ago",
    }
    assert found.new_for_you[0].item_id == "cup"
    assert found.new_for_you[0].reason == "you looked at it"
    assert not set(ids(found.new_for_you)) & {"jam", "tea"}


def test_what_was_just_bought_is_not_to_be_bought_again_before_its_time():
    mine = own(jam=[10, 40, 70, 99], tea=[20, 60])
    assert ids(lists(asked(mine)).buy_again) == ["tea"]
    assert set(ids(lists(asked(mine, today=112)).buy_again)) == {"tea", "jam"}


def test_similar_customers_speak_in_proportion_to_their_score():
    liked = Liked(np.array([4, 2]), np.array([0.9, 0.3]), np.array([14, 1]))
    honey, pot = lists(asked(own(tea=[1, 2, 3, 4]), liked), only("similar")).new_for_you[:2]
    assert honey.parts == (("similar", 1.0),)
    assert pot.parts == (("similar", pytest.approx(0.3333)),)
    assert honey.reason == "bought by 14 customers like you"
    assert pot.reason == "bought by 1 customer like you"
    assert pot.score == pytest.approx(np.exp(-2 / 3))


def test_items_that_go_together_speak_by_the_sum_of_their_cosines():
    shop = only("together")
    links = Links(
        np.array([0, 1, 3, 3, 3, 3]), np.array([3, 3, 4], np.int32), np.array([0.5, 0.25, 0.3])
    )
    found = lists(asked(own(tea=[1, 2], cup=[1, 2])), replace(shop, companions=links)).new_for_you
    assert found[0].item_id == "jam"
    assert found[0].reason == "goes well with what you bought"
    assert dict(found[1].parts)["together"] == pytest.approx(0.3 / 0.75, abs=1e-4)


def test_content_finds_an_item_that_nobody_has_bought():
    texts = ["green tea box", "blue cup", "red pot", "blue jam", "green tea tin"]
    found = lists(asked(own(tea=[50])), only("content"), content=fit_content(texts))
    assert found.new_for_you[0].item_id == "honey"
    assert found.new_for_you[0].reason == "like what you bought"


def test_after_few_events_only_content_and_popularity_speak():
    liked = Liked(np.array([3]), np.array([1.0]), np.array([5]))
    content = fit_content(["green tea", "cup", "pot", "jam", "green honey"])
    few = lists(asked(own(tea=[1]), liked), content=content).new_for_you
    many = lists(asked(own(tea=[1, 2, 3, 4]), liked), content=content).new_for_you
    assert all("similar" not in dict(one.parts) for one in few)
    assert any("similar" in dict(one.parts) for one in many)


def test_an_order_is_one_event_and_every_week_of_looks_is_one():
    order = own(tea=[9], cup=[9], pot=[9], jam=[9])
    assert order.events == 1
    assert own(tea=[-3, -10, -17, -24, -31]).events == 5
    assert own(tea=[9, 12], cup=[-11]).events == 3


def test_the_parts_of_an_item_add_up_to_its_place():
    liked = Liked(np.array([4, 2]), np.array([0.9, 0.3]), np.array([14, 1]))
    found = lists(asked(own(tea=[1, 50], cup=[-90]), liked)).new_for_you
    total = [sum(value for _, value in one.parts) for one in found]
    assert total == sorted(total, reverse=True)
    for one, utility in zip(found, total, strict=True):
        assert one.score == pytest.approx(np.exp(utility - total[0]), abs=1e-3)
        assert {name for name, _ in one.parts} <= set(MEMBERS)


@pytest.mark.parametrize(
    ("catalog", "rules", "left"),
    [
        ({"tea": Attributes(available=False)}, Rules(), {"cup", "pot", "jam"}),
        ({"tea": Attributes(deleted=True)}, Rules(), {"cup", "pot", "jam"}),
        ({}, Rules(exclude=frozenset({"cup"})), {"tea", "pot", "jam"}),
        ({}, Rules(service_items=("p*",)), {"tea", "cup", "jam"}),
        ({"tea": Attributes(category="Drink/Tea")}, Rules(allow_categories=("drink",)), {"tea"}),
        ({"tea": Attributes(category="Drinks")}, Rules(allow_categories=("drink",)), set()),
        (
            {"tea": Attributes(category="drink/tea")},
            Rules(deny_categories=("drink",)),
            {"cup", "pot", "jam"},
        ),
        (
            {"tea": Attributes(price=100), "cup": Attributes(price=300)},
            Rules(least_price=200),
            {"cup"},
        ),
        (
            {"tea": Attributes(price=100), "cup": Attributes(price=300)},
            Rules(most_price=200),
            {"tea"},
        ),
        (
            {"tea": Attributes(price=100, cost=90), "cup": Attributes(price=100, cost=50)},
            Rules(least_margin=0.3),
            {"cup"},
        ),
    ],
)
def test_filters_decide_before_anything_is_ranked(catalog, rules, left):
    allowed = allowed_items(ITEMS, catalog, rules)
    found = lists(asked(own(honey=[40])), allowed=allowed, rules=rules, count=4)
    assert set(ids(found.new_for_you)) == left, "the places of what is barred are filled by others"


def test_an_item_that_is_deleted_while_it_is_recommended_is_gone_at_once():
    before = lists(asked(own(tea=[50])))
    allowed = allowed_items(ITEMS, {"tea": Attributes(deleted=True)}, Rules())
    assert "tea" in ids(before.buy_again)
    assert ids(lists(asked(own(tea=[50])), allowed=allowed).buy_again) == []


def test_what_rests_is_hidden():
    assert ids(lists(asked(hidden=np.array([0]))).new_for_you) == ["cup", "pot", "jam"]


def test_a_list_holds_no_more_of_a_category_than_is_allowed():
    rules = Rules(most_per_category=1)
    found = lists(asked(), rules=rules, categories=["a", "a", "b", "", ""], count=3)
    assert ids(found.new_for_you) == ["tea", "pot", "jam"]


def test_an_item_goes_to_no_more_than_its_share_of_the_customers():
    rules = Rules(item_share=0.3)
    got = [
        one
        for n in range(300)
        for one in ids(lists(asked()._replace(customer_id=f"c-{n}"), rules=rules).new_for_you)
    ]
    assert 60 <= got.count("tea") <= 120
    assert within_share("c-1", "tea", 1.0)


def test_equal_utilities_are_ranked_by_item_id():
    assert ids(lists(asked(), trends=np.ones((5, 4))).new_for_you) == sorted(ITEMS)


def test_items_newer_than_the_recommender_can_come_from_neighbors():
    names = [*ITEMS, "new"]
    liked = Liked(np.array([5]), np.array([1.0]), np.array([1]))
    assert "new" in ids(lists(asked(own(tea=[1, 2, 3, 4]), liked), names=names).new_for_you)


def test_weights_are_learned_from_the_last_window():
    """Everybody always buys the item of the week; nobody ever repeats one."""
    rng = np.random.default_rng(5)
    customers, weeks = 60, 20
    who = np.repeat(np.arange(customers), weeks)
    week = np.tile(np.arange(weeks), customers)
    item = np.where(rng.random(len(who)) < 0.8, week, rng.integers(0, 30, len(who)))
    events = Interactions(who, item, 7 * week, np.ones(len(who)))
    names = [f"i{j:02d}" for j in range(30)]
    shop = fit_recommender(events, names, customers, as_of_day=7 * weeks - 1, rng=rng)
    week_at = [name for name, _ in FEATURES].index("popular_week")
    assert shop.weights.new_for_you[week_at] > 1.0, "more than the basic weight"


def test_a_shop_of_one_day_keeps_the_basic_weights():
    events = Interactions(np.arange(3), np.zeros(3, int), np.full(3, 10), np.ones(3))
    shop = fit_recommender(events, ["tea"], 3, as_of_day=10, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(shop.weights.new_for_you, SHOP.weights.new_for_you)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ShapeError, match="item ids"):
        lists(asked(), names=ITEMS[:3])
    with pytest.raises(ShapeError):
        replace(SHOP, idf=np.ones(4))
    with pytest.raises(DomainError, match="distinct"):
        replace(SHOP, items=("tea",) * 5)
    with pytest.raises(DomainError, match="k_neighbors"):
        replace(SHOP, k_neighbors=0)
    with pytest.raises(DomainError, match="item_share"):
        Rules(item_share=0.0)
    with pytest.raises(DomainError, match="least_price"):
        Rules(least_price=2, most_price=1)


def test_the_candidates_of_a_heavy_customer_are_bounded():
    many = own_items(
        np.arange(100_000) % 5_000, np.arange(100_000) // 500, np.ones(100_000), half_life_days=60.0
    )
    assert len(many.columns) == 1_000
    names = tuple(f"i{j:04d}" for j in range(5_000))
    shop = empty_recommender(names)
    about = shared(shop, np.zeros((5_000, 4)))
    found = Collector(about, 5_000).collect(many, NOBODY, 201)
    assert len(found.columns) <= 1_000 + 500
    assert np.isfinite(expanded(found.features)).all()


def test_weights_are_learned_without_signals_that_may_be_of_the_window():
    """A week of looks is dated by its middle: one that reaches into the window tells of it."""
    who = np.tile(np.arange(30), 5)
    day = np.repeat([10, 95, 88, 91, 92], 30)  # 95 is the window's first day
    weight = np.repeat([1.0, 1.0, 0.1, 0.1, 0.1], 30)
    window = last_window(Interactions(who, np.zeros(150, int), day, weight), 124)
    assert window.today == 95
    looks = window.past.day[window.past.weight < 1]
    assert sorted(set(looks.tolist())) == [88, 91], "the week of day 92 ends on day 95"


def test_what_rises_after_the_day_began_is_popular_without_a_training():
    index = NeighborIndex.build([], ItemTable(ITEMS), csr_array((0, 5)), decay=Decay(99, 60.0))
    about = Shop(index.popularity, index.companions, SHOP.habits, NO_CONTENT)
    collector = Collector(about, 5)
    assert recommend(SHOP, collector, ITEMS, asked()).new_for_you == []
    index.put("c-2", row_of(np.array([4]), np.array([100]), np.ones(1), Decay(99, 60.0)))
    assert ids(recommend(SHOP, collector, ITEMS, asked()).new_for_you) == ["honey"]
    index.remove("c-2")
    assert recommend(SHOP, collector, ITEMS, asked()).new_for_you == []


def test_only_who_bought_an_item_is_said_to_have_bought_it():
    liked = Liked(np.array([4]), np.array([0.9]), np.array([0]))
    (honey, *_) = lists(asked(own(tea=[1, 2, 3, 4]), liked), only("similar")).new_for_you
    assert honey.reason == "customers like you looked at it"

import pytest

from integrations.inbound.feedback import touches_in
from integrations.inbound.products import product_in, product_of
from integrations.inbound.reading import Reading
from integrations.rejection import RejectionError
from tests.builders import T0, event, track
from worker.attribution import DAY_S, Tally, credit, lift, tallies
from worker.feedback import Holdout, RecId, in_holdout, read_rec_id, rec_id_of, resting
from worker.profile.derive import SignalCount
from worker.store.feedback import Touched

READING = Reading(default_currency="EUR")


def touched(at_s, event, *, clicked=False, item="tea", rec_id="", place=0):
    return Touched("c-1", T0 + at_s, event, clicked, item, rec_id, "new_for_you", place)


def outcomes(touches, bought=()):
    credited = credit(touches, {("c-1", "tea"): [T0 + at for at in bought]})
    return [(one.clicked, one.bought) for one in credited]


def test_the_last_showing_before_a_click_has_it():
    shown = [touched(0, "a"), touched(DAY_S, "b")]
    click = touched(2 * DAY_S, "k", clicked=True)
    assert outcomes([*shown, click]) == [(False, False), (True, False)]


@pytest.mark.parametrize(("days", "counts"), [(7, True), (7.1, False)])
def test_a_click_counts_for_seven_days(days, counts):
    click = touched(int(days * DAY_S), "k", clicked=True)
    assert outcomes([touched(0, "a"), click]) == [(counts, False)]


@pytest.mark.parametrize(("days", "counts"), [(1, True), (1.1, False)])
def test_a_purchase_counts_for_a_day_after_a_view(days, counts):
    assert outcomes([touched(0, "a")], [int(days * DAY_S)]) == [(False, counts)]


@pytest.mark.parametrize(("days", "counts"), [(9, True), (9.1, False)])
def test_a_purchase_counts_for_seven_days_after_a_click(days, counts):
    touches = [touched(0, "a"), touched(2 * DAY_S, "k", clicked=True)]
    assert outcomes(touches, [int(days * DAY_S)]) == [(True, counts)]


def test_one_purchase_is_credited_once_and_none_before_the_showing():
    shown = [touched(0, "a"), touched(60, "b")]
    assert outcomes(shown, [120]) == [(False, False), (False, True)]
    assert outcomes(shown, [-1]) == [(False, False), (False, False)]


def test_a_click_without_a_showing_has_no_credit():
    assert outcomes([touched(5, "k", clicked=True)], [10]) == []


def test_sums_by_list_and_by_member():
    rec_id = rec_id_of(RecId("buy_again", "own", 1, 3), "c-1", "tea")
    credited = credit([touched(0, "a", rec_id=rec_id), touched(0, "b", item="cup")], {})
    found = tallies(credited)
    assert {name: tally.shown for name, tally in found["list"].items()} == {
        "buy_again": 1,
        "new_for_you": 1,
    }
    assert set(found["member"]) == {"own", "not told"}
    assert found["all"]["all"].told()["click_rate"]["rate"] == 0.0
    assert set(found["version"]) == {"3", "not told"}
    assert credited[1].position == 1 or credited[0].position == 1


def test_the_holdout_is_a_share_of_the_customers_that_stays():
    ids = [f"c-{n}" for n in range(4_000)]
    held = {one for one in ids if in_holdout(one, Holdout(0.05, "a"))}
    assert 140 < len(held) < 260
    assert held == {one for one in ids if in_holdout(one, Holdout(0.05, "a"))}
    assert held != {one for one in ids if in_holdout(one, Holdout(0.05, "b"))}


def test_the_difference_to_the_holdout_has_an_interval():
    told = lift(Tally(100, 0, 20), Tally(900, 0, 270))["difference"]
    assert told["rate"] == 0.1
    assert told["low"] < 0.1 < told["high"]
    assert lift(Tally(), Tally(5, 0, 1))["difference"] is None


def test_an_item_shown_five_times_without_a_click_rests_for_two_weeks():
    week, monday = 2_900, 7 * 2_900 - 3
    shown = [SignalCount(week, "R", "tea", 3, 0), SignalCount(week, "R", "tea", 2, 1)]
    days = [day for day in range(monday, monday + 30) if resting(shown, day)]
    assert days == list(range(monday, monday + 15)), "two weeks from Tuesday, whatever today is"
    assert resting(shown[:1], monday) == []
    assert resting([*shown, SignalCount(week, "K", "tea", 1, 2)], monday) == []
    assert resting([SignalCount(week, "R", "tea", 5)], monday + 6 + 13) == ["tea"], "day not told"


def test_a_click_excuses_no_later_showings():
    week, monday = 2_900, 7 * 2_900 - 3
    clicked = [SignalCount(week, "R", "tea", 1, 0), SignalCount(week, "K", "tea", 1, 0)]
    assert resting(clicked, monday) == []
    assert resting([*clicked, SignalCount(week, "R", "tea", 50, 1)], monday + 2) == ["tea"]


def test_the_ids_of_others_tell_nothing():
    assert read_rec_id("abc") is None
    assert read_rec_id("a.b.c.d.e") is None


def test_touches_are_read_from_ids_and_from_objects():
    raw = track(
        "c-1", "Recommendation Shown", "e-1",
        list="buy_again",
        items=["tea", {"item_id": "cup", "rec_id": "r", "position": 2}, {"position": 3}],
    )  # fmt: skip
    found = touches_in(raw, READING)
    assert [(one.item_id, one.list, one.rec_id, one.position) for one in found] == [
        ("tea", "buy_again", "", 0),
        ("cup", "buy_again", "r", 2),
    ]


@pytest.mark.parametrize(
    ("fields", "reason", "path"),
    [
        ({"name": "tea"}, "missing_field", "product_id"),
        ({"product_id": ""}, "missing_field", "product_id"),
        ({"sku": "t", "price": -1}, "negative_amount", "price"),
        ({"sku": "t", "price": "cheap"}, "bad_amount", "price"),
        ({"sku": "t", "available": "perhaps"}, "wrong_type", "available"),
        ({"sku": "t" * 300}, "too_long", ""),
    ],
)
def test_a_product_that_cannot_be_read_is_refused(fields, reason, path):
    with pytest.raises(RejectionError) as caught:
        product_of(fields, "EUR")
    assert (caught.value.rejected.reason, caught.value.rejected.path) == (reason, path)


def test_a_product_event_is_read():
    said = {
        "product_id": 7,
        "name": "Green  tea",
        "category": "Drink > Tea",
        "price": "3.50",
        "currency": "EUR",
        "inventory_quantity": 0,
    }
    raw = event("track", "catalog", "e-1", T0, event="Product Updated", properties=said)
    product = product_in(raw, READING)
    assert product.item_id == "7"
    assert (product.name, product.category) == ("Green tea", "Drink/Tea")
    assert (product.price_minor, product.available) == (350, False)
    assert product_of({"sku": "t", "price": 3, "currency": "USD"}, "EUR").price_minor is None

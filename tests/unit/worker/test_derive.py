"""What the orders of a ledger come to, and what the models see of it."""

import time

import pytest

from models.recommend.customer_rows import Decay, row_of
from models.recommend.interactions import ItemTable
from tests.builders import DAY_S, T0, WEEK_S, facts, folded, order, refund, track, viewed
from worker.profile import codec, derive
from worker.views import MOST_READ, Calendar, histories, interacted, view

FIRST = order("ann", "o1", "e1", T0, revenue="10", items={"tea": 2, "cup": 1})
LATER = T0 + DAY_S


def net(*events, before_s=None):
    """(order id, minor units, pieces by item, cancelled) of each order; order of events is free."""
    found = [derive.orders(folded(facts(events)), before_s)]
    found.append(derive.orders(folded(facts(events[::-1])), before_s))
    assert found[0] == found[1]
    return [
        (one.order_id, one.amount_minor, {i: q // 1000 for i, q in one.lines}, one.cancelled)
        for one in found[0]
    ]


class TestOrders:
    def test_as_it_came(self):
        assert net(FIRST) == [("o1", 1000, {"tea": 2, "cup": 1}, False)]

    def test_a_partial_refund_lowers_money_and_lines(self):
        back = refund("ann", "o1", "e2", LATER, revenue="4", items={"tea": 1})
        assert net(FIRST, back) == [("o1", 600, {"tea": 1, "cup": 1}, False)]

    def test_the_same_refund_sent_under_two_ids_is_one(self):
        twice = [refund("ann", "o1", f"e{n}", LATER, revenue="4") for n in (2, 3)]
        assert net(FIRST, *twice)[0][1] == 600

    def test_two_refunds_at_different_times_are_two(self):
        twice = [refund("ann", "o1", f"e{n}", LATER + n, revenue="4") for n in (2, 3)]
        assert net(FIRST, *twice)[0][1] == 200

    @pytest.mark.parametrize(
        "event",
        [
            refund("ann", "o1", "e2", LATER),
            refund("ann", "o1", "e2", LATER, revenue="10"),
            refund("ann", "o1", "e2", LATER, revenue="99"),
            refund("ann", "o1", "e2", LATER, items={"tea": 2, "cup": 1}),
            order("ann", "o1", "e2", LATER, name="Order Cancelled"),
        ],
        ids=["full", "all money", "more than all", "all lines", "cancelled"],
    )
    def test_a_full_refund_is_a_cancellation(self, event):
        ((_, _, _, cancelled),) = net(FIRST, event)
        assert cancelled

    def test_a_refund_in_another_currency_lowers_no_money(self):
        back = refund("ann", "o1", "e2", LATER, revenue="4", currency="USD")
        assert net(FIRST, back)[0][1] == 1000

    def test_an_order_of_no_value_counts_as_an_order(self):
        assert net(order("ann", "o1", "e1", T0, revenue="0")) == [("o1", 0, {}, False)]

    def test_an_update_restates_the_order_at_the_orders_time(self):
        update = order(
            "ann", "o1", "e2", LATER, name="Order Updated", revenue="7", items={"pot": 1}
        )
        assert net(FIRST, update) == [("o1", 700, {"pot": 1}, False)]
        assert derive.orders(folded(facts([update, FIRST])))[0].at_s == T0

    def test_a_refund_without_its_order_is_none(self):
        assert net(refund("ann", "o1", "e2", LATER, revenue="4")) == []


class TestReturns:
    def test_a_return_is_taken_from_the_newest_earlier_lines(self):
        second = order("ann", "o2", "e2", LATER, revenue="5", items={"tea": 1})
        third = order("ann", "o3", "e3", LATER + 9, revenue="5", items={"tea": 4})
        back = refund("ann", "", "e4", LATER + 5, items={"tea": 2})
        left = {one[0]: (one[2], one[3]) for one in net(FIRST, second, third, back)}
        assert left == {
            "o1": ({"tea": 1, "cup": 1}, False),
            "o2": ({}, True),
            "o3": ({"tea": 4}, False),
        }

    def test_a_return_of_what_was_never_bought_changes_nothing(self):
        back = refund("ann", "", "e4", LATER, items={"pot": 2})
        assert net(FIRST, back) == net(FIRST)


class TestAsOf:
    EVENTS = (
        FIRST,
        order("ann", "o1", "e2", LATER, name="Order Updated", revenue="7"),
        order("ann", "o1", "e3", LATER + 9, name="Order Cancelled"),
    )

    @pytest.mark.parametrize(
        ("before_s", "expected"),
        [(T0, []), (T0 + 1, [(1000, False)]), (LATER + 9, [(700, False)]), (None, [(700, True)])],
    )
    def test_an_order_is_seen_as_it_stood(self, before_s, expected):
        found = net(*self.EVENTS, before_s=before_s)
        assert [(amount, cancelled) for _, amount, _, cancelled in found] == expected


class TestViews:
    def seen(self, *events, before_s=None):
        encoded = codec.encode(folded(facts(events)))
        return view("ann", encoded.hot, encoded.cold.data if encoded.cold else b"", before_s)

    def test_histories_count_days_of_the_time_zone_and_money_of_one_currency(self):
        late = T0 + 23 * 3600
        one = self.seen(
            order("ann", "o1", "e1", late, revenue="10"),
            order("ann", "o2", "e2", late + 2 * 3600, revenue="5"),
            order("ann", "o3", "e3", late, revenue="9", currency="USD"),
            order("ann", "o4", "e4", late, name="Order Completed"),
            order("ann", "o5", "e5", late, revenue="1"),
            order("ann", "o5", "e6", late, name="Order Cancelled"),
        )
        found = histories([one, self.seen(viewed("ann", "tea", "v"))], Calendar("UTC"), "EUR")
        assert found.starts.tolist() == [0, 2, 2]
        assert found.day.tolist() == [T0 // DAY_S, T0 // DAY_S + 1]
        assert found.orders.tolist() == [3, 1]
        assert found.amount_minor.tolist() == [1000, 500]
        assert found.paid.tolist() == [1, 1]
        shanghai = histories([one], Calendar("Asia/Shanghai"), "EUR")
        assert shanghai.day.tolist() == [T0 // DAY_S + 1]

    def test_money_given_back_counts_on_the_day_it_was_given_back(self):
        back_s = T0 + 40 * DAY_S
        one = self.seen(
            order("ann", "o1", "e1", T0, revenue="10", items={"tea": 2}),
            refund("ann", "o1", "e2", back_s, revenue="4"),
            order("ann", "o2", "e3", T0 + DAY_S, revenue="5", items={"cup": 2}),
            refund("ann", "", "e4", back_s + DAY_S, revenue="2", items={"cup": 1}),
        )
        found = histories([one, self.seen(FIRST)], Calendar("UTC"), "EUR")
        assert found.amount_minor.tolist() == [1000, 500, 1000]
        assert found.refunds.starts.tolist() == [0, 2, 2]
        assert found.refunds.day.tolist() == [back_s // DAY_S, back_s // DAY_S + 1]
        assert found.refunds.amount_minor.tolist() == [400, 200]
        assert histories([one], Calendar("UTC"), "USD").refunds is None

    def test_interactions_weigh_days_of_purchase_and_signals(self):
        one = self.seen(
            FIRST,
            order("ann", "o2", "e2", T0 + 5, items={"tea": 1}),
            viewed("ann", "pot", "v1", T0),
            viewed("ann", "pot", "v2", T0 + 9),
            track("ann", "Product Removed", "r1", T0, product_id="tea"),
        )
        day = T0 // DAY_S
        items = ItemTable(["pot", "tea"])
        found = interacted(one, Calendar("UTC"), items)
        week_day = 7 * ((T0 // DAY_S + 3) // 7)
        assert [items.ids[column] for column in found.columns] == ["pot", "tea", "cup"]
        assert found.days.tolist() == [week_day, day, day]
        assert found.weights.tolist() == [0.2, 1.0, 1.0]

    def test_all_signals_of_an_item_and_week_weigh_less_than_a_purchase(self):
        names = ("Product Viewed", "Product Clicked", "Product Added", "Product Reviewed")
        told = [
            track("ann", name, f"{name}-{n}", T0 + n, product_id="pot")
            for name in names
            for n in range(9)
        ]
        found = interacted(self.seen(*told), Calendar("UTC"), ItemTable())
        assert found.weights.tolist() == [0.9]

    def test_a_view_before_an_instant_has_no_week_that_reaches_beyond_it(self):
        events = [viewed("ann", "pot", f"v{n}", T0 + n * WEEK_S) for n in range(4)]
        weeks = [one.week for one in self.seen(*events, before_s=T0 + 2 * WEEK_S).signals]
        assert len(weeks) == 2

    def test_a_customer_with_a_hundred_thousand_interactions_costs_a_bounded_part_of_a_second(self):
        """Usually 0.1 s of CPU, most of it for reading the ledger; what counts are the latest."""
        hour = 3_600
        events = [
            order(
                "big", f"o{n}", f"e{n}", T0 + n * hour, revenue="9",
                items={f"i{(500 * n + j) % 7_000}": 1 for j in range(500)},
            )
            for n in range(200)
        ]  # fmt: skip
        written = codec.encode(folded(facts(events)))
        cold = written.cold.data if written.cold else b""
        start = time.process_time()
        one = view("big", written.hot, cold)
        found = interacted(one, Calendar("UTC"), ItemTable())
        row = row_of(*found, Decay(int(found.days.max()), 60.0))
        assert time.process_time() - start < 1.0
        assert sum(len(each.lines) for each in one.orders) == 100_000
        assert len(found.columns) <= MOST_READ
        assert len(row.columns) == 7_000
        assert found.days.min() == (T0 + 100 * hour) // DAY_S, "the latest hundred orders"

import numpy as np
import pytest

from models.checks import DomainError, ShapeError
from models.features import rfm
from models.history import (
    Histories,
    check_histories,
    cut,
    from_orders,
    joined,
    median_gap_days,
    purchase_stats,
    select,
    with_refunds,
)


@pytest.fixture
def three():
    """A customer with two orders on one day and one later, one without any, one with one free."""
    return from_orders(
        3,
        np.array([2, 0, 0, 0]),
        np.array([15, 20, 10, 10]),
        np.array([0, 700, 100, -5]),
        np.array([1, 2, 1, 4]),
    )


def test_orders_of_one_day_are_one_row(three):
    assert three.starts.tolist() == [0, 2, 2, 3]
    assert three.day.tolist() == [10, 20, 15]
    assert three.orders.tolist() == [2, 1, 1]
    assert three.amount_minor.tolist() == [100, 700, 0]
    assert three.paid.tolist() == [1, 1, 0]
    assert three.items.tolist() == [5, 2, 1]


def test_statistics_count_purchase_days_and_money_apart(three):
    stats = purchase_stats(three, 30)
    assert stats.frequency.tolist() == [1, 0, 0]
    assert stats.recency.tolist() == [10, 0, 0]
    assert stats.age.tolist() == [20, 0, 15]
    assert stats.orders.tolist() == [3, 0, 1]
    assert stats.paid_orders.tolist() == [2, 0, 0]
    assert stats.mean_paid_minor.tolist() == [400, 0, 0]
    assert rfm(three, 30).tolist() == [[10, 2, 800], [0, 0, 0], [15, 1, 0]]


def test_the_as_of_day_counts_and_the_next_one_does_not(three):
    assert purchase_stats(three, 20).frequency.tolist() == [1, 0, 0]
    assert purchase_stats(three, 19).frequency.tolist() == [0, 0, 0]
    assert purchase_stats(three, 9).orders.tolist() == [0, 0, 0]
    assert cut(three, 15).starts.tolist() == [0, 1, 1, 1]


def test_gaps_are_of_one_customer(three):
    assert median_gap_days(three) == 10
    assert median_gap_days(cut(three, 20)) is None


def test_no_customers_at_all():
    none = from_orders(0, np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))
    assert purchase_stats(none, 5).frequency.shape == (0,)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"starts": np.array([0, 2, 2, 4])}, ShapeError),
        ({"starts": np.array([0, 2, 1, 3])}, DomainError),
        ({"day": np.array([20, 10, 15], dtype=np.int32)}, DomainError),
        ({"day": np.array([10, 10, 15], dtype=np.int32)}, DomainError),
        ({"orders": np.zeros(3, dtype=np.int32)}, DomainError),
        ({"amount_minor": np.full(3, -1)}, DomainError),
        ({"paid": np.full(3, 9, dtype=np.int32)}, DomainError),
        ({"items": np.zeros(2, dtype=np.int32)}, ShapeError),
    ],
)
def test_arrays_that_are_no_histories_are_refused(three, change, error):
    with pytest.raises(error):
        check_histories(Histories(**{**three._asdict(), **change}))


def test_money_given_back_counts_from_its_day_on():
    two = from_orders(2, np.array([0, 0, 1]), np.array([3, 9, 3]), np.array([100, 50, 70]))
    two = with_refunds(two, np.array([0, 1]), np.array([20, 20]), np.array([30, 99]))
    before, after = purchase_stats(two, 19), purchase_stats(two, 20)
    assert before.total_minor.tolist() == [150, 70]
    assert after.total_minor.tolist() == [120, 0]
    assert after.mean_paid_minor.tolist() == [60, 0]
    assert after.paid_orders.tolist() == [2, 0]
    assert after.orders.tolist() == [2, 1]


def test_customers_who_are_put_behind_each_other_are_those_who_came_together():
    customer, day = np.array([0, 0, 1, 2, 2]), np.array([3, 9, 4, 5, 8])
    paid = np.array([10, 20, 30, 40, 50])
    whole = with_refunds(
        from_orders(3, customer, day, paid), np.array([2]), np.array([9]), np.array([7])
    )
    parts = [select(whole, np.array(who)) for who in ([0, 1], [2])]
    parts[0] = parts[0]._replace(refunds=None)
    found = joined(parts)
    check_histories(found)
    for name in ("starts", "day", "amount_minor"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
        if name != "starts":
            np.testing.assert_array_equal(
                getattr(found.refunds, name), getattr(whole.refunds, name)
            )
    np.testing.assert_array_equal(found.refunds.starts, whole.refunds.starts)

"""Insights of a handful of customers: what is told, and what is not told, with the reason."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from integrations.material import material
from models.forecast.bundle import Bundle, fit_bundle
from models.forecast.forecast import fit_forecaster
from models.segments.fit import fit_segments
from tests.builders import DAY_S, T0, facts, folded, order, viewed
from worker.insights.figures import to_day
from worker.insights.standing import Place
from worker.insights.subject import Options, Previous, Subject
from worker.insights.write import write
from worker.live import Live
from worker.profile import codec
from worker.views import Calendar, histories, view

NOW_S = T0 + 100 * DAY_S
UTC = Calendar("UTC")
OPTIONS = Options("EUR", 3, 3)
NONE = Previous()


def seen(customer, *events):
    encoded = codec.encode(folded(facts(events)))
    return view(customer, encoded.hot, encoded.cold.data if encoded.cold else b"")


def buyer(customer, *days, revenue="10", currency="EUR"):
    return seen(
        customer,
        *(
            order(customer, f"o{d}", f"e{d}", T0 + d * DAY_S, revenue=revenue, currency=currency)
            for d in days
        ),
    )


def written(views, live=Live(), previous=NONE, now_s=NOW_S):  # noqa: B008 - immutable
    subjects = [Subject(one, "event-9", previous) for one in views]
    return write(subjects, live, None, UTC, now_s, OPTIONS)


class TestWithoutModels:
    def test_history_is_told_and_everything_else_says_why_not(self):
        (told,) = written([buyer("ann", 0, 10, 40)])
        assert told.historic_number_of_orders == 3
        assert (str(told.historic_clv), str(told.average_order_value)) == ("30.00", "10.00")
        assert (told.currency, told.average_days_between_orders) == ("EUR", 20.0)
        money = {"clv_12m", "expected_spend_90d", "predicted_number_of_orders"}
        assert set(told.abstained) == {"segment", "recommendations", *money}
        assert (told.insight_version, told.through_event_id) == (1, "event-9")
        assert told.segment is told.predicted_clv is told.expected_spend_90d is None

    def test_before_the_first_version_other_shops_speak_and_it_says_so(self):
        often, once = written([buyer("ann", *range(0, 100, 9)), buyer("bob", 5)])
        for told in (often, once):
            assert told.forecast_reliability == "prior"
            assert told.model_versions.forecasts is None
            assert 0 < told.purchase_probability_30d <= told.purchase_probability_90d < 1
        assert often.purchase_probability_90d > 2 * once.purchase_probability_90d
        assert often.p_alive > once.p_alive
        assert often.abstained["clv_12m"].startswith("too few paid orders")

    def test_a_customer_who_never_bought(self):
        (told,) = written([seen("bob", viewed("bob", "tea", "v"))])
        assert told.historic_number_of_orders == 0
        assert told.historic_clv is told.currency is told.average_days_between_orders is None
        assert told.segment.name == "Lead"
        assert "segment" not in told.abstained

    def test_orders_in_another_currency_are_orders_without_money(self):
        (told,) = written([buyer("ann", 0, 10, currency="USD")])
        assert told.historic_number_of_orders == 2
        assert told.historic_clv is None
        assert told.abstained["historic_clv"] == "currency unknown"

    def test_a_currency_without_minor_units_has_none(self):
        yen = OPTIONS._replace(currency="JPY")
        one = Subject(buyer("ann", 0, revenue="1200", currency="JPY"), "", NONE)
        (told,) = write([one], Live(), None, UTC, NOW_S, yen)
        assert str(told.historic_clv) == "1200"
        assert told.through_event_id is None

    def test_none_are_none(self):
        assert written([]) == []


@pytest.fixture(scope="module")
def shop():
    """Forty buyers of two kinds, one who never bought, and the models that were fitted on them."""
    views = [buyer(f"often{n}", *range(n % 5, 100, 7)) for n in range(20)]
    views += [buyer(f"once{n}", n, revenue="90") for n in range(20)]
    views.append(seen("never", viewed("never", "tea", "v")))
    past = histories(views, UTC, "EUR")
    today = UTC.day(NOW_S)
    live = Live(
        generation=1,
        segments=fit_segments(past, today, rng=np.random.default_rng(7), k=2),
        forecasts=Bundle(replace(fit_forecaster(past, today, currency="EUR"), history_days=200)),
        versions=(("forecasts", 4), ("segments", 3)),
    )
    return views, live


class TestWithModels:
    def test_each_part_is_told_by_its_model(self, shop):
        views, live = shop
        told = {one.customer_id: one for one in written(views, live)}
        often, once = told["often3"], told["once3"]
        assert (often.model_versions.segments, often.model_versions.forecasts) == (3, 4)
        assert often.p_alive > once.p_alive
        assert often.purchase_probability_30d <= often.purchase_probability_90d <= 1
        assert often.churn_probability == pytest.approx(
            1 - often.purchase_probability_90d, abs=0.01
        )
        assert often.segment.id != once.segment.id
        assert often.total_clv == often.historic_clv + often.predicted_clv
        window = often.next_order_window
        assert window.p10 <= window.p50 <= window.p90
        assert often.forecast_reliability == "prior"
        assert set(often.abstained) == {"recommendations"}

    def test_money_of_an_unknown_currency_is_never_left_out_of_a_sum(self, shop):
        _, live = shop
        orders = [
            order("eve", f"o{d}", f"e{d}", T0 + d * DAY_S, revenue="10", currency=currency)
            for d, currency in ((0, "EUR"), (20, "EUR"), (50, "USD"))
        ]
        (told,) = written([seen("eve", *orders)], live)
        assert told.historic_number_of_orders == 3
        assert told.purchase_probability_90d > 0
        assert (
            told.historic_clv is told.average_order_value is told.total_clv is told.clv_12m is None
        )
        assert told.expected_spend_90d is told.expected_spend_90d_range is told.currency is None
        money = {"historic_clv", "average_order_value", "clv_12m", "expected_spend_90d"}
        assert {told.abstained[name] for name in money} == {"currency unknown"}
        (free,) = written(
            [seen("eve", *orders[:2], order("eve", "o", "e", T0, revenue="0", currency="USD"))],
            live,
        )
        assert free.historic_clv == 20

    def test_a_configured_horizon_is_told_or_says_why_not(self, shop):
        views, live = shop
        past, today = histories(views, UTC, "EUR"), UTC.day(NOW_S)
        wanted = (30, 60, 90, 250)
        bundle = fit_bundle(past, today, currency="EUR", windows=0, horizons_days=wanted)
        options = OPTIONS._replace(horizons_days=(60, 250, 300))
        subjects = [Subject(one, "", NONE) for one in (*views, buyer("eve", 3, currency="USD"))]
        told = {
            one.customer_id: one
            for one in write(subjects, live._replace(forecasts=bundle), None, UTC, NOW_S, options)
        }
        often = told["often3"]
        sixty = often.horizons["60d"]
        assert often.purchase_probability_30d <= sixty.purchase_probability
        assert sixty.purchase_probability <= often.purchase_probability_90d
        assert 0 < sixty.expected_spend <= often.expected_spend_90d
        assert sixty.expected_orders_range.low <= sixty.expected_orders
        assert sixty.expected_spend <= sixty.expected_spend_range.high
        assert often.abstained["horizons.250d"] == "history shorter than the horizon"
        assert often.abstained["clv_12m"] == "history shorter than the horizon"
        assert often.expected_spend_90d > 0
        assert often.predicted_number_of_orders is often.total_clv is None
        assert "without this horizon" in often.abstained["horizons.300d"]
        assert told["eve"].horizons["60d"].expected_spend is None
        assert told["never"].horizons == {}

    def test_who_never_bought_gets_no_number(self, shop):
        views, live = shop
        never = written(views, live)[-1]
        assert never.p_alive is never.expected_orders_90d is None
        assert never.segment.name == "Lead"
        assert set(never.abstained) == {"forecasts", "recommendations"}

    def test_a_batch_says_what_each_alone_says(self, shop):
        views, live = shop
        together = written(views, live)
        assert together == [written([one], live)[0] for one in views]

    def test_a_segment_keeps_its_day_while_it_lasts_and_names_the_one_before(self, shop):
        views, live = shop
        (first,) = written(views[:1], live)
        kept = Previous(7, Place(first.segment.id, to_day("2024-02-01"), previous_id=99))
        (told,) = written(views[:1], live, kept)
        assert (told.segment.since, told.segment.previous_id) == (date(2024, 2, 1), 99)
        assert told.insight_version == 8
        (moved,) = written(views[20:21], live, kept)
        assert moved.segment.since == date.fromordinal(
            date(1970, 1, 1).toordinal() + UTC.day(NOW_S)
        )
        assert moved.segment.previous_id == first.segment.id

    def test_the_same_input_is_the_same_material_and_another_order_is_not(self, shop):
        views, live = shop
        one, two = written(views[:1], live), written(views[:1], live)
        assert material(one[0]) == material(two[0])
        changed = written([buyer("often0", *range(0, 100, 7), 99)], live)
        assert material(changed[0]) != material(one[0])

    def test_time_alone_moves_a_forecast(self, shop):
        views, live = shop
        now, later = (
            written(views[:1], live)[0],
            written(views[:1], live, now_s=NOW_S + 90 * DAY_S)[0],
        )
        assert later.p_alive < now.p_alive
        assert later.churn_probability > now.churn_probability

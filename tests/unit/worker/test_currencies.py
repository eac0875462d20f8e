"""Exchange rates: what a file may say, what a day is worth, and what sums do with it."""

import os
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import DAY_S, T0, facts, folded, order, refund
from worker.currencies import Rate, Rates, RatesError, RatesFile, read_rates
from worker.currency_checks import currency_findings
from worker.findings import Level
from worker.insights.subject import Options, Previous, Subject
from worker.insights.write import write
from worker.live import Live
from worker.profile import codec
from worker.rules.evaluating import Known, holds
from worker.rules.reading import parse
from worker.settings import Settings
from worker.views import Calendar, histories, priced, unpriced, view

UTC = Calendar("UTC")
DAY = T0 // DAY_S
DOLLARS = Rates("EUR", [Rate(DAY, "USD", Decimal("0.5")), Rate(DAY + 5, "USD", Decimal("0.25"))], 7)


def seen(*events):
    encoded = codec.encode(folded(facts(events)))
    return view("ann", encoded.hot, encoded.cold.data if encoded.cold else b"")


def paid(number, days, revenue, currency):
    return order(
        "ann", f"o{number}", f"e{number}", T0 + days * DAY_S, revenue=revenue, currency=currency
    )


def written(one, rates):
    options = Options("EUR", 3, 3, rates=rates)
    return write([Subject(one, "", Previous())], Live(), None, UTC, T0 + 30 * DAY_S, options)[0]


class TestFile:
    def test_both_kinds_say_the_same(self, tmp_path):
        csv, toml = tmp_path / "rates.csv", tmp_path / "rates.toml"
        csv.write_text("\ufeffdate,currency,rate,note\n2026-01-02,usd,0.92,x\n2026-01-02,EUR,1,\n")
        toml.write_text('[[rates]]\ndate = 2026-01-02\ncurrency = "USD"\nrate = 0.92\n')
        days = read_rates(csv, "EUR", 7).table
        assert days == read_rates(toml, "EUR", 7).table == {"USD": ((20455,), (Decimal("0.92"),))}

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            ("2026-13-01,USD,1", "date should be like 2026-01-31"),
            ("01.02.2026,USD,1", "date should be"),
            ("2026-01-02,DOLLAR,1", "no ISO 4217 currency"),
            ("2026-01-02,USD,0", "above zero"),
            ("2026-01-02,USD,-1", "above zero"),
            ("2026-01-02,USD,nan", "above zero"),
            ("2026-01-02,USD,1e99", "above zero"),
            ('2026-01-02,USD,"0,92"', "with a point"),
            ("2026-01-02,USD,", "rate is missing"),
            ("2026-01-02,EUR,2", "its rate is 1"),
            ("2026-01-01,USD,3", "another rate on that date"),
        ],
    )
    def test_a_bad_row_is_named_and_nothing_is_used(self, tmp_path, row, why):
        path = tmp_path / "rates.csv"
        path.write_text(f"date,currency,rate\n2026-01-01,USD,2\n{row}\n")
        with pytest.raises(RatesError, match=why) as caught:
            read_rates(path, "EUR", 7)
        assert "line 3" in caught.value.problems[0]

    @pytest.mark.parametrize(
        ("name", "content", "why"),
        [
            ("rates.csv", b"day;code\n1;2\n", "lacks date, currency, rate"),
            ("rates.csv", b"date,currency,rate\n", "has no rates"),
            ("rates.csv", b"", "lacks"),
            ("rates.csv", b"date,currency,rate\n\xff\xfe", "not UTF-8"),
            ("rates.toml", b"[[rates]\n", "rates.toml"),
            ("rates.toml", b"rates = 3\n", r"tables \[\[rates\]\]"),
            ("rates.xlsx", b"", "should end with"),
        ],
    )
    def test_a_file_that_is_none_says_why(self, tmp_path, name, content, why):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RatesError, match=why):
            read_rates(tmp_path / name, "EUR", 7)

    def test_many_mistakes_are_told_at_once_but_not_without_end(self, tmp_path):
        path = tmp_path / "rates.csv"
        path.write_text("date,currency,rate\n" + "x,y,z\n" * 1_000)
        with pytest.raises(RatesError) as caught:
            read_rates(path, "EUR", 7)
        assert len(caught.value.problems) == 20

    def test_a_changed_file_counts_at_once_and_a_broken_one_changes_nothing(self, tmp_path):
        path = tmp_path / "rates.csv"
        rates = RatesFile(path, "EUR", 7)

        def put(text, at_s):
            path.write_text("date,currency,rate\n" + text)
            os.utime(path, (at_s, at_s))
            return rates().convert(100, "USD", 20455)

        assert rates().convert(100, "USD", 20455) is None
        assert put("2026-01-02,USD,2\n", 1) == 200
        assert put("2026-01-02,USD,3\n", 2) == 300
        assert put("2026-01-02,USD,oops\n", 3) == 300
        path.unlink()
        assert rates().convert(100, "USD", 20455) == 300
        assert put("2026-01-02,USD,4\n", 4) == 400


class TestConversion:
    def test_minor_units_differ_between_currencies(self):
        yen = Rates("JPY", [Rate(0, "USD", Decimal(150)), Rate(0, "KWD", Decimal(490))], 7)
        assert (yen.convert(1_00, "USD", 0), yen.convert(1_000, "KWD", 0)) == (150, 490)
        assert Rates("USD", [Rate(0, "JPY", Decimal("0.0067"))], 7).convert(150, "JPY", 0) == 100

    @given(st.integers(0, 10**14), st.decimals("0.000001", "1000000", places=6))
    def test_what_is_converted_is_off_by_half_a_minor_unit_at_most(self, minor, rate):
        worth = Rates("EUR", [Rate(0, "USD", rate)], 7).convert(minor, "USD", 3)
        assert abs(worth - Decimal(minor) * rate) <= Decimal("0.5")


class TestSums:
    def test_orders_and_refunds_take_the_rates_of_their_days(self):
        back = refund("ann", "o1", "r", T0 + 6 * DAY_S, revenue="4", currency="USD")
        one = seen(paid(1, 0, "10", "USD"), paid(2, 1, "3", "EUR"), back)
        (known,) = priced([one], UTC, DOLLARS)
        assert unpriced([one], "EUR") == [True]
        assert unpriced([known], "EUR") == [False]
        past = histories([known], UTC, "EUR")
        assert past.amount_minor.tolist() == [500, 300]
        assert past.refunds.amount_minor.tolist() == [100]
        assert past.refunds.day.tolist() == [DAY + 6]
        told = written(one, DOLLARS)
        assert (str(told.historic_clv), told.currency) == ("7.00", "EUR")

    def test_a_refund_never_gives_back_more_than_was_paid(self):
        rates = Rates("EUR", [Rate(DAY, "USD", Decimal(1)), Rate(DAY + 3, "USD", Decimal(9))], 7)
        back = refund("ann", "o1", "r", T0 + 4 * DAY_S, revenue="9", currency="USD")
        (known,) = priced([seen(paid(1, 0, "10", "USD"), back)], UTC, rates)
        assert known.orders[0].amount_minor == 0
        assert known.orders[0].refunded == ((T0 + 4 * DAY_S, 1000),)

    @pytest.mark.parametrize("days", [-1, 13])
    def test_where_no_rate_is_known_money_abstains_and_no_part_of_it_is_told(self, days):
        told = written(seen(paid(1, 0, "3", "EUR"), paid(2, days, "10", "USD")), DOLLARS)
        assert told.historic_clv is told.average_order_value is None
        assert told.abstained["historic_clv"] == "currency unknown"
        assert told.historic_number_of_orders == 2

    def test_a_condition_on_spend_is_not_known_without_a_rate(self):
        one = seen(paid(1, 0, "3", "EUR"), paid(2, 1, "10", "USD"))
        (rule,) = parse(
            {"segments": [{"id": "a", "name": "A", "when": {"spend": "total", "at_least": 8}}]}
        )
        now_s = T0 + 9 * DAY_S
        (known,) = priced([one], UTC, DOLLARS)
        assert holds(rule.when, Known(one, {}, UTC, now_s, "EUR")) is None
        assert holds(rule.when, Known(known, {}, UTC, now_s, "EUR")) is True


class TestDoctor:
    def test_old_rates_are_a_warning_and_bad_ones_a_failure(self, tmp_path):
        path = tmp_path / "rates.csv"
        path.write_text("date,currency,rate\n2026-01-02,USD,0.92\n")
        settings = Settings(currency_rates_file=path, reporting_currency="EUR")
        day = 20455

        def level(at):
            return [one.level for one in currency_findings(settings, at * DAY_S)]

        assert (level(day + 7), level(day + 8)) == ([Level.OK], [Level.WARN])
        path.write_text("nothing")
        assert level(day) == [Level.FAIL]
        assert list(currency_findings(Settings(), 0)) == []

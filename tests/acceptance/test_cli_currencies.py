"""`currencies check`: what an operator sees of a table of exchange rates."""

import json

import pytest

from tests.acceptance.cli import Cli


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path, reporting_currency="EUR")


def test_a_good_table_says_how_far_it_reaches_and_what_a_unit_is_worth(cli):
    path = cli.folder / "rates.csv"
    path.write_text("date,currency,rate\n2020-01-01,USD,0.5\n2020-02-01,USD,0.92\n")
    done = cli.run("currencies", "check", str(path))
    assert "1 USD = 0.92 EUR" in done.out
    told = json.loads(cli.run("currencies", "check", "--json", currency_rates_file=path).out)
    (row,) = told["currencies"]
    assert (row["first"], row["last"], row["gap_days"]) == ("2020-01-01", "2020-02-01", 23)
    assert row["known"] is False


def test_every_mistake_costs_a_line_and_exit_1(cli):
    path = cli.folder / "rates.csv"
    path.write_text("date,currency,rate\n2020-01-01,USD,-1\n2020-02-01,???,1\n")
    done = cli.run("currencies", "check", str(path), code=1)
    assert "line 2" in done.err
    assert "line 3" in done.err
    assert not done.out
    assert "no such file" in cli.run("currencies", "check", "gone.csv", code=1).err.lower()
    assert "CRM_REFLEX_CURRENCY_RATES_FILE" in cli.run("currencies", "check", code=1).err

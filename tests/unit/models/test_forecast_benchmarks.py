"""The measurements of forecasts run on a small shop and keep the figures that they promise."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import forecast_peers, forecasts, refresh, small_shop
from models.forecast.bundle import fit_bundle
from models.forecast.prior import prior_without


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    rng = np.random.default_rng(0)
    customer = np.repeat(np.arange(130), rng.geometric(0.25, 130))
    day = np.datetime64("2020-01-01") + rng.integers(0, 500, len(customer))
    frame = pd.DataFrame(
        {"cust": customer, "ts": day, "amount": rng.lognormal(3, 0.5, len(customer))}
    )
    path = tmp_path_factory.mktemp("shop") / "orders.parquet"
    frame.to_parquet(path)
    return str(path)


def test_our_choice_is_measured_beside_every_peer(orders, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(forecast_peers._FOREST, "n_estimators", 3)
    monkeypatch.setitem(forecast_peers._HIST_GB, "max_iter", 3)
    out = tmp_path / "out.json"
    cutoff = ["--cutoff", "2021-03-01", "--horizon-days", "30", "--json", str(out)]
    assert forecasts.main([orders, *cutoff]) == 0
    found = json.loads(out.read_text())
    figures = found["cutoffs"]["2021-03-01"]
    peers = {"ours", "base_rate", "last_h", "recency_logit", "bg_nbd", "mbg_nbd", "logistic",
             "logistic+btyd", "forest", "forest+btyd", "hist_gb", "hist_gb+btyd"}  # fmt: skip
    assert peers <= set(figures["p_buy"])
    assert {"linear", "poisson+btyd", "forest"} <= set(figures["orders"])
    assert {"log_loss", "auc", "brier", "ece", "ece_floor"} <= set(figures["p_buy"]["ours"])
    spend = figures["spend"]["ours"]
    assert {"ngini", "coverage80", "coverage80_top20", "coverage80_raw", "wis", "bias"} <= set(
        spend
    )
    assert found["chosen"]["2021-03-01"]["p_buy"] == "mbg_nbd"
    if not forecasts.has_lightgbm():
        assert "LIGHTGBM IS NOT INSTALLED" in capsys.readouterr().err
        assert "not installed" in found["lightgbm"]


def test_shops_of_a_few_customers_are_held_against_the_best_of_many(orders, monkeypatch):
    monkeypatch.setattr(small_shop, "names_of", lambda _: ["logistic+btyd"])
    sizes = small_shop.Sizes(shop=20, others=40, reference=60, draws=2)
    day = int(np.datetime64("2021-03-01").astype(int))
    histories = small_shop.load(orders).histories
    found = small_shop.run(histories, day, 30, prior_without("cdnow"), sizes)
    assert set(found["reference"]) == {"mbg_nbd", "logistic+btyd"}
    assert 0.5 < found["ratio_mean"] <= found["ratio_worst"] < 3


def test_a_shop_is_held_against_the_others_without_its_own_row_in_the_prior(monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(small_shop, "load", lambda _: small_shop.Sizes)
    monkeypatch.setattr(small_shop.Sizes, "histories", None, raising=False)
    monkeypatch.setattr(small_shop, "run", lambda *given: told.append(given[3]) or {})
    assert small_shop.main([str(tmp_path / "cdnow-master-orders.parquet")]) == 0
    assert told == [prior_without("cdnow")]


def test_what_a_refresh_costs_is_measured_on_everyone():
    bundle = fit_bundle(refresh.shop(60), 20_000, currency="EUR", windows=0)
    found = refresh.cost(bundle, refresh.shop(300))
    assert all(found[name] > 0 for name in ("batch500_us", "million_s", "peak_mb"))
    assert refresh.fit_cost(refresh.shop(300)) > 0

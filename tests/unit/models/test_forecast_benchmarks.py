"""The measurements of forecasts run on a small shop and keep the figures that they promise."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import forecasts


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    rng = np.random.default_rng(0)
    customer = np.repeat(np.arange(260), rng.geometric(0.25, 260))
    day = np.datetime64("2020-01-01") + rng.integers(0, 500, len(customer))
    frame = pd.DataFrame(
        {"cust": customer, "ts": day, "amount": rng.lognormal(3, 0.5, len(customer))}
    )
    path = tmp_path_factory.mktemp("shop") / "orders.parquet"
    frame.to_parquet(path)
    return str(path)


def test_our_choice_is_measured_beside_every_peer(orders, tmp_path, capsys):
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

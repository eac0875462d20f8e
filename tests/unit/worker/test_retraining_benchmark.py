"""The benchmark of alarms, gate and policies runs, on a shop that is made up."""

import json

import numpy as np
import pandas as pd

from benchmarks import retraining, retraining_policies

CUSTOMERS = 90
DAYS = 500


def test_the_benchmark_of_retraining_tells_all_its_figures(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    bought = np.argwhere(rng.random((CUSTOMERS, DAYS)) < rng.gamma(1.0, 0.02, (CUSTOMERS, 1)))
    orders = pd.DataFrame(
        {
            "cust": [f"c{who}" for who, _ in bought.tolist()],
            "ts": pd.Timestamp("2010-01-01") + pd.to_timedelta(bought[:, 1], unit="D"),
            "amount": rng.gamma(3.0, 10.0, len(bought)).round(2),
            "skus": 2,
            "kind": "order",
        }
    )
    orders.to_parquet(tmp_path / "orders.parquet")
    monkeypatch.setattr(retraining, "SHOPS", 1)
    monkeypatch.setattr(retraining, "ARRIVALS", 1)
    monkeypatch.setattr(retraining, "YEAR", 100)
    monkeypatch.setattr(retraining_policies, "STEPS", 3)
    out = tmp_path / "out.json"
    assert retraining.main([str(tmp_path / "orders.parquet"), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert {"alarm_delay_days", "false_alarms", "loss", "retrains", "cpu_s"} <= set(found)
    assert set(found["false_alarms_of"]) == {"inertia", "loss"}
    assert {"ours", "weekly", "monthly", "never"} <= set(found["loss"])
    assert all(0 < loss < 1 for loss in found["loss"].values())
    assert found["policies"]["weekly"]["retrains"] == 3

"""A short replay of a small shop through the measurement: its figures are there and make sense."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import segments
from benchmarks.segment_shops import read_shop


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = []
    for customer in range(240):
        gap = rng.choice([6, 25, 80])
        day = rng.integers(0, 60)
        while day < 330:
            rows.append((customer, day, rng.lognormal(3, 0.5), rng.integers(1, 9)))
            day += 1 + rng.poisson(gap)
    frame = pd.DataFrame(rows, columns=["cust", "day", "amount", "skus"])
    frame["ts"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame.pop("day"), unit="D")
    path = tmp_path_factory.mktemp("shop") / "small.parquet"
    frame.to_parquet(path)
    shop = read_shop(str(path))
    return segments.measure(shop, "rfm_behaviour", 4, days=60, with_river=False)


def test_following_beats_standing_still_and_a_biased_sample(figures):
    online = figures["online"]
    assert online["ours"]["inertia_gap_pct"] < online["frozen"]["inertia_gap_pct"]
    assert online["ours"]["inertia_gap_pct"] < online["minibatch"]["inertia_gap_pct"]
    assert online["ours"]["us_per_customer"] > 0


def test_all_figures_are_there(figures):
    assert {"shop", "features", "online", "retrain", "flapping", "meaning"} < set(figures)
    assert set(figures["flapping"]) == {
        "changes_per_customer_day",
        "back_pct",
        "inertia_cost_pct",
    }
    assert {"moved_pct_mean", "moved_pct_max", "inertia_after_pct"} < set(figures["retrain"])
    assert {"ours_auc", "score_auc", "rfm_rules_auc"} < set(figures["meaning"])
    assert figures["flapping"]["changes_per_customer_day"] < 0.1
    assert 0 < figures["million_assign_s"] < 5

"""Segments of a real shop: their names are true in both languages, its replay meets its targets."""

import os
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from benchmarks import segments
from benchmarks.segment_learners import online
from benchmarks.segment_replay import Replay
from benchmarks.segment_shops import read_shop
from models.history import cut
from models.segments.fit import fit_segments
from models.segments.model import assign

_ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("SHARED_DATA_DIR") or _ROOT.parent / "shared")
ORDERS = SHARED / "data" / "forecast-online-retail-2-orders.parquet"
#: What a name says of recency, orders and money: -1 below most, 1 above.
MEANS = {
    "champions": (-1, 1, 1),
    "loyal": (-1, 1, 0),
    "big_baskets": (-1, 0, 1),
    "new": (-1, -1, 0),
    "at_risk_valuable": (1, 0, 0),
    "lapsed": (1, 0, -1),
}


@pytest.fixture(scope="module")
def retailer():
    if not ORDERS.is_file():
        pytest.skip(
            f"ORDERS NOT FOUND: {ORDERS} is absent, so no segments of a real shop are looked at;"
            " set SHARED_DATA_DIR to the folder above data/"
        )
    return read_shop(str(ORDERS))


@pytest.mark.parametrize("seed", [0, 1])
def test_names_of_a_retailers_segments_are_true_in_english_and_chinese(retailer, seed):
    day = (400, 648)[seed]
    past = cut(retailer.past, day)
    with threadpool_limits(1):
        model = fit_segments(past, day, rng=np.random.default_rng(seed), k=8)
    table = model.matrix(past, day)
    table = table[table[:, 1] > 0]
    ids = assign(model, table).ids
    everyone = np.median(table[:, :3], axis=0)
    judged = 0
    for segment, label in zip(model.ids.tolist(), model.labels, strict=True):
        here = np.median(table[ids == segment, :3], axis=0)
        for said, mine, usual in zip(MEANS.get(label.key, ()), here, everyone, strict=False):
            assert said * (mine - usual) >= 0, (label.key, here, everyone)
            judged += said != 0
        if label.key.startswith(("recent_", "dormant_")):
            sign = -1 if label.key.startswith("recent") else 1
            assert sign * (here[0] - everyone[0]) >= 0
            judged += 1
        words = label.description()
        assert words.endswith(".")
        assert ("recently" in words) == (label.levels[0] < 0)
        assert label.name("zh") != label.name()
        assert label.description("zh").endswith("。")
        assert ("近期" in label.description("zh") or "最近" in label.description("zh")) == (
            label.levels[0] < 0
        )
    assert judged >= 6
    for language in ("en", "zh"):
        assert len({label.name(language) for label in model.labels}) == len(model.ids)


def test_three_months_of_the_replay_hold_their_targets(retailer):
    with threadpool_limits(1):
        replay = Replay(retailer, "rfm_behaviour", 6, 85)
        found = online(replay, replay.references(), with_river=False)
        moved = segments.retrain(replay, following=True)
        calm = segments.flapping(replay)
    assert found["ours"]["inertia_gap_pct"] < 3
    assert found["ours"]["inertia_gap_pct"] < found["minibatch_uniform"]["inertia_gap_pct"]
    assert found["ours"]["ari"] > 0.75
    assert moved["moved_pct_max"] <= 6
    assert moved["inertia_after_pct"] < 2
    assert moved["kept_back"] == 0
    assert calm["changes_per_customer_day"] < 0.0145
    assert calm["inertia_cost_pct"] < 2

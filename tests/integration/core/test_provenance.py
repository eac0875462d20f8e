"""What a version tells of its training: where the data was cut, rows, features, figures, memory."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.history import from_orders
from models.recommend.held_out import held_out_ndcg
from models.recommend.tuning import Choices
from tests.builders import order
from worker.bootstrap import Runtime
from worker.route import route
from worker.settings import Settings
from worker.store.door import Arrival
from worker.store.models import KINDS
from worker.training import memory, provenance
from worker.training.memory import Guard, MemoryShortError

DAY_S = 86_400
BUYERS = 60


def put(active, first, last, day):
    now_s = active.clock.now_s()
    rng = np.random.default_rng(first)
    active.door.emit(
        Arrival(
            order(
                f"c-{n}", f"o-{n}-{k}-{day}", f"e-{n}-{k}-{day}",
                now_s - (day + 20 * k + n % 9) * DAY_S,
                revenue=str(5 + n % 40), items={f"i{i}": 1 for i in rng.integers(0, 9, 2)},
            )
        )
        for n in range(first, last)
        for k in range(1 + n % 5)
    )  # fmt: skip
    while route(active.intake, active.settings.shards):
        pass
    active.ingest.drain()


@pytest.fixture
def active(valkey, redis_client, tmp_path):
    options = Settings(redis_url=valkey.url, shards=4, data_dir=tmp_path, reporting_currency="EUR")
    runtime = Runtime(options, valkey.url)
    put(runtime, 0, BUYERS, 3)
    yield runtime
    runtime.client.close()


def test_a_version_names_its_data_rows_features_and_figures(active):
    cursors = {
        str(shard): active.client.hget(active.keys.meta(shard), "cursor").decode()
        for shard in range(4)
    }
    active.retrain.run(reason="check")
    put(active, BUYERS, BUYERS + 5, 2)
    for kind in KINDS:
        told = active.models.read(kind, 1).meta
        assert told["watermarks"] == cursors, "what came later is not in it"
        assert (told["customers"], told["buyers"]) == (BUYERS, BUYERS)
        assert told["window"]["first_day"] < told["window"]["last_day"]
        assert told["window"]["time_zone"] == "UTC"
        assert told["orders"] == sum(1 + n % 5 for n in range(BUYERS))
        assert told["code_version"]
        assert told["trigger"] == "check"
        assert told["features"]
        assert told["parameters"]
        assert told["memory_peak_bytes"] > 50_000_000
        assert told["cpu_s"] >= 0
        assert "provenance" not in told["model"]
    segments = active.models.read("segments", 1).meta
    assert segments["rows"] == {"fit": BUYERS, "measured": BUYERS}
    distance = segments["metrics"][0]
    assert 0 <= distance["low"] <= distance["value"] <= distance["high"]
    assert distance["rows"] == BUYERS
    assert active.models.read("forecasts", 1).meta["rows"]["level_1"] == BUYERS
    active.retrain.run(("segments",), reason="again")
    again = active.models.read("segments", 2).meta
    assert (again["customers"], again["parent"]) == (BUYERS + 5, 1)
    assert all(again["watermarks"][shard] >= cursors[shard] for shard in cursors)


class Data:
    """As much of a training's data as counting rows asks for."""

    def __init__(self, customers):
        n = np.arange(customers)
        self.key = n.astype(np.uint64)
        self.past = from_orders(
            customers, np.concatenate((n, n)), np.concatenate((0 * n + 1000, 0 * n + 1290)),
            np.ones(2 * customers, dtype=np.int64),
        )  # fmt: skip
        self.key = n.astype(np.uint64)
        self.today = 1300
        self.buyers = customers


def test_rows_of_supervised_fits_and_backtests_are_bounded_and_told():
    row = {"name": "forest", "loss": 0.4, "loss_se": 0.01, "gain": 0.02, "se": 0.005}
    report = {
        "target": "buy", "horizon_days": 30, "chosen": "forest", "windows": [1270, 1100],
        "candidates": [{**row, "chosen": True, "auc": 0.8}, {**row, "name": "logistic"}],
    }  # fmt: skip
    head = {"target": "buy", "horizon_days": 30}
    heads = [{**head, "members": [["forest", 1.0], ["logistic+btyd", 1.0]]}]
    model = {"features": ["age"], "heads": heads, "report": [report]}
    told = provenance.of_model("forecasts", Data(70_000), {}, model)
    assert (told["rows"]["level_1"], told["rows"]["tried"]) == (70_000, 30_000)
    forest, logistic = told["rows"]["fits"]
    assert (forest["most"], logistic["most"]) == (20_000, 50_000)
    assert 19_990 <= forest["rows"] <= 20_000 < forest["of"] == 6 * 30_000
    assert 49_990 <= logistic["rows"] <= 50_000
    (backtest,) = told["rows"]["backtests"]
    assert backtest["rows"] == [20_000, 20_000]
    loss, gain, area = told["metrics"]
    assert (loss["rows"], loss["value"]) == (40_000, 0.4)
    assert math.isclose(gain["high"], 0.02 + 1.96 * 0.005, rel_tol=1e-3)
    assert (area["value"], area["low"]) == (0.8, None)


def test_the_peak_is_that_of_the_fit():
    memory.begin_peak()
    before = memory.peak_bytes()
    held = np.ones(8_000_000)
    assert memory.peak_bytes() - before > 0.8 * held.nbytes
    assert memory.used_bytes() > 0
    del held
    if memory._field(memory._STATUS, "VmHWM") is not None:
        memory.begin_peak()
        assert memory.peak_bytes() < before + 32_000_000


def test_a_training_that_would_not_fit_ends_with_a_sentence():
    room, used = 10**9, iter([0, 40_000_000, 50_000_000, 400_000_000])
    guard = Guard(lambda: room, lambda: next(used))
    guard.look(0.0)
    guard.look(0.25)
    with pytest.raises(MemoryShortError, match=r"about 2\.7 GB of memory, and there are 1\.0 GB"):
        guard.look(0.5)
    unknown = Guard(lambda: None, lambda: 10**12)
    unknown.look(0.5)


def test_a_training_that_would_not_fit_is_refused_and_its_run_ends(active, monkeypatch):
    monkeypatch.setattr("worker.training.memory._LEAST_BYTES", -(10**12))
    monkeypatch.setattr("worker.training.data.Guard", lambda: Guard(lambda: 10**6))
    with pytest.raises(MemoryShortError):
        active.retrain.run(reason="check")
    assert active.desk.running() == []
    assert active.models.current().versions == {}


def test_recommendations_are_measured_on_customers_that_taught_them_nothing(active):
    active.retrain.run(("recommendations",), reason="check")
    told = active.models.read("recommendations", 1).meta
    figures = {one["name"]: one for one in told["metrics"]}
    every = figures["everything: NDCG@10"]
    assert 0 < every["low"] < every["value"] < every["high"] <= 1.2
    assert every["rows"] == told["rows"]["judged"]["everything"] >= 20
    settings = [
        (one["half_life_days"], one["k_neighbors"], one["ridge"]) for one in told["model"]["tried"]
    ]
    chosen = told["model"]
    assert len(set(settings)) == len(settings) >= 6
    assert (chosen["half_life_days"], chosen["k_neighbors"], chosen["ridge"]) in settings


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_held_out_quality_does_not_learn_from_whom_it_judges(seed):
    """Labels without any pattern cannot be ranked, however well weights fit those who taught."""
    rng = np.random.default_rng(seed)
    n, d = 120, 12
    noise = rng.normal(size=(10 * n, d)).astype(np.float32)
    bought = np.zeros((n, 10), dtype=np.bool_)
    bought[np.arange(n), rng.integers(0, 10, n)] = True
    starts, who = np.arange(0, 10 * n, 10), np.arange(n)
    blind = held_out_ndcg(Choices(noise, bought.ravel(), starts, who), np.zeros(d), k=3).mean()
    seen = noise.copy()
    seen[:, 0] = 3 * bought.ravel()
    told = held_out_ndcg(Choices(seen, bought.ravel(), starts, who), np.zeros(d), k=3).mean()
    assert blind < 0.45  # by chance 0.21
    assert told > 0.95

"""A rollout of one kind of model moves that kind's outputs, and no other's."""

import json
import time

import pytest

from models.segments.examples import on_a_line
from models.segments.state import to_state
from tests.builders import DAY_S, T0, order
from worker.bootstrap import Runtime
from worker.clock import ManualClock
from worker.route import route
from worker.settings import Settings
from worker.store.door import Arrival
from worker.store.refreshing import read_insight
from worker.store.rollout import RolloutStore

pytestmark = pytest.mark.timeout(300)

BUYERS = 36
#: What tells of the insight itself.
ALWAYS = {"insight_version", "as_of", "model_versions"}
LISTS = {"buy_again", "new_for_you"}
GROUPS = {"segment", "audiences"}


class Shop:
    """Buyers of two tastes, and a clock that stands still: only models move what is told."""

    def __init__(self, url):
        self.clock = ManualClock(T0 + 120 * DAY_S)
        chosen = Settings(redis_url=url, reporting_currency="EUR", shards=2, rescore_per_s=10_000)
        self.runtime = Runtime(chosen, url, self.clock)
        events = [
            order(
                f"c{n}", f"{n}-{k}", f"e{n}-{k}", T0 + (7 * k + n % 20) * DAY_S, revenue="9",
                items={f"{n % 2}-{(n + k) % 6}": 1},
            )
            for n in range(BUYERS)
            for k in range(2 + n % 7)
        ]  # fmt: skip
        self.runtime.door.emit(map(Arrival, events))
        while route(self.runtime.intake, 2):
            pass
        self.runtime.ingest.drain()

    def settle(self):
        """Everybody is scored by what is live."""
        live = dict(self.runtime.models.current().versions)
        rollouts = RolloutStore(self.runtime.client, self.runtime.keys)
        deadline = time.monotonic() + 150  # the loops may have to be compiled
        while True:
            self.runtime.refresh.round()
            told = rollouts.progress()
            if told.finished_s is not None and dict(told.versions) == live:
                return self.told()
            assert time.monotonic() < deadline, told
            self.clock.advance(0.6)

    def told(self):
        keys, client = self.runtime.keys, self.runtime.client
        names = [f"c{n}" for n in range(BUYERS)]
        held = [client.get(keys.insight(keys.shard(name), name)) for name in names]
        return [json.loads(read_insight(one).json) for one in held]


def another(models, kind):
    """A version that tells something else."""
    held = models.read(kind, 1)
    arrays, meta = dict(held.arrays), dict(held.meta["model"])
    if kind == "segments":
        return to_state(on_a_line(0.0, 2.0))
    if kind == "recommendations":
        return {**arrays, "weights": -arrays["weights"]}, meta
    return arrays, {**meta, "orders_per_day": 1.5 * meta["orders_per_day"]}


def test_a_rollout_moves_the_outputs_of_its_kind_and_no_others(redis_client, valkey):
    shop = Shop(valkey.url)
    shop.runtime.retrain.run(reason="first")
    before = shop.settle()
    forecasts = set(before[0]) - ALWAYS - LISTS - GROUPS - {"similar_customers"}
    for kind, own in {
        "recommendations": LISTS,
        "forecasts": forecasts | {"audiences"},
        "segments": GROUPS | {"new_for_you"},  # who has bought nothing gets the segment's items
    }.items():
        arrays, meta = another(shop.runtime.models, kind)
        shop.runtime.models.publish(kind, arrays, {"model": dict(meta)}, shop.clock.now_s())
        after = shop.settle()
        moved = {
            name
            for old, new in zip(before, after, strict=True)
            for name in new
            if old[name] != new[name]
        }
        assert moved - ALWAYS, kind
        assert moved - ALWAYS <= own, kind
        assert {one["model_versions"][kind] for one in after} == {2}
        before = after

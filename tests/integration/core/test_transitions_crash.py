"""A process that ends at any Redis command records every move once, each where the last ended."""

import json

import pytest

from models.segments.state import to_state
from tests.integration.core.test_every_crash_point import SHARDS, Scenario
from tests.integration.core.test_transitions import segments
from worker.clock import ManualClock
from worker.rules.book import RuleBook
from worker.rules.reading import parse
from worker.store.models import ModelStore
from worker.store.population import Population
from worker.store.refreshing import read_insight

RULES = [
    {"id": "buyer", "when": {"count": "orders", "at_least": 1}},
    {"id": "looker", "when": {"count": "Product Viewed", "at_least": 1}},
]


class Watched(Scenario):
    """The scenario with live segments and rules."""

    def __init__(self, server, client):
        super().__init__(server, client)
        keys = self.shop.keys
        models, population = ModelStore(client, keys), Population(client, keys)
        arrays, meta = to_state(segments())
        models.publish("segments", arrays, {"model": meta}, 0)
        RuleBook(models, population, ManualClock(0)).add(parse({"segments": RULES}), None)

    def moves(self):
        """Every recorded move, in the sequence of its customer's insights."""
        keys = (self.shop.keys.transitions(shard) for shard in range(SHARDS))
        found = [json.loads(one) for key in keys for one in self.client.zrange(key, 0, -1)]
        assert len({one["id"] for one in found}) == len(found)
        return sorted(found, key=lambda one: one["insight_version"])

    def told(self):
        """Segment and rule segments of everybody."""
        found = {}
        for customer in self.shop.profiles():
            key = self.shop.keys.insight(self.shop.keys.shard(customer), customer)
            insight = json.loads(read_insight(self.client.get(key)).json)
            audiences = {one["id"] for one in insight["audiences"]}
            found[customer] = ((insight["segment"] or {}).get("id"), audiences)
        return found

    def walked(self):
        """Where the moves lead everybody; each begins where the one before it ended."""
        found = {customer: (None, set()) for customer in self.shop.profiles()}
        for move in self.moves():
            segment, audiences = found[move["customer_id"]]
            if move["kind"] == "segment":
                assert move["from"] == segment
                segment = move["to"]
            elif move["to"] is None:
                audiences.remove(move["from"])
            else:
                assert move["to"] not in audiences
                audiences.add(move["to"])
            found[move["customer_id"]] = (segment, audiences)
        return found


@pytest.mark.parametrize("behind", [True, False], ids=["behind", "in-front"])
def test_moves_lead_everybody_where_they_are_however_often_a_process_ends(
    valkey, redis_client, behind
):
    whole = Watched(valkey, redis_client)
    commands, _ = whole.live()
    whole.finish()
    expected = whole.told()
    assert whole.walked() == expected
    assert {"buyer", "looker"} == set.union(*(audiences for _, audiences in expected.values()))
    for at in range(1, commands, 3):
        scenario = Watched(valkey, redis_client)
        scenario.live(at, behind=behind)
        scenario.live(1 + 5 * at % commands, behind=behind)
        scenario.finish()
        assert scenario.told() == expected, at
        assert scenario.walked() == expected, at

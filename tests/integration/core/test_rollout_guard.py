"""A forecast that does worse than the one before it gives way by itself, once."""

import numpy as np

from models.forecast.bundle import Bundle
from tests.integration.core.test_triggers import shop  # noqa: F401  a fixture
from worker import rollout_guard
from worker.rollout_guard import guard


def test_a_worse_version_gives_way_and_one_that_is_forced_again_stays(shop, monkeypatch):  # noqa: F811
    models = shop.runtime.models
    assert guard(shop.runtime) == [], "the first version has none before it"
    first = models.read("forecasts", 1)
    models.publish("forecasts", first.arrays, first.meta, shop.clock.now_s())
    assert guard(shop.runtime) == [], "the same is no worse"
    real, asked = rollout_guard.losses, []

    def bad(model: Bundle, past, today):
        asked.append(model)
        found = real(model, past, today)
        return np.where(len(asked) % 2, found + 0.3, found)  # the live one is asked first

    monkeypatch.setattr(rollout_guard, "losses", bad)
    models.promote("forecasts", 1, 1)
    assert guard(shop.runtime) == [], "who went back on purpose keeps it"
    models.promote("forecasts", 2, 2)
    assert guard(shop.runtime) == ["forecasts"]
    assert models.current().versions["forecasts"] == 1
    assert models.verdict("forecasts", 2).state == "refused"
    models.promote("forecasts", 2, 3)
    assert guard(shop.runtime) == []
    assert models.current().versions["forecasts"] == 2

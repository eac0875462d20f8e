"""A shop of very many customers: what its training looks at is bounded, and what it tries, too."""

from functools import cache

import numpy as np
import pytest

from models.forecast import fitting
from models.forecast.backtest import FLOOR, Scored, names_of
from models.forecast.bundle import fit_bundle, to_state
from models.forecast.families.base import TARGETS
from models.forecast.racing import leading
from models.history import from_orders

TODAY = 20_000
CUSTOMERS = 1_100
TREES = frozenset(name for t in TARGETS for name in names_of(t) if name[:6] in {"boosti", "forest"})


def shop():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(CUSTOMERS), rng.geometric(0.3, CUSTOMERS))
    day = TODAY - rng.integers(0, 400, len(who))
    return from_orders(CUSTOMERS, who, day, rng.integers(100, 20_000, len(who)))


KEY = np.random.default_rng(1).permutation(CUSTOMERS).astype(np.uint64)


@cache
def fitted(most):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "MOST_TRIED", most)
        return fit_bundle(shop(), TODAY, currency="EUR", key=KEY, without=TREES, horizons_days=[30])


def test_up_to_the_bound_all_customers_are_looked_at_and_all_candidates_tried():
    arrays, meta = to_state(fitted(CUSTOMERS))
    others, other_meta = to_state(fitted(10**9))
    assert meta == other_meta
    assert all(np.array_equal(arrays[name], others[name]) for name in others)
    assert not any("given_up" in row for told in meta["report"] for row in told["candidates"])


def test_beyond_it_level_1_knows_everybody_and_the_rest_those_of_the_lowest_hashes(monkeypatch):
    some = fitted(CUSTOMERS - 1)
    assert some.level1 == fitted(CUSTOMERS).level1
    rows = [row for told in some.report for row in told["candidates"]]
    assert {row["chosen"] for row in rows if row.get("given_up")} == {False}
    assert all(len(told["windows"]) == fitting.WINDOWS for told in some.report)
    monkeypatch.setattr(fitting, "MOST_TRIED", CUSTOMERS - 1)
    assert set(fitting.tried(shop(), KEY)) == set(np.flatnonzero(KEY < CUSTOMERS - 1))


def test_who_leads_on_newer_windows_goes_on_with_the_best_without_trees():
    rng = np.random.default_rng(2)
    chance = rng.uniform(0.05, 0.6, 4_000)
    came = (rng.random(4_000) < chance).astype(np.float64)
    said = {name: np.full(4_000, came.mean()) for name in (FLOOR, *names_of("buy"))}
    said["boosting+btyd"] = chance
    said["logistic"] = np.clip(chance + rng.normal(0.0, 0.05, 4_000), 0.01, 0.99)
    window = Scored(0, np.arange(4_000), {"buy": came}, {"buy": said})
    first = leading([window], "buy")
    assert {"boosting+btyd", "logistic"} <= set(first) < set(names_of("buy"))
    assert leading([window] * 4, "buy") == ["boosting+btyd", "logistic"]

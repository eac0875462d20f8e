"""Every artifact survives npz without pickle, and JSON; none holds a row per customer."""

import io
import json

import numpy as np
import pytest

from models.checks import ModelError
from models.features import FeatureSet
from models.forecast import forecast
from models.history import from_orders
from models.recommend import recommender
from models.recommend.fitting import fit_recommender
from models.recommend.interactions import Interactions
from models.segments import state as segment_state
from models.segments.fit import fit_matrix

CUSTOMERS = 97


def _forecaster():
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(CUSTOMERS), 3)
    histories = from_orders(
        CUSTOMERS, who, rng.integers(1, 500, len(who)), rng.integers(1, 900, len(who))
    )
    return forecast.fit_forecaster(histories, 500, currency="EUR")


def _segments():
    rng = np.random.default_rng(0)
    table = rng.lognormal(3.0, 1.0, (CUSTOMERS, 3))
    return fit_matrix(table, FeatureSet("rfm", np.ones(3)), rng=rng)


def _recommender():
    rng = np.random.default_rng(0)
    events = Interactions(*rng.integers(0, 9, (3, 400)), np.ones(400))
    names = [f"Ωmega {j}" for j in range(9)]
    return fit_recommender(events, names, CUSTOMERS, as_of_day=9, rng=rng)


ARTIFACTS = {
    "forecaster": (forecast, _forecaster),
    "segments": (segment_state, _segments),
    "recommender": (recommender, _recommender),
}


@pytest.mark.parametrize("name", ARTIFACTS)
class TestEveryArtifact:
    def at_rest(self, name):
        module, fit = ARTIFACTS[name]
        arrays, meta = module.to_state(fit())
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored), json.loads(json.dumps(meta, allow_nan=False))

    def test_it_comes_back_equal(self, name):
        module, fit = ARTIFACTS[name]
        arrays, meta = self.at_rest(name)
        again, meta_again = module.to_state(module.from_state(arrays, meta))
        expected, _ = module.to_state(fit())
        assert meta_again == meta
        assert again.keys() == expected.keys()
        for key, array in again.items():
            np.testing.assert_array_equal(array, expected[key])
            assert array.dtype == expected[key].dtype

    def test_it_holds_no_row_per_customer(self, name):
        arrays, meta = self.at_rest(name)
        assert all(CUSTOMERS not in array.shape for array in arrays.values())
        assert all(not isinstance(v, list) or len(v) < CUSTOMERS for v in meta.values())

    def test_it_refuses_a_missing_a_misshapen_or_an_infinite_array(self, name):
        module, _ = ARTIFACTS[name]
        arrays, meta = self.at_rest(name)
        for key, array in arrays.items():
            if key != "value":
                with pytest.raises(ModelError):
                    module.from_state({k: v for k, v in arrays.items() if k != key}, meta)
            for bad in (array[:-1], np.full(array.shape, np.nan)):
                with pytest.raises(ModelError):
                    module.from_state({**arrays, key: bad}, meta)

    def test_it_refuses_a_missing_or_mistyped_value(self, name):
        module, _ = ARTIFACTS[name]
        arrays, meta = self.at_rest(name)
        for key in meta:
            for bad in (None, {}, [1]):
                with pytest.raises(ModelError):
                    module.from_state(arrays, {**meta, key: bad})

"""Settings of a fit are chosen on the last closed window, and only where that is clear."""

import numpy as np
import pytest

from models.recommend.choosing import HALF_LIVES_DAYS, MOST_ASKED, NEIGHBORS, RIDGES, choose_params
from models.recommend.fitting import fit_recommender
from models.recommend.interactions import Interactions
from models.recommend.model import FEATURES, Params
from models.recommend.tuning import choices_of

WIDTH = 2 * len(FEATURES)
ASKED = 80


def part_of(share, seed=1):
    """One list: the first feature tells the bought item of that share of the customers."""
    rng = np.random.default_rng(seed)
    parts = []
    for n in range(ASKED):
        bought = np.arange(12) == rng.integers(12)
        inputs = np.zeros((12, WIDTH))
        inputs[:, 0] = bought if n < share * ASKED else rng.random(12)
        parts.append((inputs, bought))
    return choices_of(parts)


def test_a_half_life_that_does_better_takes_over_and_all_that_was_tried_is_told():
    asked = []

    def lists_of(params):
        asked.append(params)
        return [part_of(0.9 if params.half_life_days == 120 else 0.4)] * 2

    best, trials = choose_params(lists_of, ASKED)
    assert best.half_life_days == 120
    assert (best.k_neighbors, best.ridge) == Params()[1:], "what changes nothing stays"
    assert len(trials) == 1 + len(HALF_LIVES_DAYS) + len(NEIGHBORS) + len(RIDGES)
    assert trials[0].params == Params()
    won = next(one for one in trials if one.params == Params(120.0))
    assert won.gain > won.se > 0
    assert won.ndcg10 == pytest.approx(trials[0].ndcg10 + won.gain)
    collected = 1 + len(HALF_LIVES_DAYS) + len(NEIGHBORS)
    assert len(asked) == collected, "a ridge needs no candidates of its own"


def test_what_does_equally_well_changes_nothing():
    best, trials = choose_params(lambda _: [part_of(0.5)], ASKED)
    assert best == Params()
    assert [one.gain for one in trials[:5]] == [0.0] * 5


def test_nobody_to_ask_chooses_nothing():
    assert choose_params(lambda _: [choices_of([])] * 2, 0)[0] == Params()


def test_a_fit_tells_what_it_tried_and_speaks_by_what_it_chose():
    """Who bought long ago repeats as much as who bought lately: a long memory is better."""
    rng = np.random.default_rng(5)
    customers, days = 400, 360
    own = rng.integers(0, 40, (customers, 3))
    who = np.repeat(np.arange(customers), 12)
    item = own[who, rng.integers(0, 3, len(who))]
    day = rng.integers(0, days, len(who))
    events = Interactions(who, item, day, np.ones(len(who)))
    learned = []
    shop = fit_recommender(
        events, [f"i{j:02d}" for j in range(40)], customers,
        as_of_day=days - 1, search=True, rng=rng, told=learned.append,
    )  # fmt: skip
    (one,) = learned
    assert len(one.trials) >= 6
    assert shop.params == one.params
    assert one.params in [trial.params for trial in one.trials]
    assert len(one.choices[0].starts) <= customers
    assert customers > MOST_ASKED

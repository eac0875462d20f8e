"""Bad challengers stay where they are, good ones win; alarms ring for what is worse."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.challenging import Contest, judge
from models.checks import DomainError
from models.forecast.metrics import log_losses
from models.monitoring import inertia_ratio, worse_than_before
from models.recommend.evaluate import quality
from models.segments.kmeans import fit_kmeans, inertia

CUTOFFS = (200, 230)


@pytest.fixture(params=(40, 400, 4_000))
def shop(request):
    """Chances of some customers in two windows, and what they did."""
    rng = np.random.default_rng(request.param)
    chance = rng.beta(0.6, 1.4, request.param)
    return rng, chance, [(rng.random(len(chance)) < chance).astype(float) for _ in CUTOFFS]


def verdict(shop, champion, challenger, *, must_win=False, known_day=CUTOFFS[0]):
    _, chance, came = shop
    who = np.arange(len(chance))
    contests = [
        Contest(day, known_day, who, log_losses(bought, champion), log_losses(bought, challenger))
        for day, bought in zip(CUTOFFS, came, strict=True)
    ]
    return judge(contests, must_win=must_win)


@pytest.mark.parametrize("must_win", [True, False])
@pytest.mark.parametrize("bad", ["shuffled", "constant", "inverted", "sure"])
def test_a_bad_challenger_is_never_promoted(shop, bad, must_win):
    rng, chance, came = shop
    said = {
        "shuffled": rng.permutation(chance),
        "constant": np.full(len(chance), np.mean(came)),
        "inverted": 1.0 - chance,
        "sure": np.round(chance),
    }[bad]
    found = verdict(shop, chance, said, must_win=must_win)
    assert found.gain < 0
    if must_win or len(chance) >= 400:  # of fewer, that it is worse can be chance
        assert not found.promote


def test_who_knows_the_future_is_not_heard_however_good(shop):
    _, chance, came = shop
    found = verdict(shop, chance, came[0], known_day=CUTOFFS[0] + 1)
    assert not found.promote
    assert "its data end after" in found.reasons[0]


def test_a_better_challenger_wins_and_the_same_one_does_only_when_one_is_due(shop):
    rng, chance, _ = shop
    assert verdict(shop, rng.permutation(chance), chance, must_win=True).promote
    assert verdict(shop, chance, chance).promote
    assert not verdict(shop, chance, chance, must_win=True).promote


def test_one_lost_window_is_enough_to_stay():
    who, rows = np.arange(500), np.full(500, 0.5)
    contests = [Contest(1, 1, who, rows, rows - 0.2), Contest(2, 1, who, rows, rows + 0.1)]
    for must_win in (True, False):
        found = judge(contests, must_win=must_win)
        assert found.gain > found.error
        assert found.reasons == ("loses 1 of 2 windows",)


def test_what_must_win_loses_no_window_by_one_standard_error_and_what_is_due_by_three():
    rng = np.random.default_rng(1)
    who, rows, noise = np.arange(400), np.full(400, 0.5), rng.normal(0.0, 0.2, 400)
    noise -= noise.mean()
    lost = rows + noise + 1.5 * noise.std() / 20
    contests = [Contest(1, 1, who, rows, rows - 0.1), Contest(2, 1, who, rows, lost)]
    assert not judge(contests, must_win=True).promote
    assert judge(contests, must_win=False).promote


def test_nothing_is_decided_on_nobody_or_on_what_is_no_number():
    assert "20 are needed" in judge([], must_win=True).reasons[0]
    assert judge([], must_win=False).promote
    rows = np.full(30, np.nan)
    with pytest.raises(DomainError):
        judge([Contest(1, 1, np.arange(30), rows, rows)], must_win=False)


def test_lists_are_compared_by_what_they_miss():
    best = np.tile(np.arange(10), (60, 1))
    own = np.stack([np.roll(np.arange(10), -(row % 10)) for row in range(60)])
    truth = csr_array(np.eye(10)[np.arange(60) % 10])
    losses = [1.0 - quality(lists, truth).ndcg for lists in (best, own)]
    who = np.arange(60)
    assert judge([Contest(1, 1, who, *losses)], must_win=True).promote
    assert not judge([Contest(1, 1, who, *losses[::-1])], must_win=False).promote


def test_the_inertia_ratio_is_the_gap_to_a_refit():
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(at, 1.0, (500, 3)) for at in (0.0, 6.0, 12.0)])
    good = fit_kmeans(points, 3, rng)
    assert inertia_ratio(points, good) == pytest.approx(1.0, abs=0.005)
    away = good + 0.8
    expected = inertia(points, away) / inertia(points, fit_kmeans(points, 3, rng))
    assert inertia_ratio(points, away) == pytest.approx(expected, rel=0.01)
    assert inertia_ratio(points[:0], good) == 1.0


def test_a_promoted_model_gives_way_only_to_a_better_one(shop):
    rng, chance, came = shop
    good, bad = (log_losses(came[0], one) for one in (chance, rng.permutation(chance)))
    if len(chance) >= 400:
        assert worse_than_before(bad, good)
    assert not worse_than_before(good, bad)
    assert not worse_than_before(bad, bad), "a harder season is no reason to go back"

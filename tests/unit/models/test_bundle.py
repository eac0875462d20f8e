"""The bundle: who is promoted, what is stored, and what strange shops get."""

import json
from itertools import pairwise

import numpy as np
import pytest

from models.checks import DomainError, ShapeError
from models.forecast.backtest import FLOOR, Scored, names_of, score
from models.forecast.beta_geometric import MBGNBD
from models.forecast.bundle import (
    fit_bundle,
    from_state,
    predict_bundle,
    spend_distribution,
    to_state,
)
from models.forecast.conformal import Window, calibrate
from models.forecast.drivers import describe, in_words, member_drivers
from models.forecast.facts import THEMES
from models.forecast.families.registry import FAMILIES
from models.forecast.fitting import FIRST, _affordable
from models.forecast.gamma_gamma import GammaGamma
from models.forecast.gate import Choice, choose, eligible
from models.forecast.prior import SOURCES, prior_without
from models.forecast.recipe import FLOOR_ONLY, Recipe, apply
from models.forecast.sheets import EXPECTATION, Sheets, expectation_columns
from models.forecast.snapshot import NAMES
from models.forecast.spread import fit_spread, pit, quantile, simulate
from models.history import PurchaseStats, cut, from_orders, select, with_refunds

TODAY = 20_000


def shop(customers, seed=0, span=500):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(customers), rng.geometric(0.3, customers))
    day = TODAY - rng.integers(0, span, len(who))
    return from_orders(customers, who, day, rng.integers(100, 20_000, len(who)))


@pytest.fixture(scope="module")
def promoted():
    """A bundle in which supervised blends speak for P(buy) and orders."""
    histories = shop(1_200)
    sheets = Sheets(histories, 90, np.arange(1_200, dtype=np.uint64))
    bundle = fit_bundle(histories, TODAY, currency="EUR", windows=0)
    from models.forecast.backtest import fit_member

    names = {"buy": ("logistic+btyd", "boosting"), "orders": ("poisson", "forest")}
    heads = []
    for head in bundle.heads:
        found = names.get(head.target, ()) if head.horizon_days == 90 else ()
        members = tuple(fit_member(sheets, name, head.target, TODAY, 0) for name in found)
        heads.append(head._replace(recipe=Recipe(found, 0.25, 1.0), members=members, shift=0.1))
    return bundle._replace(heads=tuple(heads)), histories


def same(one, other):
    for horizon, outlook in one.outlooks.items():
        for mine, theirs in zip(outlook, other.outlooks[horizon], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_a_stored_bundle_says_the_same(promoted):
    bundle, histories = promoted
    arrays, meta = to_state(bundle)
    assert all(array.dtype != object for array in arrays.values())
    again = from_state(arrays, json.loads(json.dumps(meta)))
    same(predict_bundle(bundle, histories, TODAY), predict_bundle(again, histories, TODAY))


def test_a_damaged_bundle_is_refused(promoted):
    arrays, meta = to_state(promoted[0])
    with pytest.raises(ShapeError, match="another release"):
        from_state(arrays, {**meta, "features": ["age"]})
    with pytest.raises(DomainError):
        from_state({k: v for k, v in arrays.items() if ".state." not in k}, meta)


def test_figures_are_coherent_and_do_not_depend_on_the_others(promoted):
    bundle, histories = promoted
    said = predict_bundle(bundle, histories, TODAY)
    month, quarter = said.outlooks[30], said.outlooks[90]
    assert (month.buy <= quarter.buy).all()
    assert (month.buy <= month.orders).all()
    assert (quarter.buy <= quarter.orders).all()
    for low, mean, high in (
        (quarter.orders_low, quarter.orders, quarter.orders_high),
        (quarter.spend_low_minor, quarter.spend_minor, quarter.spend_high_minor),
    ):
        assert (low <= mean).all()
        assert (mean <= high).all()
    picked = np.array([70, 3, 999])
    few = predict_bundle(bundle, select(histories, picked), TODAY)
    for all_of, some in zip(quarter, few.outlooks[90], strict=True):
        np.testing.assert_allclose(all_of[picked], some, rtol=1e-9)


STRANGE = {
    "nobody": from_orders(0, *(np.zeros(0, int),) * 3),
    "one customer": from_orders(1, np.zeros(1, int), np.array([TODAY - 9]), np.array([100])),
    "all on one day": from_orders(60, np.arange(60), np.full(60, TODAY - 5), np.full(60, 1_000)),
    "amounts zero or negative": from_orders(
        60, np.arange(60) % 30, TODAY - np.arange(60), -np.arange(60)
    ),
    "closed for months": cut(shop(200), TODAY - 200),
    "refunds exceed orders": with_refunds(
        shop(200), np.arange(200), np.full(200, TODAY - 1), np.full(200, 10**9)
    ),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_shop_gets_finite_figures_of_level_1(name):
    histories = STRANGE[name]
    bundle = fit_bundle(histories, TODAY, currency="EUR")
    said = predict_bundle(bundle, histories, TODAY)
    for outlook in said.outlooks.values():
        assert all(np.isfinite(column).all() for column in outlook)
    assert all(head.recipe == FLOOR_ONLY for head in bundle.heads)


@pytest.mark.parametrize("name", FAMILIES)
def test_separable_outcomes_and_constant_features_stay_finite(name):
    family = FAMILIES[name]
    features = np.column_stack((np.arange(80.0), np.full(80, 3.0)))
    for target in family.targets:
        for outcome in ((np.arange(80) >= 40) * 1.0, np.zeros(80)):
            state = family.fit(features, outcome, target, 0)
            said = family.predict(state, np.vstack((features, [[1e6, 0.0]])), target)
            assert np.isfinite(said).all()
            assert (said >= 0).all()
            assert target != "buy" or (said <= 1).all()
            assert family.describe(state, features).shape == features.shape


def test_the_gate_promotes_what_knows_more_and_nothing_that_guesses():
    rng = np.random.default_rng(0)
    windows = []
    for day in (300, 200, 100):
        truth = rng.beta(1, 3, 2_000)
        bought = (rng.random(2_000) < truth) * 1.0
        vague = 0.6 * truth + 0.1
        said = {FLOOR: vague, "logistic": truth, "boosting": rng.random(2_000)}
        windows.append(Scored(day, np.arange(2_000), {"buy": bought}, {"buy": said}))
    assert eligible(windows, 30) is None
    assert choose(windows, "buy", 30).recipe.members == ("logistic",)
    guess = [
        one._replace(
            forecasts={"buy": {k: v for k, v in one.forecasts["buy"].items() if k != "logistic"}}
        )
        for one in windows
    ]
    verdicts = {row["name"]: row["verdict"] for row in choose(guess, "buy", 30).table}
    assert verdicts["boosting"] != "passed"
    year = [one._replace(day=day) for one, day in zip(windows, (290, 145, 0), strict=True)]
    assert choose(year, "buy", 90).recipe._replace(anchor=0.0) == Recipe(("logistic",))
    careful = choose(windows, "buy", 90).recipe
    assert careful.floor == 0.5
    assert careful.anchor in (0.5, 1.0)
    seasoned = choose(windows, "buy", 90, level_known=True).recipe
    assert (seasoned.floor, seasoned.anchor) == (0.5, 1.0)


def test_windows_of_ninety_days_cover_a_year_where_there_is_history():
    who, day = np.zeros(2, int), np.array([TODAY - 1200, TODAY - 1])
    sheets = Sheets(from_orders(1, who, day, np.ones(2, int)), 90, np.zeros(1, np.uint64))
    found = sheets.windows(TODAY, 5)
    assert found[0] + 90 - found[-1] >= 365
    assert all(newer - older <= 90 for newer, older in pairwise(found)), "no gap between them"


def test_what_ships_is_within_the_budget_of_all_heads_together():
    histories = shop(400)
    sheets = Sheets(histories, 90, np.arange(400, dtype=np.uint64))
    slow, quick = Recipe(("forest", "boosting")), Recipe(("logistic",))
    rows = [{"name": one.label} for one in (slow, quick, FLOOR_ONLY)]
    choice = Choice("buy", slow, "", (), rows, ((slow, "gains most"), (quick, "gains")))
    kept, members = _affordable(sheets, choice, TODAY, 0, 10_000)
    assert (kept.recipe, len(members)) == (slow, 2)
    kept, members = _affordable(sheets, choice, TODAY, 0, 300)
    assert kept.recipe == quick
    assert kept.reason == "gains; better but too slow to refresh: forest boosting"
    assert [row["chosen"] for row in kept.table] == [False, True, False]
    kept, members = _affordable(sheets, choice._replace(passed=choice.passed[:1]), TODAY, 0, 300)
    assert (kept.recipe, members) == (FLOOR_ONLY, ())
    assert "too slow" in kept.reason


def test_a_first_version_says_that_nothing_was_tried_yet():
    bundle = fit_bundle(shop(60), TODAY, currency="EUR", windows=0)
    assert {told["reason"] for told in bundle.report} == {FIRST}


def test_a_small_shop_has_a_table_of_level_1_and_the_reason():
    told = fit_bundle(shop(60), TODAY, currency="EUR", horizons_days=(30,)).report[0]
    assert told["reason"].endswith("customers; 1000 are needed")
    (row,) = told["candidates"]
    assert row["name"] == FLOOR
    assert {"loss", "auc", "ece", "bias", "chosen"} <= set(row)


def test_the_order_of_the_customers_changes_nothing():
    """More customers than are simulated: who is drawn follows from the keys."""
    histories, key = shop(3_300), np.arange(3_300, dtype=np.uint64)
    turned = np.random.default_rng(3).permutation(3_300)
    one = fit_bundle(histories, TODAY, currency="EUR", windows=0, horizons_days=(90,), key=key)
    other = fit_bundle(
        select(histories, turned), TODAY, currency="EUR", windows=0, horizons_days=(90,),
        key=key[turned],
    )  # fmt: skip
    mine, theirs = (predict_bundle(each, histories, TODAY).outlooks[90] for each in (one, other))
    for name, a, b in zip(mine._fields, mine, theirs, strict=True):
        assert np.isclose(a, b, rtol=1e-5, atol=1e-6).mean() > 0.999, name


def test_an_anchored_blend_has_the_level_of_level_1():
    rng = np.random.default_rng(1)
    said = {FLOOR: rng.beta(2, 5, 500), "forest": rng.beta(5, 2, 500)}
    anchored = apply(Recipe(("forest",), 0.0, 1.0), "buy", said, None)
    assert anchored.mean() == pytest.approx(said[FLOOR].mean(), abs=1e-6)
    assert (np.argsort(anchored) == np.argsort(said["forest"])).all()


def test_no_window_of_training_reaches_past_its_cutoff():
    histories = shop(1_200)
    key = np.arange(1_200, dtype=np.uint64)
    day = TODAY - 100
    wanted = [("buy", "logistic+btyd")]
    seen = score(Sheets(histories, 90, key), day, wanted, 0)
    blind = score(Sheets(cut(histories, day), 90, key), day, wanted, 0)
    name = "logistic+btyd"
    np.testing.assert_array_equal(seen.forecasts["buy"][name], blind.forecasts["buy"][name])


def test_intervals_cover_what_the_model_itself_simulates():
    rng = np.random.default_rng(2)
    btyd, value = MBGNBD(0.6, 6.0, 0.6, 2.0), GammaGamma(4.0, 4.0, 3_000.0)
    age = rng.uniform(100, 600, 3_000)
    count = rng.poisson(1.0, 3_000)
    zeros = np.zeros(3_000)
    recency = np.where(count > 0, age * rng.random(3_000), 0.0)
    mean = rng.uniform(1_000, 9_000, 3_000)
    stats = PurchaseStats(count * 1.0, recency, age, count + 1, count + 1, mean, zeros)
    draws = simulate(btyd, value, stats, 90.0, rng).spend
    came, rest = draws[:, 0], draws[:, 1:]
    chance, expected = (rest > 0).mean(axis=1), rest.mean(axis=1)
    keep = chance > 0
    spread = fit_spread(rest[keep], 0.0, expected[keep])
    levels = pit(spread, chance[keep], expected[keep], came[keep], rng)
    inside = ((levels >= 0.1) & (levels <= 0.9)).mean()
    assert 0.75 < inside < 0.87
    window = Window(spread, chance[keep], expected[keep], came[keep], levels)
    corrected = calibrate(spread, [window]).spread
    assert (np.diff(corrected.reached, axis=1) >= 0).all()


def of_4_000_buyers(rng):
    """Chances, means and the raw spread of customers who surely buy."""
    draws = rng.gamma(4.0, 1.0, (800, 200)) * rng.uniform(500, 5_000, (800, 1))
    mean = rng.uniform(500, 5_000, 4_000) * 4.0
    return np.ones(4_000), mean, fit_spread(draws, 0.0, mean)


def test_corrected_intervals_cover_unseen_outcomes_better_than_raw_ones():
    """Outcomes that spread wider than the posterior: three windows teach, a fourth judges."""
    rng = np.random.default_rng(4)
    chance, mean, raw = of_4_000_buyers(rng)
    windows = []
    for _ in range(4):
        came = mean * rng.gamma(1.0, 1.0, 4_000)
        windows.append(Window(raw, chance, mean, came, pit(raw, chance, mean, came, rng)))
    found = calibrate(raw, windows[:3])
    assert found.weight == 1.0
    assert found.coverage80 == pytest.approx(0.8, abs=0.02)

    def coverage(raw_too):
        low, high = (quantile(found.spread, q, chance, mean, raw=raw_too) for q in (0.1, 0.9))
        return float(((low <= came) & (came <= high)).mean())

    assert coverage(raw_too=True) < 0.65
    assert coverage(raw_too=False) == pytest.approx(0.8, abs=0.02)


def test_a_correction_that_would_have_misled_the_newer_windows_does_not_count():
    """Each window reaches other levels than those before it, in turn: the past tells nothing."""
    rng = np.random.default_rng(4)
    chance, mean, raw = of_4_000_buyers(rng)
    windows = []
    for level in (1.5, 1.0, 0.6, 1.5, 0.6):
        came = mean * level * rng.gamma(4.0, 0.25, 4_000)
        windows.append(Window(raw, chance, mean, came, pit(raw, chance, mean, came, rng)))
    assert calibrate(raw, windows).weight < 0.5
    assert calibrate(raw, windows[1:3]).spread.reached is None
    assert calibrate(raw, windows[:1]).weight == 1.0


def test_reasons_come_from_the_winner_ranked_and_in_words(promoted):
    bundle, histories = promoted
    few = select(histories, np.arange(200))
    level1 = bundle._replace(heads=())
    said, plain = describe(bundle, few, TODAY), describe(level1, few, TODAY)
    assert all(1 <= len(one) <= 3 for one in said)
    assert said != plain, "the members have a say"
    assert describe(bundle, select(few, np.array([7])), TODAY) == [said[7]]
    assert any("longer than usual" in one[0] for one in plain)
    words = " ".join(word for one in said for word in one)
    assert "_" not in words


def test_what_moves_a_model_is_told_in_words(promoted):
    bundle, histories = promoted
    (head,) = [h for h in bundle.heads if (h.target, h.horizon_days) == ("buy", 90)]
    sheet = Sheets(histories, 90, np.arange(1_200, dtype=np.uint64)).at(TODAY + 1)
    for member in head.members:
        found = member_drivers(member, sheet.snapshot.features, expectation_columns(sheet.expected))
        assert len(found) == 5
        assert not any("_" in name for name in found)
        assert list(found.values()) == sorted(found.values(), reverse=True)
    assert all(in_words(name)[0] in THEMES for name in (*NAMES, *EXPECTATION))


def test_every_family_is_found_by_its_file_and_tried_without_and_with_level_1():
    assert set(FAMILIES) == {"boosting", "forest", "linear", "logistic", "poisson", "tweedie"}
    assert set(names_of("orders")) == {
        name + suffix
        for name in ("boosting", "forest", "linear", "poisson")
        for suffix in ("", "+btyd")
    }


def test_a_source_shop_is_scored_without_its_own_row():
    for source in SOURCES:
        others = np.mean([one.logs for one in SOURCES if one.name != source.name], axis=0)
        np.testing.assert_allclose(prior_without(source.name).mean, others)
    with pytest.raises(KeyError):
        prior_without("elsewhere")


def test_money_abstains_in_a_shop_with_nine_paid_orders():
    histories = from_orders(9, np.arange(9), TODAY - np.arange(9), np.full(9, 500))
    bundle = fit_bundle(histories, TODAY, currency="EUR")
    assert not predict_bundle(bundle, histories, TODAY).forecasts.spend_known.any()
    with pytest.raises(DomainError):
        spend_distribution(bundle, histories, TODAY, 90)


def test_any_horizon_agrees_with_the_others_and_with_the_defined_fields():
    histories = shop(300)
    wanted = (7, 30, 90, 180, 365)
    bundle = fit_bundle(histories, TODAY, currency="EUR", windows=0, horizons_days=wanted)
    assert bundle.horizons_days == list(wanted)
    assert from_state(*to_state(bundle)).projected == bundle.projected
    assert bundle.projected == predict_bundle(bundle, histories, TODAY).projected
    said = predict_bundle(from_state(*to_state(bundle)), histories, TODAY)
    found = said.forecasts
    for shorter, longer in pairwise(wanted):
        one, other = said.outlooks[shorter], said.outlooks[longer]
        assert (one.buy <= other.buy).all()
        assert (one.orders <= other.orders).all()
        assert (one.spend_minor <= other.spend_minor).all()
    churn = bundle.level1.churn_horizon_days
    assert 90 < churn < 365
    returns = 1.0 - found.churn_probability
    assert (returns >= said.outlooks[180 if churn > 180 else 90].buy - 1e-9).all()
    assert (returns <= said.outlooks[365].buy + 1e-9).all()
    assert (found.p_alive >= said.outlooks[365].buy).all()
    np.testing.assert_allclose(found.expected_orders_365d, said.outlooks[365].orders)


def test_a_further_horizon_abstains_while_the_history_is_shorter():
    histories = shop(300, span=100)
    bundle = fit_bundle(
        histories, TODAY, currency="EUR", windows=0, horizons_days=(30, 60, 90, 180)
    )
    assert bundle.horizons_days == [30, 60, 90, 180]
    bundle = fit_bundle(
        shop(300, span=80), TODAY, currency="EUR", windows=0, horizons_days=(30, 60, 90, 180)
    )
    assert bundle.horizons_days == [30, 60, 90]
    why = {told["horizon_days"]: told["reason"] for told in bundle.report}
    assert why[180] == "history shorter than the horizon"
    assert why[60] != why[180]

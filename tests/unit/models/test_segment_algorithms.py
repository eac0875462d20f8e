"""Every algorithm behind one interface, and what each does with customers nobody would wish for."""

import io
import json

import numpy as np
import pytest

from models.checks import DomainError, ModelError
from models.features import FeatureSet
from models.history import from_orders
from models.segments import state
from models.segments.choosing import choose
from models.segments.density import Density
from models.segments.explaining import explain, natural_centers
from models.segments.fit import ALGORITHMS, fit_matrix, fit_segments
from models.segments.following import BOUND, follow
from models.segments.geometry import median_gap
from models.segments.kmeans import FAR_BETTER
from models.segments.labels import Label, vocabulary
from models.segments.lifecycle import BROWSING, LEAD, NEWCOMER, lifecycle_ids, lifecycle_label
from models.segments.model import OUTLIERS, assign, check_name, with_names
from models.segments.promoting import decide
from models.segments.rfm_rules import KEYS

RFM = FeatureSet("rfm", np.ones(3))


def shop(seed=0, customers=600):
    """Recency, frequency, money of three kinds of customers."""
    rng = np.random.default_rng(seed)
    third = customers // 3
    kinds = [(5, 20, 90_000), (60, 4, 12_000), (400, 1, 2_000)]
    return np.vstack([np.array(kind) * rng.lognormal(0, 0.25, (third, 3)) for kind in kinds])


def fitted(algorithm, table=None, **options):
    rng = options.pop("rng", np.random.default_rng(0))
    table = shop() if table is None else table
    return fit_matrix(table, RFM, rng=rng, algorithm=algorithm, k=options.pop("k", 3), **options)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
class TestEveryAlgorithm:
    def test_three_kinds_of_customers_are_told_apart(self, algorithm):
        ids = assign(fitted(algorithm), shop()).ids
        common = [np.bincount(ids[at : at + 200]).argmax() for at in (0, 200, 400)]
        assert len(set(common)) == 3
        at_home = [(ids[at : at + 200] == one).mean() for at, one in zip((0, 200, 400), common)]  # noqa: B905
        assert min(at_home) > 0.3 if algorithm == "rfm_rules" else min(at_home) > 0.85

    def test_it_comes_back_from_its_state_and_assigns_the_same(self, algorithm):
        model = fitted(algorithm)
        arrays, meta = state.to_state(model)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            again = state.from_state(dict(stored), json.loads(json.dumps(meta, allow_nan=False)))
        for one, other in zip(assign(model, shop(3)), assign(again, shop(3)), strict=True):
            np.testing.assert_array_equal(one, other)
        assert again.labels == model.labels

    def test_a_damaged_state_is_refused(self, algorithm):
        arrays, meta = state.to_state(fitted(algorithm))
        for key, array in arrays.items():
            for bad in (array[:-1], np.full(array.shape, np.nan)):
                with pytest.raises(ModelError):
                    state.from_state({**arrays, key: bad}, meta)
            with pytest.raises(ModelError):
                state.from_state({k: v for k, v in arrays.items() if k != key}, meta)

    def test_no_array_has_a_row_per_customer(self, algorithm):
        arrays, _ = state.to_state(fitted(algorithm))
        assert all(len(array) < 100 for array in arrays.values())

    def test_the_sequence_of_customers_changes_nobody(self, algorithm):
        order = np.random.default_rng(5).permutation(600)
        model = fitted(algorithm)
        found, shuffled = assign(model, shop()), assign(model, shop()[order])
        for one, other in zip(found, shuffled, strict=True):
            np.testing.assert_array_equal(one[order], other)

    def test_a_refit_keeps_ids_and_names(self, algorithm):
        model = fitted(algorithm)
        again = fitted(algorithm, shop(seed=8), previous=model, rng=np.random.default_rng(1))
        ids = set(model.ids.tolist())
        assert len(ids & set(again.ids.tolist())) >= len(ids) - 1
        kept = dict(zip(model.ids.tolist(), model.names, strict=True))
        for one, name in zip(again.ids.tolist(), again.names, strict=True):
            assert kept.get(one, name) == name

    def test_all_customers_alike_are_one_group(self, algorithm):
        model = fitted(algorithm, np.ones((40, 3)))
        assert len(set(assign(model, np.ones((5, 3))).ids.tolist())) == 1
        assert any("alike" in note for note in model.notes)

    def test_a_whale_does_not_own_a_segment_of_its_scale(self, algorithm):
        table = shop()
        table[0] = (0.0, 1e5, 1e12)
        found = assign(fitted(algorithm, table), table)
        assert np.isfinite(found.distance).all()
        assert any(
            "1 of the customers lie far beyond" in note for note in fitted(algorithm, table).notes
        )
        others = [np.bincount(found.ids[at : at + 200]).argmax() for at in (0, 200, 400)]
        assert len(set(others)) == 3

    def test_a_constant_feature_counts_for_nothing_and_a_note_says_so(self, algorithm):
        table = shop()
        table[:, 2] = 700.0
        model = fitted(algorithm, table)
        assert any("money_minor" in note for note in model.notes)
        other = table.copy()
        other[:, 2] = 9e9
        if algorithm != "rfm_rules":  # whose top quintile is open
            assert (assign(model, other).ids == assign(model, table).ids).all()

    def test_what_is_no_number_is_refused_by_row(self, algorithm):
        table = shop()
        table[7, 0] = np.nan
        with pytest.raises(DomainError, match="row 7"):
            fitted(algorithm, table)

    def test_fewer_customers_than_segments(self, algorithm):
        model = fitted(algorithm, shop(customers=30), k=50)
        assert len(model.ids) <= 11
        assert any("50 segments were asked for" in note for note in model.notes)

    def test_following_moves_centers_within_the_bound_and_nothing_else(self, algorithm):
        model = fitted(algorithm)
        found = follow(model, shop(seed=4) * np.array([3.0, 1.0, 1.0]), rate=1.0)
        assert (found.model.ids == model.ids).all()
        assert found.model.labels == model.labels
        assert found.model.scaling is model.scaling
        if algorithm in {"kmeans", "minibatch", "agnes"}:
            step = np.linalg.norm(found.model.geometry.centers - model.geometry.centers, axis=1)
            assert 0 < step.max() <= BOUND * median_gap(model.geometry.centers) * (1 + 1e-9)
            assert found.after < found.before
            assert found.model.step == model.step + 1
        else:
            assert found.model is model


def test_dbscan_finds_whom_no_group_holds():
    table = np.vstack((shop(), [[3000.0, 300.0, 5.0]]))
    model = fitted("dbscan", table)
    assert isinstance(model.geometry, Density)
    assert model.label(OUTLIERS).key == "outliers"
    found = assign(model, table)
    assert found.ids[-1] == OUTLIERS
    assert found.outlier[-1] > 1
    assert (found.outlier[found.ids != OUTLIERS] <= 1).all()


def test_dbscan_on_nothing_but_noise_says_so_and_makes_one_segment():
    scattered = np.expm1(np.random.default_rng(1).uniform(0, 9, (30, 3)))
    noise = fitted("dbscan", scattered)
    assert noise.names == ("Everyone",)
    assert "dense enough" in noise.notes[-1]
    assert (assign(noise, scattered).ids == 1).all()
    alike = fitted("dbscan", np.ones((40, 3)))
    assert alike.names == ("Everyone",)
    assert alike.notes == ("All customers are alike: they are one segment.",)


def test_dbscan_where_most_are_alike_finds_them_and_leaves_the_others_out():
    table = np.vstack((np.tile([30.0, 1.0, 1_000.0], (950, 1)), shop(1, 60)[:50]))
    model = fitted("dbscan", table)
    ids = assign(model, table).ids
    assert set(ids[:950].tolist()) == {1}
    assert (ids[950:] == OUTLIERS).mean() > 0.5
    assert not any("dense enough" in note for note in model.notes)


def test_agnes_is_cut_by_height():
    low, high = (fitted("agnes", height=height) for height in (1.0, 1e9))
    assert len(high.ids) == 1 < len(low.ids) <= 20


def test_the_rules_have_the_classical_names_and_the_best_are_champions():
    rng = np.random.default_rng(2)
    table = rng.lognormal(3, 1, (500, 3))
    table[:5] = (0.0, 5e3, 5e3)
    table[5:10] = (9e3, 0.1, 0.1)
    model = fitted("rfm_rules", table)
    assert {label.key for label in model.labels} == set(KEYS)
    found = [model.label(one).key for one in assign(model, table[:10]).ids.tolist()]
    assert found == ["champions"] * 5 + ["lost"] * 5


def test_reasons_add_up_and_name_the_feature_that_decides():
    model = fitted("kmeans")
    why = explain(model, np.array([[5.0, 20.0, 90_000.0]]))
    assert sum(reason.share for reason in why.reasons) == pytest.approx(1.0)
    assert {reason.feature for reason in why.reasons} == set(RFM.columns)
    assert 0 < why.margin <= 1
    kept = explain(model, np.array([[5.0, 20.0, 90_000.0]]), why.runner_up_id)
    assert (kept.segment_id, kept.runner_up_id, kept.margin) == (
        why.runner_up_id,
        why.segment_id,
        0.0,
    )
    best = natural_centers(model)[np.searchsorted(model.ids, why.segment_id)]
    np.testing.assert_allclose(best, (5, 20, 90_000), rtol=0.1)


def test_the_gate_lets_a_better_model_pass_and_tells_what_stops_a_worse_one():
    live, table = fitted("kmeans"), shop(seed=8)
    refit = fitted("kmeans", table, previous=live)
    assert decide(refit, live, table, table, scheduled=True, auc_gain=0.0).promote
    assert not decide(refit, live, table, table, scheduled=True, auc_gain=-0.01).promote
    assert decide(refit, None, table, table, scheduled=True).promote
    stranger = fitted("kmeans", table, k=5, rng=np.random.default_rng(3))
    crowd = decide(stranger, live, table, table, scheduled=True)
    assert crowd.ask
    assert not crowd.promote
    assert "would move" in crowd.reasons[0]


def test_live_segments_that_no_longer_fit_at_all_keep_nobody_where_they_are():
    live, table = fitted("kmeans"), shop(seed=8) * np.array([9.0, 0.2, 0.1])
    refit = fitted("kmeans", table, previous=live)
    found = decide(refit, live, table, table, scheduled=True)
    assert found.promote
    assert found.inertia_ratio < FAR_BETTER


def test_an_operator_names_a_segment_but_not_as_another_one_is_called():
    model = fitted("kmeans")
    check_name(model, 2, "Regulars")
    renamed = with_names(model, {2: "Regulars", 9: "of a segment that is gone"})
    assert renamed.names[1] == renamed.label(2).name("zh") == "Regulars"
    assert with_names(renamed, {}) == model
    for bad in (model.names[0], model.label(1).name("zh"), "x" * 81, "Lead", "潜在客户"):
        with pytest.raises(DomainError):
            check_name(model, 2, bad)
    with pytest.raises(DomainError, match="segment 99"):
        check_name(model, 99, "x")


def test_names_stay_distinct_whatever_operators_and_trainings_bring_together():
    model = fitted("kmeans")
    ours = model.names
    taken = with_names(model, {1: ours[1], 3: ours[2]})
    assert taken.names == (ours[1], f"{ours[1]} (2)", ours[2])
    twice = with_names(model, {1: "VIP", 2: "VIP"})
    assert twice.names == ("VIP", *ours[1:])
    renamed = with_names(model, {1: "VIP"})
    check_name(renamed, 2, ours[0])
    back = with_names(renamed, {2: ours[0]})
    assert back.names[:2] == (f"{ours[0]} (2)", ours[0])


def test_every_word_is_there_in_english_and_chinese_and_no_two_names_are_alike():
    words = vocabulary()
    for section in words.values():
        assert all(set(entry) == {"en", "zh"} for entry in section.values())
    for language in ("en", "zh"):
        names = [Label(key).name(language) for key in words["names"]]
        assert len(set(names)) == len(names)
    assert set(KEYS) <= set(words["names"])
    assert Label("loyal", levels=(-1, 1, 0)).description("zh").endswith("。")


def test_customers_without_orders_have_a_place():
    ids = lifecycle_ids(np.array([95, 10, 95, 10]), np.array([-1, 99, 98, 10]), 100)
    assert ids.tolist() == [NEWCOMER, BROWSING, BROWSING, LEAD]
    assert [lifecycle_label(one).name() for one in ids.tolist()] == [
        "Newcomer",
        "Browsing",
        "Browsing",
        "Lead",
    ]
    with pytest.raises(DomainError, match="after today"):
        lifecycle_ids(np.array([101]), np.array([-1]), 100)


def test_the_choice_is_made_by_what_the_next_window_brings_among_the_stable():
    rng = np.random.default_rng(0)
    who, day = [], []
    for customer in range(200):
        days = np.arange(rng.integers(0, 9), 360, 9 if customer < 100 else 170)
        kept = days[rng.random(len(days)) < 0.8]
        who += [customer] * len(kept)
        day += kept.tolist()
    past = from_orders(200, np.array(who), np.array(day), np.full(len(who), 900))
    choice = choose(past, 360, rng=rng, horizon_days=30, algorithms=("kmeans",), sizes=(2, 4))
    assert choice.k in {2, 4}
    assert choice.scores[0].auc > 0.7
    assert {score.k for score in choice.scores} == {2, 4}
    with pytest.raises(DomainError, match="customers before the window"):
        choose(past, 20, rng=rng, horizon_days=30)


def test_a_way_that_leaves_a_handful_of_customers_apart_is_not_chosen():
    rng = np.random.default_rng(0)
    daily = [(one, day) for one in range(2) for day in range(360)]
    others = [(one, day) for one in range(2, 300) for day in range(int(rng.integers(300)), 360, 80)]
    who, day = np.array(daily + others).T
    amount = np.where(who < 2, 90_000, 900)
    past = from_orders(300, who, day, amount)
    choice = choose(past, 360, rng=rng, horizon_days=30, algorithms=("kmeans",), sizes=(2, 8))
    apart = next(score for score in choice.scores if score.problem)
    assert apart.problem == "a segment has 0.7 % of the customers, not 2 %"
    assert choice.k != apart.k


def test_shipped_features_travel_with_the_version(cdnow, end_of_calibration):
    model = fit_segments(cdnow, end_of_calibration, rng=np.random.default_rng(0), k=6)
    assert model.features.value is not None
    again = state.from_state(*state.to_state(model))
    day = end_of_calibration + 30
    np.testing.assert_array_equal(again.matrix(cdnow, day), model.matrix(cdnow, day))


def test_the_names_of_a_real_shop_say_what_its_segments_do(cdnow, end_of_calibration):
    model = fit_segments(cdnow, end_of_calibration, rng=np.random.default_rng(0), k=6)
    table = model.matrix(cdnow, end_of_calibration)
    ids = assign(model, table).ids
    praised = [label.key in {"champions", "loyal"} for label in model.labels]
    best = np.isin(ids, model.ids[praised])
    assert best.any()
    recency, frequency, money = np.median(table[best, :3], axis=0)
    everyone = np.median(table[:, :3], axis=0)
    assert recency < everyone[0]
    assert frequency > everyone[1]
    assert money > everyone[2]
    later = (cdnow.day > end_of_calibration) & (cdnow.day <= end_of_calibration + 90)
    who = np.repeat(np.arange(len(ids)), np.diff(cdnow.starts))
    bought = np.bincount(who[later], minlength=len(ids)) > 0
    assert bought[best].mean() > 1.5 * bought.mean()

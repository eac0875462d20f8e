import numpy as np
import pytest

from models.checks import DomainError, ShapeError
from models.features import FeatureSet
from models.segments.examples import on_a_line
from models.segments.fit import fit_matrix
from models.segments.fit import fit_segments as fit_histories
from models.segments.labels import Label
from models.segments.matching import match_centroids
from models.segments.model import assign
from models.segments.naming import key_of, label_segments
from models.segments.scaling import fit_scaling, rescale, scale
from models.segments.settling import Policy, settle, unsettled


def shop(seed=0, customers=600):
    """Recency, frequency, money of three kinds of customers."""
    rng = np.random.default_rng(seed)
    third = customers // 3
    kinds = [(5, 20, 90_000), (60, 4, 12_000), (400, 1, 2_000)]
    return np.vstack([np.array(kind) * rng.lognormal(0, 0.25, (third, 3)) for kind in kinds])


RFM = FeatureSet("rfm", np.ones(3))


def fit_segments(table, **options):
    return fit_matrix(table, RFM, **options)


@pytest.fixture
def model():
    return fit_segments(shop(), k=3, rng=np.random.default_rng(1))


def test_three_kinds_are_three_segments_with_their_names(model):
    ids = assign(model, shop()).ids
    assert all(len(set(ids[start : start + 200])) == 1 for start in (0, 200, 400))
    assert set(model.names) >= {"Champions", "Lapsed"}
    assert model.ids.tolist() == [1, 2, 3]
    assert model.next_id == 4


def test_a_refit_on_moved_customers_keeps_ids_names_and_people(model):
    drifted = shop(seed=9) * np.array([1.15, 1.1, 1.2])
    again = fit_segments(drifted, k=3, rng=np.random.default_rng(2), previous=model)
    assert again.ids.tolist() == model.ids.tolist()
    assert again.names == model.names
    assert again.next_id == model.next_id
    assert (assign(again, shop()).ids == assign(model, shop()).ids).all()


def test_a_cold_refit_without_the_live_model_may_not_keep_ids_but_matching_does():
    live = np.array([[0.0, 0.0], [5.0, 5.0], [-5.0, 5.0]])
    shuffled = live[[2, 0, 1]] + 0.1
    assert match_centroids(shuffled, live, np.array([1, 2, 3]), 4).ids.tolist() == [3, 1, 2]


def test_a_segment_more_gets_a_new_id_and_a_dropped_id_never_comes_back(model):
    rng = np.random.default_rng(3)
    more = fit_segments(shop(), k=4, rng=rng, previous=model)
    assert set(more.ids) == {1, 2, 3, 4}
    assert more.next_id == 5
    fewer = fit_segments(shop(), k=2, rng=rng, previous=more)
    assert set(fewer.ids) < set(more.ids)
    back = fit_segments(shop(), k=4, rng=rng, previous=fewer)
    assert back.next_id == 7
    assert set(back.ids) & set(more.ids) == set(fewer.ids)


def test_a_far_centroid_is_new_even_where_a_live_id_is_free():
    live = np.array([[0.0], [4.0]])
    matched = match_centroids(np.array([[0.1], [40.0]]), live, np.array([1, 2]), 3)
    assert (matched.ids.tolist(), matched.next_id) == ([1, 3], 4)


def test_few_customers_make_few_segments_and_a_note_says_so():
    rng = np.random.default_rng(4)
    assert len(fit_segments(shop(), rng=rng).ids) == 6
    few = fit_segments(shop(customers=30), rng=rng)
    assert len(few.ids) == 3
    assert few.notes == ("6 segments were asked for; 30 customers, 30 of them distinct, make 3.",)


def test_customers_all_alike_are_one_segment():
    model = fit_segments(np.ones((40, 3)), rng=np.random.default_rng(0))
    found = assign(model, np.ones((2, 3)))
    assert found.ids.tolist() == found.runner_up.tolist() == [1, 1]
    assert found.distance.tolist() == [0, 0]
    assert model.notes == ("All customers are alike: they are one segment.",)


def test_fewer_than_thirty_customers_or_impossible_features_are_refused(model):
    rng = np.random.default_rng(0)
    with pytest.raises(DomainError, match="30 customers"):
        fit_segments(shop()[:29], rng=rng)
    for bad in (-1.0, np.nan, np.inf):
        features = shop()
        features[3, 1] = bad
        with pytest.raises(DomainError, match="row 3"):
            fit_segments(features, rng=rng)
        with pytest.raises(DomainError, match="row 3"):
            assign(model, features)
    with pytest.raises(ShapeError):
        assign(model, np.ones((5, 2)))


def test_the_same_generator_gives_the_same_model():
    first, second = (fit_segments(shop(), rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_allclose(first.geometry.centers, second.geometry.centers)
    assert first.names == second.names


def test_settling_needs_a_clear_difference():
    two = on_a_line(0.0, 2.0)
    at = np.expm1(np.array([[1.0], [1.04], [1.2]])).repeat(3, axis=1)
    in_1, in_99 = (unsettled(3)._replace(ids=np.full(3, one)) for one in (1, 99))
    assert assign(two, at).ids.tolist() == [1, 2, 2]
    assert settle(two, at, in_1, 5, Policy(0.0, margin=0.1)).ids.tolist() == [1, 1, 2]
    assert settle(two, at, in_99, 5, Policy(0.0, margin=0.1)).ids.tolist() == [1, 2, 2]
    assert settle(two, at, in_1, 5, Policy(0.0)).ids.tolist() == [1, 2, 2]


def test_a_warm_start_on_cdnow_moves_few_customers(cdnow, end_of_calibration):
    first = fit_histories(cdnow, end_of_calibration, k=6, rng=np.random.default_rng(0))
    day = end_of_calibration + 28
    second = fit_histories(cdnow, day, rng=np.random.default_rng(1), previous=first)
    later = first.matrix(cdnow, day)
    assert second.ids.tolist() == first.ids.tolist()
    assert (assign(first, later).ids != assign(second, second.matrix(cdnow, day)).ids).mean() < 0.1


def test_a_constant_column_scales_to_zero_and_a_nearly_constant_one_does_not():
    features = np.ones((100, 2))
    features[:3, 1] = 50.0
    points = scale(fit_scaling(features), features)
    assert (points[:, 0] == 0).all()
    assert (points[:3, 1] > 1).all()
    assert (points[3:, 1] == 0).all()


def test_the_spread_is_the_range_of_the_middle_90_percent_whatever_the_extremes():
    logs = np.append(np.linspace(0.0, 10.0, 1001), [20.0])
    scaling = fit_scaling(np.expm1(logs)[:, None])
    np.testing.assert_allclose(scaling.center, [5.0], atol=0.01)
    np.testing.assert_allclose(scaling.spread, [9.0 / 3.29], rtol=0.002)


def test_rescaling_carries_points_over():
    old, new = fit_scaling(shop()), fit_scaling(shop(seed=5) * 1.3)
    features = shop(seed=6)[200:400]
    np.testing.assert_allclose(
        rescale(scale(old, features), old, new), scale(new, features), atol=1e-9
    )


@pytest.mark.parametrize(
    ("z", "name"),
    [
        ((-1, 1, 1), "Champions"),
        ((-1, 1, 0), "Loyal"),
        ((-1, 0, 1), "Big baskets"),
        ((-1, -1, -1), "New"),
        ((-1, -1, -1, -1), "New"),
        ((-1, -1, -1, 1), "Recent, low spend"),
        ((1, 1, 1), "At risk, valuable"),
        ((1, -1, -1), "Lapsed"),
        ((0, 1, 1), "Occasional, high spend"),
        ((1, 0, 0), "Dormant, average spend"),
        ((-1, 0, 0), "Recent, average spend"),
    ],
)
def test_the_vocabulary(z, name):
    assert Label(key_of(np.array(z, dtype=float))).name() == name


def names(z, kept):
    return tuple(label.name() for label in label_segments(z, kept))


def test_namesakes_are_told_apart():
    z = np.array([[-1.0, 0.8, 0.9], [-1.0, 2.5, 1.0]])
    pair = names(z, [None, None])
    assert pair == ("Champions (fewer orders)", "Champions (more orders)")
    assert names(z, [Label("champions"), None]) == ("Champions", "Champions (more orders)")
    for alike in (3, 4, 9):
        found = label_segments(np.tile([-1.0, 1.0, 1.0], (alike, 1)), [None] * alike)
        for language in ("en", "zh"):
            assert len({label.name(language) for label in found}) == alike


def test_a_living_name_stays_until_its_rule_has_failed_clearly_in_two_retrains():
    slipping, gone = np.array([[-0.4, 0.4, 0.4]]), np.array([[0.9, -0.9, -0.9]])
    assert names(slipping, [Label("champions")]) == ("Champions",)
    once = label_segments(gone, [Label("champions")])
    assert (once[0].key, once[0].failed) == ("champions", 1)
    assert label_segments(slipping, once)[0].failed == 0
    assert names(gone, once) == ("Lapsed",)


def test_what_a_segment_is_no_more_it_is_not_called_either(model):
    everyone = fit_segments(np.ones((40, 3)), rng=np.random.default_rng(0))
    assert everyone.names == ("Everyone",)
    divided = fit_segments(shop(), k=3, rng=np.random.default_rng(0), previous=everyone)
    assert 1 in divided.ids
    assert "Everyone" not in divided.names
    ruled = fit_segments(shop(), rng=np.random.default_rng(0), algorithm="rfm_rules")
    again = fit_segments(shop(), k=3, rng=np.random.default_rng(0), previous=ruled)
    assert set(again.names) == set(model.names)


def test_ids_that_another_version_has_had_are_never_given_again(model):
    rng = np.random.default_rng(0)
    kept_back = fit_segments(shop(), k=4, rng=rng, previous=model)
    other = fit_segments(shop(5), k=4, rng=rng, previous=model, first_id=kept_back.next_id)
    fresh = set(other.ids.tolist()) - set(model.ids.tolist())
    assert fresh.isdisjoint(kept_back.ids.tolist())
    assert other.next_id > kept_back.next_id
    alone = fit_segments(shop(), k=3, rng=rng, first_id=9)
    assert alone.ids.tolist() == [9, 10, 11]

"""Assignment and matching over models nobody has chosen."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.features import FeatureSet
from models.segments.fit import ALGORITHMS, fit_matrix
from models.segments.following import follow
from models.segments.geometry import Centroids
from models.segments.kmeans import SPARE, WORTH
from models.segments.labels import Label
from models.segments.matching import match_centroids
from models.segments.model import SegmentModel, assign
from models.segments.naming import label_segments
from models.segments.scaling import Scaling, fit_scaling, scale
from models.segments.settling import Policy, settle, unsettled

FEATURES = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(0, 1e9))
POINTS = arrays(
    np.float64, st.tuples(st.integers(1, 8), st.just(3)), elements=st.floats(-3, 3), unique=True
)


@st.composite
def segment_models(draw):
    centroids = draw(POINTS)
    k = len(centroids)
    center = draw(arrays(np.float64, 3, elements=st.floats(0, 10)))
    spread = draw(arrays(np.float64, 3, elements=st.sampled_from([0.0, 0.3, 1.0, 4.0])))
    ids = np.array(sorted(draw(st.sets(st.integers(0, 99), min_size=k, max_size=k))))
    labels = tuple(Label("everyone", number=i) for i in range(k))
    weights = draw(arrays(np.float64, 3, elements=st.sampled_from([0.5, 1.0, 2.0])))
    return SegmentModel(
        algorithm="kmeans",
        features=FeatureSet("rfm", weights),
        scaling=Scaling(center, spread),
        geometry=Centroids(centroids),
        ids=ids,
        labels=labels,
        next_id=100,
        population=np.zeros((2, 3)),
        inertia=draw(st.floats(0, 9)),
    )


@given(segment_models(), FEATURES)
def test_the_nearest_centroid_wins_and_the_margin_says_by_how_much(model, features):
    found = assign(model, features)
    points = model.points(features)
    by_id = dict(zip(model.ids.tolist(), model.geometry.centers, strict=True))
    for row, point in enumerate(points):
        distance = {i: np.sqrt(((point - c) ** 2).sum()) for i, c in by_id.items()}
        ranked = sorted(distance, key=lambda i: (distance[i], i))
        assert found.ids[row] == ranked[0]
        assert found.distance[row] == distance[ranked[0]]
        assert found.runner_up[row] == ranked[min(1, len(ranked) - 1)]
    assert ((found.margin >= 0) & (found.margin <= 1)).all()


@given(segment_models(), FEATURES, st.floats(0, 0.9))
def test_batches_change_nothing_and_settled_customers_stay(model, features, margin):
    whole = assign(model, features)
    for row in range(len(features)):
        alone = assign(model, features[row : row + 1])
        assert all(a[0] == w[row] for a, w in zip(alone, whole, strict=True))
    start = unsettled(len(features))._replace(ids=np.resize(model.ids, len(features)))
    policy = Policy(margin=margin)
    settled = settle(model, features, start, 9, policy)
    np.testing.assert_equal(settle(model, features, settled, 9, policy), settled)
    assert ((settled.ids == start.ids) | (settled.ids == whole.ids)).all()
    nearest = start._replace(ids=whole.ids)
    assert (settle(model, features, nearest, 9, policy).ids == whole.ids).all()


@given(segment_models(), FEATURES, st.randoms(use_true_random=False))
def test_the_sequence_of_customers_changes_nothing_in_settling_and_following(model, table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    start = unsettled(len(table))._replace(ids=np.resize(model.ids, len(table)))
    settled = settle(model, table, start, 9)
    shuffled = settle(model, table[order], type(start)(*(one[order] for one in start)), 9)
    np.testing.assert_equal(shuffled, type(start)(*(one[order] for one in settled)))
    centers = [follow(model, rows).model.geometry.centers for rows in (table, table[order])]
    np.testing.assert_array_equal(*centers)


@given(st.sampled_from(ALGORITHMS), st.integers(0, 2**31), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=12)
def test_the_sequence_of_customers_changes_nothing_in_a_fit(algorithm, seed, random):
    table = np.random.default_rng(seed).lognormal(2, 2, (60, 3))
    order = list(range(len(table)))
    random.shuffle(order)
    one, other = (
        fit_matrix(
            rows,
            FeatureSet("rfm", np.ones(3)),
            rng=np.random.default_rng(seed),
            algorithm=algorithm,
            k=3,
        )
        for rows in (table, table[order])
    )
    np.testing.assert_array_equal(one.geometry.centers, other.geometry.centers)
    assert one.labels == other.labels
    np.testing.assert_array_equal(assign(one, table).ids[order], assign(other, table[order]).ids)


@given(POINTS, POINTS, st.randoms(use_true_random=False))
def test_matching_is_one_to_one_never_reuses_an_id_and_knows_identical_centroids(new, live, random):
    ids = np.arange(5, 5 + len(live))
    matched = match_centroids(new, live, ids, 50)
    assert len(set(matched.ids)) == len(new)
    fresh = [i for i in matched.ids.tolist() if i not in ids]
    assert sorted(fresh) == list(range(50, matched.next_id))
    order = list(range(len(live)))
    random.shuffle(order)
    assert match_centroids(live[order], live, ids, 50).ids.tolist() == ids[order].tolist()


@given(FEATURES)
def test_scaled_features_are_bounded_finite_and_ordered_as_before(features):
    points = scale(fit_scaling(features), features)
    assert np.isfinite(points).all()
    assert (np.abs(points) <= 3).all()
    for column in range(3):
        order = np.argsort(features[:, column], kind="stable")
        assert (np.diff(points[order, column]) >= 0).all()


@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 4), min_size=1, max_size=9), st.data())
def test_names_are_distinct_in_both_languages_and_stay_on_a_second_look(rows, data):
    z = np.array(rows)
    labels = label_segments(z, [None] * len(z))
    assert label_segments(z, labels) == labels
    kept = [data.draw(st.sampled_from([label, None])) for label in labels]
    for found in (labels, label_segments(z, kept)):
        for language in ("en", "zh"):
            assert len({label.name(language) for label in found}) == len(z)


@given(st.integers(30, 80), st.integers(0, 2**31), st.integers(1, 9))
@settings(deadline=None, max_examples=10)
def test_any_shop_can_be_segmented_and_segmented_again(customers, seed, distinct):
    rng = np.random.default_rng(seed)
    features = rng.lognormal(2, 2, (distinct, 3))[rng.integers(0, distinct, customers)].round()
    rfm = FeatureSet("rfm", np.ones(3))
    model = fit_matrix(features, rfm, rng=rng)
    again = fit_matrix(features, rfm, rng=rng, previous=model)
    assert len(model.ids) <= distinct
    assert len(again.ids) == len(model.ids)
    before, after = (np.square(assign(one, features).distance).mean() for one in (model, again))
    if (again.ids == model.ids).all():
        assert after <= (1 + SPARE) * before + 1e-9
        assert again.names == model.names
    else:  # another optimum was clearly better, and far away
        assert after < (1 - WORTH / 2) * before

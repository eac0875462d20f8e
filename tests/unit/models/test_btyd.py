import numpy as np
import pytest
from scipy.special import betaln

from models.checks import DomainError, ShapeError
from models.forecast import alive
from models.forecast.beta_geometric import log_likelihood_gradient
from models.forecast.btyd import (
    BGNBD,
    MAX_WAIT_DAYS,
    MBGNBD,
    PRIOR,
    expected_purchases,
    fit_bg_nbd,
    fit_mbg_nbd,
    log_likelihood,
    next_purchase_quantile,
    p_alive,
    purchase_probability,
)

CDNOW = MBGNBD(r=0.5248, alpha=6.183, a=0.8914, b=1.614)
CDNOW_BG = BGNBD(r=0.243, alpha=4.414, a=0.793, b=2.426)


@pytest.mark.parametrize("model", [CDNOW, CDNOW_BG])
def test_the_formulas_agree_with_a_simulated_shop(model):
    """Customers are followed to day 600; what the first 300 days say must hold in the next 300."""
    rng = np.random.default_rng(4)
    n = 200_000
    rate, leaves = rng.gamma(model.r, 1 / model.alpha, n), rng.beta(model.a, model.b, n)
    here = rng.random(n) >= leaves * model.first_may_be_last
    now, frequency, recency, later = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    alive_at_300 = here.copy()
    while here.any():
        now = now + rng.exponential(1, n) * model.unit_days / np.maximum(rate, 1e-300)
        early, late = here & (now <= 300), here & (now > 300) & (now <= 600)
        frequency, later = frequency + early, later + late
        recency = np.where(early, now, recency)
        stays = rng.random(n) >= leaves
        alive_at_300 = np.where(early, stays, alive_at_300)
        here = (early | late) & stays
    history = (frequency, recency, np.full(n, 300.0))
    for low, high in ((0, 0), (1, 1), (2, 4), (5, 1e9)):
        rows = (frequency >= low) & (frequency <= high)
        mine = tuple(column[rows] for column in history)
        tolerance = 5 * later[rows].std() / np.sqrt(rows.sum())
        assert abs(p_alive(model, *mine).mean() - alive_at_300[rows].mean()) < 0.01
        chance = purchase_probability(model, 300.0, *mine).mean()
        assert abs(chance - (later[rows] > 0).mean()) < 0.01
        assert abs(expected_purchases(model, 300.0, *mine).mean() - later[rows].mean()) < tolerance


def test_the_authors_customer_in_weeks_and_in_days():
    in_days = BGNBD(0.243, 4.414 * 7, 0.793, 2.426, unit_days=1.0)
    history = np.array([[2.0], [30.43 * 7], [38.86 * 7]])
    for model in (CDNOW_BG, in_days):
        assert expected_purchases(model, 273.0, *history).round(3) == [1.226]


def test_bg_nbd_thinks_every_one_time_buyer_alive_and_mbg_nbd_does_not():
    history = np.array([[0.0], [0.0], [900.0]])
    assert p_alive(CDNOW_BG, *history) == [1.0]
    assert p_alive(CDNOW, *history) < 0.3


def test_the_gradient_is_the_slope_of_the_likelihood():
    rng = np.random.default_rng(0)
    x, t = rng.poisson(2.0, 40).astype(float), rng.uniform(5.0, 40.0, 40)
    t_x = np.where(x > 0, t * rng.random(40), 0.0)
    for family in (MBGNBD, BGNBD):
        center = np.log([0.6, 5.0, 0.8, 2.0])
        _, gradient = log_likelihood_gradient(family(*np.exp(center), 1.0), x, t_x, t)
        for i in range(4):
            step = np.zeros(4)
            step[i] = 1e-5
            up = log_likelihood(family(*np.exp(center + step), 1.0), x, t_x, t)
            down = log_likelihood(family(*np.exp(center - step), 1.0), x, t_x, t)
            np.testing.assert_allclose(gradient[i], (up - down) / 2e-5, rtol=1e-5, atol=1e-7)


def dense_mean(rate_shape, reach, a, b):
    """The expectation by brute force over logit(p)."""
    y = np.linspace(-45 / a - 60, 60, 200_001)
    log_p, log_q = -np.logaddexp(0, -y), -np.logaddexp(0, y)
    p = np.exp(log_p)
    gain = np.where(
        p * reach < 1e-13, rate_shape * reach, -np.expm1(-rate_shape * np.log1p(p * reach)) / p
    )
    return np.sum(np.exp(a * log_p + b * log_q - betaln(a, b)) * gain) * (y[1] - y[0])


def test_expected_purchases_if_alive_agree_with_brute_force_over_many_parameters():
    rng = np.random.default_rng(1)
    for _ in range(60):
        r, a, b = np.exp(rng.uniform(-2.0, 3.0, 3))
        x, reach = float(rng.integers(0, 400)), float(np.exp(rng.uniform(-4.0, 4.0)))
        found = alive.purchases_if_alive(
            np.array([r + x]), np.array([reach]), float(a), np.array([b + x + 1])
        )
        assert found[0] == pytest.approx(dense_mean(r + x, reach, a, b + x + 1), rel=1e-8)


def test_customers_who_all_leave_alike_are_summed_by_quadrature():
    """SciPy's 2F1 is 4e-5 off here: as the horizon grows, its expectation falls."""
    model = MBGNBD(r=148.4131591025766, alpha=1.0, a=148.4131591025766, b=1.0)
    history = np.array([[1000.0], [0.0], [0.0]])
    counts = [expected_purchases(model, days, *history)[0] for days in (30.0, 90.0, 365.0, 3650.0)]
    assert np.diff(counts).min() > -1e-12
    for reach in (0.01, 1.0, 50.0):
        for a in (60.0, 148.4, 3000.0):
            found = alive.purchases_if_alive(
                np.array([1148.4]), np.array([reach]), a, np.array([1002.0])
            )
            assert found[0] == pytest.approx(dense_mean(1148.4, reach, a, 1002.0), rel=1e-9)


@pytest.mark.parametrize("a", [1.0, 1.0 + 1e-12, 1.0 - 1e-9, 1.0 + 1e-6])
def test_the_removable_pole_at_a_equal_one_is_removed(a):
    found = alive.purchases_if_alive(np.array([2.5]), np.array([1.5]), a, np.array([3.0]))
    assert found[0] == pytest.approx(dense_mean(2.5, 1.5, 1.0, 3.0), rel=1e-5)


def test_where_the_2f1_fails_the_quadrature_takes_over(monkeypatch):
    arguments = np.array([2.5, 40.0]), np.array([1.5, 0.2]), 0.7, np.array([3.0, 41.0])
    expected = alive.purchases_if_alive(*arguments)
    for broken in (np.nan, np.inf, -1e9):
        monkeypatch.setattr(alive, "hyp2f1", lambda *_, value=broken: np.full(2, value))
        np.testing.assert_allclose(alive.purchases_if_alive(*arguments), expected, rtol=1e-6)


def test_the_quantile_inverts_the_purchase_probability_given_alive():
    history = np.array([[0.0, 3.0, 50.0], [0.0, 100.0, 390.0], [30.0, 200.0, 400.0]])
    for within in (None, 365.0):
        for q in (0.1, 0.5, 0.9):
            wait = next_purchase_quantile(CDNOW, q, *history, within_days=within)
            for row, days in enumerate(wait):
                mine = history[:, row : row + 1]
                total = 1.0
                if within is not None:
                    total = purchase_probability(CDNOW, within, *mine) / p_alive(CDNOW, *mine)
                share = purchase_probability(CDNOW, float(days), *mine) / p_alive(CDNOW, *mine)
                assert share / total == pytest.approx(q)


def test_a_hopeless_quantile_is_cut_and_finite():
    rare = MBGNBD(r=1e-3, alpha=10.0, a=1.0, b=1.0)
    assert next_purchase_quantile(rare, 0.99, *np.zeros((3, 1))) == [MAX_WAIT_DAYS]
    assert next_purchase_quantile(rare, 0.99, *np.zeros((3, 1)), within_days=365.0) <= 365.0


def test_without_customers_the_fit_is_the_prior_and_without_a_prior_it_is_an_error():
    none = np.zeros(0)
    for fit in (fit_mbg_nbd, fit_bg_nbd):
        model = fit(none, none, none)
        found = np.log([model.r, model.alpha, model.a, model.b])
        np.testing.assert_allclose(found, PRIOR.mean, atol=1e-5)
        with pytest.raises(DomainError, match="no customer"):
            fit(none, none, none, prior=None)


def test_one_customer_moves_the_prior_and_unit_days_change_nothing_but_alpha():
    history = np.array([[9.0], [70.0], [71.0]])
    weeks, days = fit_mbg_nbd(*history), fit_mbg_nbd(*history, unit_days=1.0)
    assert weeks.r / weeks.alpha > np.exp(PRIOR.mean[0] - PRIOR.mean[1])
    assert days.alpha == pytest.approx(weeks.alpha * 7)
    assert (days.r, days.a, days.b) == pytest.approx((weeks.r, weeks.a, weeks.b))


def test_a_simulated_shop_gives_its_parameters_back():
    rng = np.random.default_rng(8)
    n, truth = 60_000, MBGNBD(r=0.8, alpha=5.0, a=0.9, b=2.0)
    rate, leaves = rng.gamma(truth.r, 1 / truth.alpha, n), rng.beta(truth.a, truth.b, n)
    here, now = rng.random(n) >= leaves, np.zeros(n)
    frequency, recency = np.zeros(n), np.zeros(n)
    age = rng.uniform(100.0, 700.0, n)
    while here.any():
        now = now + rng.exponential(1, n) * 7 / np.maximum(rate, 1e-300)
        here &= now <= age
        frequency, recency = frequency + here, np.where(here, now, recency)
        here &= rng.random(n) >= leaves
    model = fit_mbg_nbd(frequency, recency, age)
    found, true = [model.r, model.alpha, model.a, model.b], [0.8, 5.0, 0.9, 2.0]
    np.testing.assert_allclose(found, true, rtol=0.06)


@pytest.mark.parametrize(
    ("history", "error"),
    [
        ([[1.0], [5.0], [4.0]], DomainError),
        ([[-1.0], [0.0], [4.0]], DomainError),
        ([[1.0], [np.nan], [4.0]], DomainError),
        ([[1.0], [1.0], [np.inf]], DomainError),
    ],
)
def test_an_impossible_history_is_refused(history, error):
    with pytest.raises(error, match="row 0"):
        p_alive(CDNOW, *np.array(history))


def test_shapes_horizons_quantiles_and_parameters_are_guarded():
    one = np.ones(1)
    with pytest.raises(ShapeError):
        p_alive(CDNOW, one, one, np.ones(2))
    with pytest.raises(DomainError):
        purchase_probability(CDNOW, -1.0, one, one, one)
    with pytest.raises(DomainError):
        next_purchase_quantile(CDNOW, 1.0, one, one, one)
    with pytest.raises(DomainError):
        MBGNBD(r=0.0, alpha=1.0, a=1.0, b=1.0)
